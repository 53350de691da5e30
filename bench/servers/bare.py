"""
The least an ASGI application can do on the node's uvicorn: read the body, send a constant reply.

    .venv/bin/python bench/servers/bare.py PORT

The floor under `constant.py`: the difference is what our own dispatch, headers and counting cost.
"""

import sys
from typing import Any

import uvicorn

REPLY = b'{"response_id":"constant","result":{"components":[]},"service":{"mode":"FULL"}}'
HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(REPLY))],
}
BODY = {"type": "http.response.body", "body": REPLY}


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI's signature
    """Answer anything."""
    while (await receive()).get("more_body", False):
        pass
    await send(HEAD)
    await send(BODY)


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none", lifespan="off",
        log_config=None, access_log=False, server_header=False, backlog=2048, timeout_keep_alive=75,
    )  # fmt: skip
