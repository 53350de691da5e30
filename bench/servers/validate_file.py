"""
addrmesh's validation over a file: one address per line in, one JSON object per line out, in chunks as in bulk.

    .venv/bin/python bench/servers/validate_file.py IN OUT [--twice]

`--twice` goes over the file twice in one process, first to fill the caches, and writes what the second time took:
`{"parse_us": [...], "validate_us": [...]}`; CPU time, parsing as the mean of a chunk, validation of each address.
"""

import json
import sys
import time
from pathlib import Path

from addrmesh.address.reading import read
from addrmesh.address.validate import validate
from addrmesh.address.verdict import Request
from addrmesh.inference.engine import load_engine
from addrmesh.inference.release import BUILTIN, open_release

CHUNK = 128
LEVELS = ("prov", "city", "district", "town")


def main() -> None:
    """Validate every line."""
    source, target, *flags = sys.argv[1:]
    engine = load_engine(open_release(BUILTIN))
    lines = Path(source).read_text("utf-8").splitlines()
    clock = time.thread_time_ns
    with Path(target).open("w", encoding="utf-8") as out:
        for last in (False, True) if flags else (True,):
            parse_us: list[float] = []
            validate_us: list[float] = []
            for at in range(0, len(lines), CHUNK):
                readings, reading_us = [], []
                for line in lines[at : at + CHUNK]:
                    before = clock()
                    readings.append(read(Request(line)))
                    reading_us.append((clock() - before) / 1000)
                before = clock()
                tagged = engine.predict([reading.canonical.text or " " for reading in readings])
                parse_us += [(clock() - before) / 1000 / len(readings)] * len(readings)
                for reading, found, spent in zip(readings, tagged, reading_us, strict=True):
                    before = clock()
                    result = validate(reading, found)
                    validate_us.append((clock() - before) / 1000 + spent)
                    if not flags:
                        levels = {c.type: c.text for c in result.address.components if c.type in LEVELS}
                        out.write(json.dumps(levels, ensure_ascii=False) + "\n")
            if flags and last:
                json.dump({"parse_us": parse_us, "validate_us": validate_us}, out)


if __name__ == "__main__":
    main()
