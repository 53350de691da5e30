"""Whether a TCP port is free, and who holds it if not."""

import socket
from pathlib import Path


def is_free(host: str, port: int) -> bool:
    """Say whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the node does; TIME_WAIT is no holder
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def holder(port: int, proc: Path = Path("/proc")) -> int | None:
    """Return the process that listens on `port`, where the system tells (Linux, own processes)."""
    inodes = {
        f"socket:[{fields[9]}]"
        for table in ("net/tcp", "net/tcp6")
        for fields in map(str.split, _lines(proc / table)[1:])
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port  # 0A is LISTEN
    }
    if not inodes:
        return None
    for descriptor in proc.glob("[0-9]*/fd/*"):
        try:
            if str(descriptor.readlink()) in inodes:
                return int(descriptor.parts[-3])
        except OSError:  # gone, or of another user
            continue
    return None


def _lines(table: Path) -> list[str]:
    try:
        return table.read_text().splitlines()
    except OSError:
        return []
