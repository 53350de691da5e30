"""
The gazetteer: what loading it costs a new process, and what a lookup costs after that.

    .venv/bin/python bench/gazetteer.py

Every round is a new process on one core. `names` is the tagger's automaton, `divisions` the facts with the indexes of
names and of towns by name; memory is the growth of the resident set. A lookup is the mean of many calls, warm.
"""

import json
import subprocess
import sys

from processes import SERVED, environment, prepare
from results import Run, arguments

LIMIT_S = 60.0
ROUND = """
import json, time, timeit
from addrmesh.address import divisions, gazetteer

def used():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

figures = {}
for what, load in (("names", gazetteer.automaton), ("divisions", divisions.warm)):
    before, wall, cpu = used(), time.perf_counter(), time.process_time()
    load()
    figures |= {
        f"{what}_wall_ms": 1000 * (time.perf_counter() - wall), f"{what}_cpu_ms": 1000 * (time.process_time() - cpu),
        f"{what}_mib": used() - before,
    }
old = divisions.by_code("330104")
hangzhou = divisions.by_code("330100")
for what, call in {
    "find_district": lambda: divisions.find("余杭区"),
    "find_within": lambda: divisions.find("鼓楼区", "district", hangzhou),
    "by_code": lambda: divisions.by_code("330114001"),
    "path": lambda: divisions.path(old),
    "successors_town": lambda: divisions.successors(old, "下沙街道"),
    "scan_20_characters": lambda: list(divisions.scan("浙江省杭州市余杭区五常街道文一西路969号")),
}.items():
    figures[f"{what}_us"] = min(timeit.repeat(call, number=200, repeat=3)) / 200 * 1e6
print(json.dumps(figures))
"""


def main() -> None:
    """Measure and write `gazetteer.json`."""
    options = arguments("Loading the gazetteer, and lookups.", rounds=11).parse_args()
    prepare()
    run = Run("gazetteer", options)
    rounds = []
    for number in range(1, options.rounds + 1):
        command = ["taskset", "-c", str(SERVED), sys.executable, "-c", ROUND]
        finished = subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=LIMIT_S)
        rounds.append(run.add("load and look up", number, json.loads(finished.stdout)))
    for part in ("names", "divisions"):
        for figure, unit in (("wall_ms", "ms"), ("cpu_ms", "ms"), ("mib", "MiB")):
            run.row(f"{part}: {figure.partition('_')[0]}", [r[f"{part}_{figure}"] for r in rounds], unit)
    for figure, unit in (("wall_ms", "ms"), ("cpu_ms", "ms"), ("mib", "MiB")):
        both = [r[f"names_{figure}"] + r[f"divisions_{figure}"] for r in rounds]
        run.row(f"both: {figure.partition('_')[0]}", both, unit)
    for figure in (key for key in rounds[0] if key.endswith("_us")):
        run.row(figure.removesuffix("_us").replace("_", " "), [r[figure] for r in rounds], "µs")
    run.write()


if __name__ == "__main__":
    main()
