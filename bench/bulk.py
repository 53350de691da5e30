"""
Bulk throughput: a file of distinct addresses to a file of results, one process on one core, against jionlp.

    .venv/bin/python bench/bulk.py

Addresses per CPU-second are addresses / (user + system seconds of the process, `os.wait4`), with everything in:
interpreter, imports, model, reading, parsing, writing. "Startup subtracted" takes off the CPU time of the same command
on a file with one address, measured in the same round. Peak memory is the kernel's high-water mark.

jionlp finds the divisions of an address, not roads, numbers and rooms: it does less, and the ratio says so in our
favour or not at all. It runs on a sample of the same addresses, because it is slow; with and without its town level.
"""

import tempfile
from pathlib import Path

import venvs
from addresses import distinct
from processes import ADDRMESH, BENCH, Finished, pin_driver, run_to_end
from results import Run, arguments, ratios

LIMIT_S = 600.0


def write_lines(path: Path, lines: list[str], header: str = "") -> Path:
    """Write one address per line; `header` makes it a CSV with one column."""
    path.write_text(header + "\n".join(lines) + "\n", "utf-8")
    return path


def figures(finished: Finished, addresses: int) -> dict[str, float]:
    """Return what one process took, in seconds, MiB and addresses per CPU-second."""
    return finished._asdict() | {"addresses": addresses, "addresses_per_cpu_s": addresses / finished.cpu_s}


def main() -> None:
    """Measure and write `bulk.json`."""
    parser = arguments(
        "Bulk throughput of `addrmesh bulk parse`, against jionlp.",
        addresses=20_000, many=100_000, sample=600, rounds=5,
    )  # fmt: skip
    options = parser.parse_args()
    pin_driver()
    run = Run("bulk", options)
    missing = venvs.failure("jionlp")
    peers = {} if missing else {"jionlp": [], "jionlp with towns": ["--town"]}
    if missing:
        run.note(f"jionlp was not measured: {missing}")
    else:
        run.peer("jionlp venv", venvs.packages("jionlp"))
    release = ["--release", options.release] if options.release else []

    with tempfile.TemporaryDirectory() as folder:
        work, out = Path(folder), Path(folder) / "out.ndjson"
        everything = distinct(options.many)
        whole = write_lines(work / "addresses.csv", everything[: options.addresses], "address\n")
        many = write_lines(work / "many.csv", everything, "address\n")
        one_csv = write_lines(work / "one.csv", everything[:1], "address\n")
        sample = write_lines(work / "sample.txt", everything[: options.sample])
        one_txt = write_lines(work / "one.txt", everything[:1])
        characters = sum(map(len, everything)) / len(everything)
        del everything

        def ours(source: Path) -> Finished:
            return run_to_end(
                [ADDRMESH, "bulk", "parse", source, "-o", out, "--force", *release], limit_s=LIMIT_S
            )  # fmt: skip

        def theirs(source: Path, flags: list[str]) -> Finished:
            script = BENCH / "servers" / "jionlp_file.py"
            return run_to_end([venvs.python("jionlp"), script, source, out, *flags], limit_s=LIMIT_S)

        rates: dict[str, list[float]] = {}
        net_rates: dict[str, list[float]] = {}
        memory: dict[str, list[float]] = {}
        start_cpu: dict[str, list[float]] = {}

        def keep(what: str, number: int, start: Finished, full: Finished, addresses: int) -> None:
            run.add(f"{what}, one address", number, figures(start, 1))
            found = run.add(what, number, figures(full, addresses))
            rates.setdefault(what, []).append(found["addresses_per_cpu_s"])
            net_rates.setdefault(what, []).append((addresses - 1) / (full.cpu_s - start.cpu_s))
            memory.setdefault(what, []).append(full.peak_rss_mib)
            start_cpu.setdefault(what, []).append(start.cpu_s)

        for number in range(1, options.rounds + 1):
            keep("addrmesh", number, ours(one_csv), ours(whole), options.addresses)
            if out.read_bytes().count(b"\n") != options.addresses:
                run.note("a run of addrmesh did not answer every line")
            for what, flags in peers.items():
                keep(what, number, theirs(one_txt, flags), theirs(sample, flags), options.sample)
        large = run.add("addrmesh, many", 1, figures(ours(many), options.many))

    for what, values in rates.items():
        lines = options.addresses if what == "addrmesh" else options.sample
        run.row(f"{what}: {lines:,} lines, end to end", values, "addresses per CPU-second")
        run.row(f"{what}: startup subtracted", net_rates[what], "addresses per CPU-second")
        run.row(f"{what}: startup", start_cpu[what], "CPU-seconds")
        run.row(f"{what}: peak memory", memory[what], "MiB")
    for what in peers:
        run.row(f"addrmesh / {what}, startup subtracted", ratios(net_rates["addrmesh"], net_rates[what]), "x")
    run.row(f"addrmesh: peak memory, {options.many:,} lines", [large["peak_rss_mib"]], "MiB")
    run.row(
        f"peak memory, {options.many:,} lines / {options.addresses:,} lines",
        [large["peak_rss_mib"] / value for value in memory["addrmesh"]], "x",
    )  # fmt: skip
    run.note(f"Synthetic addresses of {characters:.1f} characters on average, all distinct; one process on one core.")
    run.note("jionlp finds divisions only; addrmesh labels every part of the address.")
    run.write()


if __name__ == "__main__":
    main()
