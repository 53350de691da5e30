"""
Cold start: how long until a new process has answered.

    .venv/bin/python bench/startup.py

The first figure is the wall time of `addrmesh parse <address>`, process start to end. The second is the time from the
start of `addrmesh node serve` to the first 200 from `/readyz`, asked every 5 ms. Files are in the page cache. The wall
time of an interpreter that does nothing is measured beside them, for scale.
"""

import sys

from processes import ADDRMESH, free_port, node_command, prepare, run_to_end, serving
from results import Run, arguments

ADDRESS = "浙江省杭州市余杭区文一西路969号"
LIMIT_S = 60.0
PAUSE_S = 0.005


def main() -> None:
    """Measure and write `startup.json`."""
    options = arguments("Time to the first answer.", parses=10, serves=7).parse_args()
    prepare()
    run = Run("startup", options)
    release = ["--release", options.release] if options.release else []
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "addrmesh --version": [ADDRMESH, "--version"],
        "addrmesh parse": [ADDRMESH, "parse", ADDRESS, *release],
    }
    taken: dict[str, list[float]] = {what: [] for what in commands}
    for command in commands.values():
        run_to_end(command, limit_s=LIMIT_S)  # brings the files into the page cache
    for number in range(1, options.parses + 1):
        for what, command in commands.items():
            finished = run_to_end(command, limit_s=LIMIT_S)
            run.add(what, number, finished._asdict())
            taken[what].append(1000 * finished.wall_s)
    ready = []
    for number in range(1, options.serves + 1):
        port = free_port()
        with serving(node_command(port, options.release), port=port, pause_s=PAUSE_S) as server:
            found = {"ready_after_s": server.ready_after_s, "cpu_s": server.cpu_s(), "rss_mib": server.rss_mib()}
        run.add("addrmesh node serve", number, found)
        ready.append(1000 * server.ready_after_s)
    for what, values in taken.items():
        run.row(f"{what}: wall time", values, "ms")
    run.row("addrmesh node serve: start to first 200 from /readyz", ready, "ms")
    run.write()


if __name__ == "__main__":
    main()
