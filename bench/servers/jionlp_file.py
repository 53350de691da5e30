"""
jionlp over a file: one address per line in, one JSON object per line out.

    bench/.venvs/jionlp/bin/python bench/servers/jionlp_file.py IN OUT [--town]

`--town` also asks for the town and village level (`town_village=True`), which loads a larger table.
"""

import json
import sys

import jionlp


def main() -> None:
    """Parse every line."""
    source, target, *flags = sys.argv[1:]
    with open(source, encoding="utf-8") as lines, open(target, "w", encoding="utf-8") as out:  # noqa: PTH123
        for line in lines:
            found = jionlp.parse_location(line.rstrip("\n"), town_village="--town" in flags)
            out.write(json.dumps(found, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
