"""The wall clock, as a function that callers may replace."""

import time


def wall_ms() -> int:
    """Return milliseconds since 1970 as this machine believes; it may jump and may differ from others."""
    return time.time_ns() // 1_000_000
