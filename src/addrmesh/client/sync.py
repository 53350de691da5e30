"""The blocking face: the same client on an event loop of its own, in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from addrmesh.client.client import (
    BATCH_DEADLINE_S,
    CONNECT_TIMEOUT_S,
    DEADLINE_S,
    Address,
    AsyncClient,
    Conclusion,
    Language,
    Tagset,
)
from addrmesh.client.errors import ClientError
from addrmesh.client.replies import BatchParseResult, Divisions, MatchReply, ParseReply, ValidateReply

T = TypeVar("T")


class Client:
    """
    Asks the nearest region that works, and waits for the answer. Any number of threads may share one.

    Use it as a context manager, or call `close`. A process that forks makes its clients after the fork: threads do
    not survive one. The arguments are those of `AsyncClient`.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        api_key: str | None = None,
        verify: str | Path | None = None,
        cert: str | Path | tuple[str | Path, str | Path] | None = None,
        deadline_s: float = DEADLINE_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        fallback: bool = False,
    ) -> None:
        self._core = AsyncClient(
            endpoints,
            api_key=api_key,
            verify=verify,
            cert=cert,
            deadline_s=deadline_s,
            connect_timeout_s=connect_timeout_s,
            fallback=fallback,
        )
        self._lock = threading.Lock()
        self._closed = False
        self._stop = asyncio.Event()
        started: Future[asyncio.AbstractEventLoop] = Future()
        # A daemon: a program that forgets to close the client can still end.
        self._thread = threading.Thread(target=self._serve, args=(started,), name="addrmesh-client", daemon=True)
        self._thread.start()
        self._loop = started.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; calls under way end with a ClientError."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def parse(self, address: str, *, tagset: Tagset = "addrmesh", deadline_s: float | None = None) -> ParseReply:
        """Find the components of one address; see `AsyncClient.parse`."""
        return self._run(self._core.parse(address, tagset=tagset, deadline_s=deadline_s))

    def parse_many(
        self, addresses: Sequence[str], *, tagset: Tagset = "addrmesh", deadline_s: float = BATCH_DEADLINE_S
    ) -> list[BatchParseResult | ClientError]:
        """Find the components of many addresses, in their order; see `AsyncClient.parse_many`."""
        return self._run(self._core.parse_many(addresses, tagset=tagset, deadline_s=deadline_s))

    def validate(
        self,
        address: Address,
        *,
        region_hint: str | None = None,
        options: Mapping[str, Any] | None = None,
        language: Language = "zh-CN",
        previous_response_id: str | None = None,
        client_reference: str | None = None,
        deadline_s: float | None = None,
    ) -> ValidateReply:
        """Judge one address; see `AsyncClient.validate`."""
        return self._run(
            self._core.validate(
                address,
                region_hint=region_hint,
                options=options,
                language=language,
                previous_response_id=previous_response_id,
                client_reference=client_reference,
                deadline_s=deadline_s,
            )
        )

    def match(self, a: Address, b: Address, *, deadline_s: float | None = None) -> MatchReply:
        """Say whether two addresses name the same place; see `AsyncClient.match`."""
        return self._run(self._core.match(a, b, deadline_s=deadline_s))

    def divisions(
        self, parent: str | None = None, *, at: str | None = None, deadline_s: float | None = None
    ) -> Divisions:
        """List what lies right below a division; see `AsyncClient.divisions`."""
        return self._run(self._core.divisions(parent, at=at, deadline_s=deadline_s))

    def feedback(
        self,
        response_id: str,
        conclusion: Conclusion,
        *,
        correction: Mapping[str, Any] | None = None,
        deadline_s: float | None = None,
    ) -> None:
        """Say what became of an answer; see `AsyncClient.feedback`."""
        self._run(self._core.feedback(response_id, conclusion, correction=correction, deadline_s=deadline_s))

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        with self._lock:  # what is scheduled before the stop runs before it, and is cancelled by it
            if self._closed:
                call.close()
                raise ClientError("the client is closed; make another one")
            future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        except CancelledError as error:
            raise ClientError("the client was closed during the call; nothing is known of its answer") from error
        finally:
            future.cancel()  # does nothing to one that is done; Ctrl-C ends the call

    def _serve(self, started: "Future[asyncio.AbstractEventLoop]") -> None:
        async def until_stopped() -> None:
            started.set_result(asyncio.get_running_loop())
            async with self._core:
                await self._stop.wait()

        asyncio.run(until_stopped())
