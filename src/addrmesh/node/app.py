"""
The composition root: settings to node to ASGI application.

`uvicorn --factory addrmesh.node.app:create_app` runs it as it is; `addrmesh node serve` adds the drain (`server.py`).
All endpoints are FastAPI routes. Those in `HOT` are also found by a dictionary look-up in front of FastAPI's routing,
which costs ten times what they do; the code behind is the same.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from addrmesh import __version__
from addrmesh.inference.engine import Engine
from addrmesh.node import bulk, docs, openapi
from addrmesh.node.asgi import ClientDisconnected, Endpoint, Receive, Reply, Scope, Send
from addrmesh.node.node import LoadScorer, Node, load_from, load_scorer_from
from addrmesh.node.operations import OPERATIONS, Bulk
from addrmesh.node.problems import BadRequest
from addrmesh.node.routes import Routes
from addrmesh.settings import NodeSettings, load
from addrmesh.telemetry import log

HOT = frozenset(
    {"/livez", "/readyz", *(path for operation in OPERATIONS for path in (operation.path, operation.batch_path))}
)


class NodeApp(FastAPI):
    """The ASGI application of one node; `node` is what it serves."""

    def __init__(self, node: Node) -> None:
        super().__init__(
            title=openapi.TITLE,
            description=openapi.DESCRIPTION,
            version=__version__,
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
            redirect_slashes=False,
            lifespan=_lifespan,
            exception_handlers={HTTPException: _not_routed},
        )
        self.node = node
        endpoints = Routes(node).endpoints()
        self.hot = {(e.method, e.path): e for e in endpoints if e.path in HOT}
        for endpoint in endpoints:
            self._register(endpoint.method, endpoint.path, _Plain(node, endpoint))
        for operation in OPERATIONS:
            if operation.bulk is not None:
                self._register("POST", operation.bulk.path, _Streaming(node, operation.bulk, operation.scope))
        self._register_documents()
        self.methods = {r.path: r.methods for r in self.routes if isinstance(r, Route) and r.methods}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a hot request at once, hand the others to FastAPI."""
        if scope["type"] == "http":
            method = scope["method"]
            endpoint = self.hot.get((method, scope["path"]))
            if endpoint is not None:
                await self.node.responder.respond(endpoint, scope, receive, send)
                return
            if method == "HEAD":
                scope, send = {**scope, "method": "GET"}, _without_body(send)
            elif method == "OPTIONS" and (methods := self.methods.get(scope["path"])):
                request = self.node.responder.request(scope)
                await self.node.responder.send(Reply(204, b"", ((b"allow", _allow(methods)),)), request, send)
                return
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document; made when first asked for."""
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"] = {"schemas": openapi.schemas(self.node.settings.limits)}
            self.openapi_schema = document
        return self.openapi_schema

    def _register(self, method: str, path: str, response: Response) -> None:
        async def endpoint() -> Response:
            return response

        described = openapi.operation(method, path)
        status = int(next(iter(described["responses"])))
        self.add_api_route(
            path, endpoint, methods=[method], response_class=Response, status_code=status, openapi_extra=described
        )

    def _register_documents(self) -> None:
        def openapi_json() -> Response:
            return JSONResponse(self.openapi())

        def docs_page() -> Response:
            return docs.page(self.openapi())

        def docs_asset(name: str) -> Response:
            if name not in docs.ASSETS:
                raise HTTPException(404)
            return docs.asset(name)

        self.add_api_route("/openapi.json", openapi_json, include_in_schema=False)
        self.add_api_route("/docs", docs_page, include_in_schema=False)
        self.add_api_route("/docs/{name}", docs_asset, include_in_schema=False)


class _Plain(Response):
    """A response that is one of our own endpoints: it reads the request and answers it."""

    def __init__(self, node: Node, endpoint: Endpoint) -> None:
        super().__init__()
        self._node, self._endpoint = node, endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._node.responder.respond(self._endpoint, scope, receive, send)


class _Streaming(Response):
    """A bulk endpoint. After its first byte an error can only cut the stream."""

    def __init__(self, node: Node, of: Bulk, needed_scope: str) -> None:
        super().__init__()
        self._node, self._bulk, self._needed_scope = node, of, needed_scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        responder = self._node.responder
        request = responder.request(scope)
        started = False
        status = 200

        async def noting_send(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        responder.enter()
        try:
            await bulk.answer_lines(self._bulk, self._needed_scope, self._node, request, receive, noting_send)
        except ClientDisconnected:
            status = 499  # nginx's word for it
        except Exception as error:  # noqa: BLE001 - the last border, as in Responder.respond
            reply = responder.refusal(error, request.id)
            status = reply.status
            if not started:
                await responder.send(reply, request, send)
        finally:
            responder.leave()
            responder.metrics.http_requests.inc(self._bulk.path, str(status))


def create_app(
    settings: NodeSettings | None = None, *, engine: Engine | None = None, load_scorer: LoadScorer | None = None
) -> NodeApp:
    """
    Build the application.

    Args:
        settings: By default what the configuration file and the environment say.
        engine: By default the model of the release that the settings name, loaded when the application starts.
        load_scorer: By default loads that of the match release, if the settings name one.
    """
    if settings is None:
        settings = load().settings
    log.configure(region=settings.server.region, node=settings.server.name)
    path, device, match = settings.release.path, settings.engine.device, settings.match.release
    if load_scorer is None and match is not None:
        load_scorer = partial(load_scorer_from, match)
    load_engine = (lambda: engine) if engine is not None else partial(load_from, path, device)
    return NodeApp(Node(settings, load_engine, load_scorer))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start the node beside the server, so that `/livez` answers while the model is loaded; stop it after."""
    assert isinstance(app, NodeApp)  # noqa: S101 - for the type checker
    starting = asyncio.create_task(app.node.start())
    yield
    if not starting.done():
        app.node.drain()
    await starting
    await app.node.stop()


async def _not_routed(request: StarletteRequest, error: Exception) -> Response:
    """Say what FastAPI's routing says, as a problem document."""
    app = request.app
    assert isinstance(app, NodeApp)  # noqa: S101
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 405:
        methods = app.methods.get(request.scope["path"]) or set((error.headers or {}).get("Allow", "").split(", "))
        allow = _allow(methods)
        refusal = BadRequest("method-not-allowed", f"allowed here: {allow.decode()}", headers=((b"allow", allow),))
    else:
        refusal = BadRequest("not-found", "there is nothing at this path; /docs lists what there is")
    responder = app.node.responder
    asked = responder.request(request.scope)
    reply = responder.refusal(refusal, asked.id)
    responder.metrics.http_requests.inc("other", str(reply.status))
    headers = [*reply.headers, *responder.headers, (b"x-request-id", asked.id.encode())]
    return Response(reply.body, reply.status, {name.decode(): value.decode() for name, value in headers})


def _allow(methods: set[str]) -> bytes:
    return ", ".join(sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set()))).encode()


def _without_body(send: Send) -> Send:
    async def send_head(message: Any) -> None:
        if message["type"] == "http.response.body":
            if message.get("more_body"):
                return
            message = {**message, "body": b""}
        await send(message)

    return send_head
