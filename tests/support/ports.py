"""Ports for processes that must be told theirs."""

import os
import socket
from itertools import count

_TAKEN = count()


def free_block(size: int) -> int:
    """
    Return the first of `size` ports in a row that are free now and nobody else in this process was given.

    They lie below those the system hands out by itself, in a part that depends on the process, so that test runs
    beside each other do not meet.
    """
    for attempt in range(100):
        first = 20_000 + (os.getpid() * 397 + next(_TAKEN) * size + attempt) % 11_000
        try:
            for port in range(first, first + size):
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError(f"no {size} free ports in a row")
