"""
Bulk throughput: a file of distinct addresses to a file of results, one process on one core, against jionlp.

    .venv/bin/python bench/venvs.py jionlp      # once
    .venv/bin/python bench/bulk.py

Addresses per CPU-second are addresses / (user + system seconds of the process, `os.wait4`), with everything in:
interpreter, imports, model, reading, parsing, writing. "Startup subtracted" takes off the median CPU time of the same
command on a file with one address. Peak memory is the kernel's high-water mark (VmHWM).

jionlp runs on a sample of the same addresses, because it is slow, with and without its town level. It finds the
divisions of an address; roads, numbers, buildings and rooms, which addrmesh labels too, it leaves as one text.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import venvs
from addresses import distinct
from processes import ADDRMESH, BENCH, Failed, Finished, prepare, run_to_end
from results import Run, arguments, ratios

LIMIT_S = 600.0
RATE = "addresses per CPU-second"
OURS = "addrmesh"
PEERS = {"jionlp": [], "jionlp with towns": ["--town"]}


class Program(NamedTuple):
    """Something that parses a file."""

    parse: Callable[[Path], Finished]
    one: Path
    """Input with one address."""
    full: Path
    addresses: int
    """In `full`."""


class Measured(NamedTuple):
    """A program's rounds."""

    program: Program
    starts: list[Finished]
    fulls: list[Finished]

    def end_to_end(self) -> list[float]:
        """Return addresses per CPU-second with everything in."""
        return [self.program.addresses / full.cpu_s for full in self.fulls]

    def startup_subtracted(self) -> list[float]:
        """Return addresses per CPU-second without what one address takes."""
        start = median(start.cpu_s for start in self.starts)
        return [(self.program.addresses - 1) / (full.cpu_s - start) for full in self.fulls]


def programs(options: argparse.Namespace, addresses: list[str], work: Path) -> dict[str, Program]:
    """Write the inputs and return ours and, if installed, jionlp twice."""
    out = work / "out"
    release = ["--release", options.release] if options.release else []

    def ours(source: Path) -> Finished:
        return run_to_end([ADDRMESH, "bulk", "parse", source, "-o", out, "--force", *release], limit_s=LIMIT_S)

    def theirs(flags: list[str]) -> Callable[[Path], Finished]:
        command = [venvs.python("jionlp"), BENCH / "servers" / "jionlp_file.py"]
        return lambda source: run_to_end([*command, source, out, *flags], limit_s=LIMIT_S)

    one = _write(work / "one.csv", addresses[:1], "address\n")
    whole = _write(work / "whole.csv", addresses[: options.addresses], "address\n")
    found = {OURS: Program(ours, one, whole, options.addresses)}
    if venvs.failure("jionlp") is None:
        one = _write(work / "one.txt", addresses[:1])
        sample = _write(work / "sample.txt", addresses[: options.sample])
        found |= {name: Program(theirs(flags), one, sample, options.sample) for name, flags in PEERS.items()}
    return found


def measure(run: Run, program: Program, name: str, number: int, measured: dict[str, Measured]) -> None:
    """Run a program on one address and on all of its addresses."""
    found = measured.setdefault(name, Measured(program, [], []))
    found.starts.append(program.parse(program.one))
    found.fulls.append(program.parse(program.full))
    run.add(f"{name}, one address", number, found.starts[-1]._asdict())
    run.add(name, number, found.fulls[-1]._asdict() | {"addresses": program.addresses})


def report(run: Run, measured: dict[str, Measured], many: list[Finished], options: argparse.Namespace) -> None:
    """Fill the table."""
    for name, found in measured.items():
        run.row(f"{name}: {found.program.addresses:,} addresses, end to end", found.end_to_end(), RATE)
        run.row(f"{name}: startup subtracted", found.startup_subtracted(), RATE)
        run.row(f"{name}: startup", [start.cpu_s for start in found.starts], "CPU-seconds")
        run.row(f"{name}: peak memory", [full.peak_rss_mib for full in found.fulls], "MiB")
    ours = measured[OURS]
    for name, found in measured.items():
        if name != OURS:
            ratio = ratios(ours.startup_subtracted(), found.startup_subtracted())
            run.row(f"{OURS} / {name}, startup subtracted", ratio, "x")
    run.row(f"{OURS}: {options.many:,} addresses, end to end", [options.many / f.cpu_s for f in many], RATE)
    run.row(f"{OURS}: {options.many:,} addresses, peak memory", [f.peak_rss_mib for f in many], "MiB")
    growth = ratios([f.peak_rss_mib for f in many], [f.peak_rss_mib for f in ours.fulls[: len(many)]])
    run.row(f"peak memory, {options.many:,} / {options.addresses:,} addresses", growth, "x")


def main() -> None:
    """Measure and write `bulk.json`."""
    parser = arguments(
        "Bulk throughput of `addrmesh bulk parse`, against jionlp.",
        addresses=20_000, many=100_000, sample=600, rounds=5, many_rounds=2,
    )  # fmt: skip
    options = parser.parse_args()
    prepare()
    run = Run("bulk", options)
    measured: dict[str, Measured] = {}
    many: list[Finished] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        addresses = distinct(max(options.many, options.addresses))
        compared = programs(options, addresses, work)
        everything = _write(work / "many.csv", addresses[: options.many], "address\n")
        for number in range(1, options.rounds + 1):
            for name, program in compared.items():
                measure(run, program, name, number, measured)
                if name == OURS and (work / "out").read_bytes().count(b'"status":200') != program.addresses:
                    raise Failed("addrmesh did not parse every address")
            if number <= options.many_rounds:
                many.append(compared[OURS].parse(everything))
                run.add(f"{OURS}, many", number, many[-1]._asdict() | {"addresses": options.many})
    report(run, measured, many, options)
    mean = sum(map(len, addresses)) / len(addresses)
    run.note(f"Synthetic addresses of {mean:.1f} characters on average, all distinct; one process on one core.")
    if (reason := venvs.failure("jionlp")) is None:
        run.peer("jionlp venv", venvs.packages("jionlp"))
        run.note("jionlp finds divisions only; addrmesh labels every part of the address.")
    else:
        run.note(f"jionlp was not measured: {reason}")
    run.write()


def _write(path: Path, lines: list[str], header: str = "") -> Path:
    path.write_text(header + "\n".join(lines) + "\n", "utf-8")
    return path


if __name__ == "__main__":
    main()
