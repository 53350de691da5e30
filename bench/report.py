"""
The results, from the JSON documents to one page.

    .venv/bin/python bench/report.py            # writes bench/results/README.md
"""

import argparse
import json
from pathlib import Path
from typing import Any

from results import RESULTS, table

TITLES = {
    "bulk": "Bulk: file to file, one core",
    "node": "HTTP node: one address per request, one core",
    "peers": "Other servers of the same model, one core each",
    "startup": "Cold start",
    "near": "Near users against far ones, a fleet of two regions",
    "edge": "What the edge adds",
    "gazetteer": "The gazetteer: load and look-ups",
    "validate": "Validation",
    "mgeo": "MGeo on the CPU, one core",
    "mgeo_cores": "MGeo on two cores",
    "engine": "Parts of the engine, one thread",
}
PACKAGES = {"fastapi": ("fastapi", "uvicorn"), "jionlp": ("jionlp",)}
"""The packages that are named for a peer's environment, where it is not the one with its own name."""


HEAD = """\
# Results

Written by `bench/report.py` from the JSON beside it; every figure was measured by the command above its table.
Medians over rounds that alternate between what is compared, with the smallest and the largest round.
"""


def section(document: dict[str, Any]) -> str:
    """Return the part of the page about one benchmark."""
    machine = document["machine"]
    commit = document["commit"][:12] + (" with uncommitted changes" if document["uncommitted"] else "")
    before, after = machine["load_average_before"][0], document["load_average_after"][0]
    notes = "".join(f"- {note}\n" for note in document["notes"])
    return (
        f"\n## {TITLES[document['name']]}\n\n"
        f"`{document['command']}`, {document['date']}, commit {commit}, release `{document['release']}`.\n"
        f"{machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB; "
        f"load average before / after {before:.2f} / {after:.2f}.\n"
        f"{versions(document['versions'])}.\n\n"
        f"{table(document['table'])}\n" + (f"\n{notes}" if notes else "")
    )


def versions(found: dict[str, Any]) -> str:
    """Return our own versions, and of each peer's environment the packages it is about."""
    words = []
    for name, version in found.items():
        if isinstance(version, str):
            words.append(f"{name} {version}")
        else:
            peer = name.removesuffix(" venv")
            words.append("peer " + " ".join(f"{p} {version.get(p, '?')}" for p in PACKAGES.get(peer, (peer,))))
    return ", ".join(words)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description="Write README.md from the JSON documents of the benchmarks.")
    parser.add_argument("--results", type=Path, default=RESULTS)
    folder = parser.parse_args().results
    files = [folder / f"{name}.json" for name in TITLES]
    documents = [json.loads(file.read_text("utf-8")) for file in files if file.exists()]
    (folder / "README.md").write_text(HEAD + "".join(map(section, documents)), "utf-8")
    print(f"{folder / 'README.md'}: {', '.join(document['name'] for document in documents) or 'no results yet'}")


if __name__ == "__main__":
    main()
