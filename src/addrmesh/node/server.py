"""
`addrmesh node serve`: uvicorn, and a drain in which no accepted request fails.

SIGTERM or Ctrl-C: the node is draining (`/readyz` 503, every reply asks its connection to close, new work is refused
with `node-draining`, which is safe to send elsewhere) but still listens, so that probes see it; what was accepted
finishes; then the socket closes and the process ends with 0. A second signal ends it at once.
"""

import asyncio
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog
import uvicorn

from addrmesh.errors import ConfigError
from addrmesh.inference.engine import Engine
from addrmesh.node.app import NodeApp, create_app
from addrmesh.node.hot import HotProtocol
from addrmesh.settings import NodeSettings, Server
from addrmesh.topology.spec import is_loopback

LAME_DUCK_S = 0.5
"""How long a draining node keeps listening although nothing is under way: a reply on its way to a caller, and the
caller's next request on the same connection, pass each other in this time."""

BACKLOG = 2048
KEEP_ALIVE_S = 75
"""Longer than the 60 s after which common proxies drop an idle connection: the side that reuses it closes it first."""


def serve(settings: NodeSettings, *, engine: Engine | None = None) -> None:
    """
    Serve until told to stop.

    Args:
        settings: Of the node. Port 0 takes a free one; the event `node.listening` says which.
        engine: By default the model of the release that the settings name.

    Raises:
        ConfigError: The address cannot be listened on.
        ReleaseError: The release cannot be served.
    """
    tls = tls_options(settings)
    sock = bind(settings.server, settings.limits.body_timeout_s)
    app = create_app(settings, engine=engine)
    structlog.get_logger().info("node.listening", host=settings.server.host, port=sock.getsockname()[1])
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=HotProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.server.drain_timeout_s)),
        **tls,
    )
    server = _Server(config, app)
    server.run([sock])
    if app.node.failed is not None:
        raise app.node.failed


def tls_options(settings: NodeSettings) -> dict[str, Any]:
    """
    Return uvicorn's options for the certificates that the settings name; none without.

    Raises:
        ConfigError: Files are missing, or the node would speak plain HTTP beyond loopback.
    """
    tls, host = settings.tls, settings.server.host
    if tls.certificate is None or tls.key is None:
        if tls.certificate or tls.key or tls.ca:
            raise ConfigError("tls: needs both tls.certificate and tls.key; `addrmesh certs init` makes them")
        if not is_loopback(host) and not tls.allow_plain:
            raise ConfigError(
                f"server.host: {host} can be reached from outside this machine, but there is no TLS; set "
                "tls.certificate and tls.key, or tls.allow_plain if something in front of the node does TLS"
            )
        return {}
    for key, file in (("certificate", tls.certificate), ("key", tls.key), ("ca", tls.ca)):
        if file is not None and not file.is_file():
            raise ConfigError(f"tls.{key}: {file} is not a file")
    options: dict[str, Any] = {"ssl_certfile": tls.certificate, "ssl_keyfile": tls.key}
    if tls.ca is not None:
        options |= {"ssl_ca_certs": str(tls.ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return options


def bind(server: Server, stall_s: float) -> socket.socket:
    """
    Return a listening socket: connections queue from now on, before the model is loaded.

    A client that takes nothing of an answer for `stall_s` seconds is cut by the kernel (TCP_USER_TIMEOUT, RFC 5482;
    Linux): closing such a connection in the ordinary way waits for the client, which may be for ever.

    Raises:
        ConfigError: It names the address and what to do.
    """
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(stall_s * 1000))
    try:
        sock.bind((server.host, server.port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"cannot listen on {server.host}:{server.port} ({error.strerror}); "
            "stop what uses it, or choose another with server.port (--port; 0 takes any free one)"
        ) from error
    return sock


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: NodeApp) -> None:
        super().__init__(config)
        self._app = app
        self._draining: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals in the event loop; uvicorn would raise them again after the drain, for an exit code of 143."""
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self._stop)
        yield
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(sig)

    def _stop(self) -> None:
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        else:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        if self._app.node.failed is not None:
            return True
        return await super().on_tick(counter)

    async def _drain(self) -> None:
        node = self._app.node
        node.drain()
        await asyncio.sleep(LAME_DUCK_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(node.settings.server.drain_timeout_s):
                await node.responder.idle()
        self.should_exit = True
