"""
Validation: what it adds to parsing on real addresses, and jionlp beside it on addresses whose divisions are known.

    .venv/bin/python bench/venvs.py jionlp      # once
    .venv/bin/python bench/validate.py

What it adds is the CPU time of reading and judging, per address, in a process that has seen the addresses once
before; the median over the addresses is a figure of a round. The real addresses are the development texts of CCKS 2021
(`LABELLED_DATA`, digits drawn anew); without them the made-up ones below are used, and the table says so.

The addresses for the comparison are made from the gazetteer: a county and a town of it, chosen at random, written out,
shortened or without a level, and an invented road. Only the divisions are compared. A peer's name is right when
it is a name of the division, full or short. Both get the same addresses, in turn within each round, in one process, on
one core and thread, from reading a line to writing its answer; addresses per CPU-second with the start of the process
(a run over one address) subtracted. No address stands twice, so every town is looked up for the first time.
"""

import json
import os
import random
import tempfile
from pathlib import Path
from statistics import median

import venvs
from addrmesh.address import divisions
from addrmesh.address.divisions import Division
from processes import BENCH, Finished, prepare, run_to_end
from results import ROOT, Run, arguments, ratios

DATA = Path(os.environ.get("LABELLED_DATA", ROOT.parent / "shared" / "data"))
LIMIT_S = 600.0
LEVELS = {"prov": "province", "city": "city", "district": "county", "town": "town"}
"""The names jionlp has for the levels."""

ROADS = ("荷禾路18号", "柳浪巷7号3幢2单元501室", "银杏北路6号", "春溪小区3幢", "竹影横街14号云杉大厦8层")
OURS = ROOT / ".venv" / "bin" / "python", BENCH / "servers" / "validate_file.py"


def real(draw: random.Random) -> list[str]:
    """Return the development texts, or nothing where they are not at hand."""
    source = DATA / "ccks21-addr" / "dev.conll"
    if not source.exists():
        return []
    blocks = source.read_text("utf-8").strip().split("\n\n")
    texts = ["".join(line.split()[0] for line in block.splitlines() if line) for block in blocks]
    return ["".join(draw.choice("123456789") if c == "0" else c for c in text) for text in texts]


def made(draw: random.Random, count: int) -> list[tuple[str, tuple[Division, ...]]]:
    """Return addresses with the divisions they lie in."""
    towns = [
        (town, divisions.path(town))
        for province in divisions.children()[:-3]
        for upper in divisions.children(province.code)
        for county in (upper, *divisions.children(upper.code))
        for town in divisions.children(county.code)
        if town.level == "town"
        and town.name.endswith(("街道", "镇", "乡"))
        and divisions.path(town)[-2].level != "devzone"
    ]
    found = []
    for town, path in draw.sample(towns, count):
        upper, form = path[:-1], draw.randrange(4)
        written = [d.name for d in upper]
        if form == 1 and len(upper) > 2:
            written.pop(0)  # no province
        elif form == 2:
            written = [(d.short or (d.name,))[0] for d in upper[:-1]] + [upper[-1].name]
        elif form == 3 and len(upper) > 2:
            written.pop(1)  # no city
        found.append(("".join(written) + town.name + draw.choice(ROADS), path))
    return found


def right(
    answers: list[dict[str, str | None]], paths: list[tuple[Division, ...]], keys: dict[str, str]
) -> dict[str, float]:
    """Return the share of each level that is right, and of addresses that are right on all."""
    hits: dict[str, list[bool]] = {level: [] for level in (*keys, "all")}
    for answer, path in zip(answers, paths, strict=True):
        whole = True
        for division in path:
            said = answer.get(keys[division.level]) or ""
            hit = (
                said == division.name
                or said in division.short
                or (division.level == "town" and division.name.endswith(said or "?"))
            )
            hits[division.level].append(hit)
            whole &= hit
        hits["all"].append(whole)
    return {level: 100 * sum(found) / len(found) for level, found in hits.items()}


def main() -> None:
    """Measure and write `validate.json`."""
    options = arguments("What validation adds, and jionlp beside it.", addresses=12_000, rounds=3).parse_args()
    prepare()
    run = Run("validate", options)
    draw = random.Random(11)
    cases = made(draw, options.addresses)
    texts = real(draw)
    run.note(
        f"What validation adds was measured on {len(texts) or len(cases)} {'real' if texts else 'made-up'} addresses."
    )
    paths = [path for _, path in cases]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        out = work / "out"
        files = {
            "real": _write(work / "real.txt", texts or [text for text, _ in cases]),
            "one": _write(work / "one.txt", [cases[0][0]]),
            "all": _write(work / "all.txt", [text for text, _ in cases]),
        }
        added: dict[str, list[float]] = {"parse": [], "validate": []}
        rates: dict[str, list[float]] = {}
        shares: dict[str, dict[str, float]] = {}
        for number in range(1, options.rounds + 1):
            run_to_end([*OURS, files["real"], out, "--twice"], limit_s=LIMIT_S)
            spent = json.loads(out.read_text("utf-8"))
            figures = {what: median(spent[f"{what}_us"]) for what in added}
            run.add("validation added to parsing", number, figures)
            for what, figure in figures.items():
                added[what].append(figure)
            programs = {"addrmesh": (OURS, [], {level: level for level in LEVELS})}
            if venvs.failure("jionlp") is None:
                command = (venvs.python("jionlp"), BENCH / "servers" / "jionlp_file.py")
                programs["jionlp with towns"] = (command, ["--town"], LEVELS)
            for name, (command, flags, keys) in programs.items():
                start = run_to_end([*command, files["one"], out, *flags], limit_s=LIMIT_S)
                full = run_to_end([*command, files["all"], out, *flags], limit_s=LIMIT_S)
                answers = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
                rates.setdefault(name, []).append(_rate(start, full, len(answers)))
                shares[name] = right(answers, paths, keys)
                run.add(name, number, {"addresses_per_cpu_s": rates[name][-1]} | shares[name])
    run.row("parsing, median address", added["parse"], "µs CPU")
    run.row("validation adds, median address", added["validate"], "µs CPU")
    for name, values in rates.items():
        run.row(f"{name}: end to end, startup subtracted", values, "addresses per CPU-second")
        for level, share in shares[name].items():
            run.row(f"{name}: {level} right", [share], "%")
        if name != "addrmesh":
            run.row(f"addrmesh / {name}", ratios(rates["addrmesh"], values), "x")
    if (reason := venvs.failure("jionlp")) is None:
        run.peer("jionlp venv", venvs.packages("jionlp"))
    else:
        run.note(f"jionlp was not measured: {reason}")
    run.write()


def _rate(start: Finished, full: Finished, count: int) -> float:
    return (count - 1) / (full.cpu_s - start.cpu_s)


def _write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


if __name__ == "__main__":
    main()
