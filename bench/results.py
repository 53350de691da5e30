"""
What a benchmark leaves behind: `bench/results/<name>.json`, and a table on stdout.

The document holds the machine, the commit, the versions, the command, every round as it was measured, and the rows of
the table: the median over the rounds, with the smallest and the largest. `report.py` reads nothing else.
"""

import argparse
import datetime as dt
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
SCHEMA = 1
QUIET = 0.5
"""Load average over one minute above which a run begins with a warning."""

OURS = (
    "addrmesh", "onnxruntime", "numpy", "msgspec", "pyahocorasick", "uvicorn", "uvloop", "httptools", "fastapi",
)  # fmt: skip


def arguments(description: str, **defaults: float) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes; `defaults` are numbers, each an option of its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--release", type=Path, help="directory of a release; default: the one in the package")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON document goes")
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default: {value}")
    return parser


class Run:
    """
    One run of a benchmark.

    Args:
        name: Of the document.
        options: The parsed command line; goes into the document.
    """

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self._name, self._results = name, options.results
        self._rounds: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        self._notes: list[str] = []
        self._versions = {package: version(package) for package in OURS} | {"python": platform.python_version()}
        self._head = {
            "schema": SCHEMA,
            "name": name,
            "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["python", *sys.argv]),
            "commit": _git("rev-parse", "HEAD"),
            "uncommitted": _git("status", "--porcelain", "--", ".", ":!bench/results").splitlines(),
            "machine": machine(),
            "release": release_id(options.release),
            "parameters": {
                key: str(value) for key, value in vars(options).items() if value is not None and key != "results"
            },
        }

        if (load := os.getloadavg()[0]) > QUIET:
            self.say(f"the machine is not quiet (load average {load:.2f}); the figures will say less than they could")

    def say(self, text: str) -> None:
        """Show progress on stderr."""
        sys.stderr.write(f"{self._name}: {text}\n")
        sys.stderr.flush()

    def add(self, what: str, number: int, figures: dict[str, Any]) -> dict[str, Any]:
        """Keep what one round (numbered from 1) measured, and return it."""
        self._rounds.append({"round": number, "what": what, **figures})
        shown = ", ".join(f"{k} {v:,.6g}" for k, v in figures.items() if isinstance(v, int | float))
        self.say(f"round {number}, {what}: {shown}")
        return figures

    def row(self, measure: str, values: Sequence[float], unit: str) -> float:
        """Add a row to the table: one value per round. Returns the median."""
        middle = median(values)
        spread = {"median": middle, "min": min(values), "max": max(values), "rounds": len(values)}
        self._rows.append({"measure": measure, **spread, "unit": unit})
        return middle

    def note(self, text: str) -> None:
        """Add a sentence that readers of the table need."""
        self._notes.append(text)

    def peer(self, name: str, versions: dict[str, str]) -> None:
        """Record the versions in another environment."""
        self._versions[name] = versions  # type: ignore[assignment]

    def write(self) -> None:
        """Write the document and print the table."""
        document = self._head | {
            "versions": self._versions,
            "load_average_after": os.getloadavg(),
            "table": self._rows,
            "notes": self._notes,
            "rounds": self._rounds,
        }
        self._results.mkdir(parents=True, exist_ok=True)
        target = self._results / f"{self._name}.json"
        target.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")
        print(table(self._rows))
        print("".join(f"{note}\n" for note in self._notes), end="")
        self.say(f"wrote {target}")


def number(value: float) -> str:
    """Return a figure with three to four significant digits and thousands separated."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table, aligned."""
    cells = [("measure", "median", "min - max", "rounds", "unit"), ("---", "---:", "---:", "---:", "---")]
    cells += [
        (r["measure"], number(r["median"]), f"{number(r['min'])} - {number(r['max'])}", str(r["rounds"]), r["unit"])
        for r in rows
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(5)]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    )


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Return the ratio of each round, so that a machine that slows down slows both sides."""
    return [a / b for a, b in zip(over, under, strict=True)]


def machine() -> dict[str, Any]:
    """Describe the machine: what the figures hold for, and whether it was quiet."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text("utf-8").splitlines())
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    return {
        "cpu": facts.get("model name", platform.processor()),
        "cpu_family_model_stepping": [facts.get(k) for k in ("cpu family", "model", "stepping")],
        "cores": os.cpu_count(),
        "ram_gib": round(int(memory["MemTotal"].split()[0]) / 2**20, 1),
        "kernel": platform.release(),
        "load_average_before": os.getloadavg(),
    }


def release_id(path: Path | None) -> str:
    """Return the id of the release that is measured; it is checked first."""
    from addrmesh.inference.release import BUILTIN, open_release

    return open_release(path or BUILTIN).id


def _git(*words: str) -> str:
    found = subprocess.run(
        ["git", "--no-optional-locks", "-C", ROOT, *words], check=False, capture_output=True, text=True, timeout=10
    )
    return found.stdout.rstrip("\n")
