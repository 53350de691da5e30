"""
Our node with the parse handler replaced by a constant reply: what HTTP costs without the address.

    .venv/bin/python bench/servers/constant.py PORT [RELEASE]

Everything else is the node's own: uvicorn and its settings, the application class and its dispatch, the reading of the
body, request ids, headers, counting. The body is read and not decoded.
"""

import sys
from pathlib import Path

from addrmesh.node import server
from addrmesh.node.asgi import Reply, Request
from addrmesh.node.operations import Operation
from addrmesh.node.routes import Routes
from addrmesh.settings import load

REPLY = Reply(200, b'{"response_id":"constant","result":{"components":[]},"service":{"mode":"FULL"}}')


def constant(routes: Routes, operation: Operation, request: Request) -> Reply:  # noqa: ARG001 - in a method's place
    """Answer anything."""
    return REPLY


def main() -> None:
    """Serve until told to stop."""
    port, release = int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None
    Routes.ask = constant  # type: ignore[assignment]
    server.serve(load(overrides={"server.port": port, "release.path": release}).settings)


if __name__ == "__main__":
    main()
