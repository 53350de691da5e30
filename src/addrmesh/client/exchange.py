"""HTTP exchanges with one endpoint. The only module that knows httpx: what it raises becomes an `Outcome` here."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import httpx

from addrmesh import __version__
from addrmesh.client.outcome import Outcome, judge
from addrmesh.errors import ConfigError

T = TypeVar("T")

MAX_DEADLINE_MS = 600_000
"""The service takes no later deadline."""

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=60)
"""Calls must never queue behind those that a silent endpoint holds; a node keeps idle connections for 75 s."""


_HTTPX = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict, OSError)
"""Everything httpx raises; it has no one base for it."""

PROBE_TIMEOUT_S = 2.0
"""Generous: the first probe of a far region opens its connection, TLS and all."""


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One request, the same for every endpoint."""

    id: str
    method: str
    path: str
    body: bytes | None
    decode: Callable[[bytes], T]
    once: bool = False
    """Whether it does something; sent twice, it is to be done once."""


def tls_context(verify: str | Path | None, cert: str | Path | tuple[str | Path, str | Path] | None) -> ssl.SSLContext:
    """
    Return the TLS settings for all endpoints.

    Args:
        verify: A bundle of certificate authorities instead of the usual ones.
        cert: The client's certificate with its key: one file, or two.

    Raises:
        ConfigError: A file cannot be used; it names the files.
    """
    try:
        context = httpx.create_ssl_context() if verify is None else ssl.create_default_context(cafile=verify)
        if cert is not None:
            context.load_cert_chain(*(cert if isinstance(cert, tuple) else (cert,)))
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or error
        raise ConfigError(f"TLS cannot use verify={verify}, cert={cert}: {reason}; both are PEM files") from error
    return context


class Connection:
    """
    The keep-alive connections to one endpoint.

    Args:
        url: Of the endpoint.
        headers: Sent with everything.
        context: For TLS.
        transport: Instead of the network.
    """

    def __init__(
        self,
        url: str,
        headers: dict[str, str],
        context: ssl.SSLContext,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        agent = {"User-Agent": f"addrmesh-client/{__version__}"}
        self._http = httpx.AsyncClient(
            base_url=url, headers=agent | headers, verify=context, limits=_LIMITS, transport=transport
        )

    async def ask(self, request: Request[T], *, deadline_s: float, connect_s: float | None) -> Outcome[T]:
        """
        Send a request and judge what comes back. It waits until it is cancelled.

        Args:
            request: What to ask.
            deadline_s: What the service is told.
            connect_s: How long a new connection may take, None for as long as it is waited for.
        """
        headers = {
            "Content-Type": "application/json",
            "X-Request-Id": request.id,
            "X-Deadline-Ms": str(min(max(round(deadline_s * 1000), 1), MAX_DEADLINE_MS)),
        }
        if request.once:
            headers["Idempotency-Key"] = request.id
        try:
            answer = await self._http.request(
                request.method,
                request.path,
                content=request.body,
                headers=headers,
                timeout=httpx.Timeout(None, connect=connect_s),
            )
        except httpx.ConnectTimeout:
            return Outcome("no connection in time")
        except httpx.ConnectError:
            return Outcome("connection refused or unreachable")
        except _HTTPX:
            return Outcome("connection cut")
        return judge(answer.status_code, answer.headers.get("retry-after"), answer.content, request.decode)

    async def probe(self, path: str) -> float | None:
        """
        Return the round trip on an open connection, None when the probe fails.

        `/readyz` must be answered with 200; of any other path every answer but a server error is good enough.
        """
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                began = 0.0
                for _ in range(2):  # the first may have to open the connection
                    began = clock()
                    status = (await self._http.get(path, timeout=None)).status_code
                    if status >= 500 or (path == "/readyz" and status != 200):
                        return None
                return clock() - began
        except _HTTPX:  # a TimeoutError is an OSError
            return None

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()
