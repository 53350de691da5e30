"""The one document a command prints with `--json`."""

import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

SCHEMA = 1


def print_document(**content: Any) -> None:
    """Print `content` on stdout, after the version of its form and the time it was made."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    encoded = msgspec.json.encode({"schema": SCHEMA, "generated_at": now, **content})
    sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")
