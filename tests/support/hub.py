"""
A ModelScope hub on loopback, for one model: what the client of modelscope 1.40.2 asks, with the fields that it reads.

`GET /api/v1/models/<id>/repo/files` for the list with sizes and digests, then
`GET /api/v1/models/<id>/repo?Revision=…&FilePath=…` for each file, with `Range` when a part is there already. It also
asks whether a network of its own is near; 404 means no.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


class Hub:
    """
    Serves the files of `folder` as the model `model_id`.

    `asked` holds path and query of each request. A file named in `altered` is sent with one byte changed.
    """

    def __init__(self, folder: Path, model_id: str) -> None:
        self.folder, self.model_id = folder, model_id
        self.asked: list[str] = []
        self.altered: set[str] = set()
        self.url = ""

    def list_files(self) -> bytes:
        files = [
            {"Path": file.name, "Name": file.name, "Type": "blob", "Size": file.stat().st_size,
             "Sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "Revision": "0" * 40}
            for file in sorted(self.folder.iterdir())
        ]  # fmt: skip
        return json.dumps({"Code": 200, "Success": True, "Data": {"Files": files}}).encode()

    def file(self, name: str) -> bytes | None:
        if not (self.folder / name).is_file():
            return None
        data = (self.folder / name).read_bytes()
        return bytes([data[0] ^ 1]) + data[1:] if name in self.altered else data


@contextmanager
def hub(folder: Path, model_id: str) -> Iterator[Hub]:
    """Run a hub until the block ends."""
    served = Hub(folder, model_id)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.asked.append(self.path)
            url = urlsplit(self.path)
            body: bytes | None = None
            if url.path == f"/api/v1/models/{model_id}/repo/files":
                body = served.list_files()
            elif url.path == f"/api/v1/models/{model_id}/repo":
                body = served.file(parse_qs(url.query)["FilePath"][0])
            status, first = (404, 0) if body is None else (200, 0)
            body = body or b'{"Code": 404, "Message": "no such thing"}'
            if status == 200 and (wanted := self.headers.get("Range")):
                status, first = 206, int(wanted.removeprefix("bytes=").partition("-")[0])
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - first))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[first:])

        do_HEAD = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
