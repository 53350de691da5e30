"""Ports for processes that must be told theirs."""

import os
import socket

PAST = 32_000
"""From here on the system hands ports out by itself."""

_next = 20_000 + os.getpid() * 397 % 9_000
"""Depends on the process, so that test runs beside each other do not meet."""


def free_block(size: int) -> int:
    """Return the first of `size` ports in a row that are free now and nobody else in this process was given."""
    global _next
    while _next + size <= PAST:
        first, _next = _next, _next + size
        try:
            for port in range(first, first + size):
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError(f"no {size} free ports in a row below {PAST}")
