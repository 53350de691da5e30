"""The asynchronous face: what can be asked, and what is shared between calls."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from addrmesh.client.budget import RetryBudget
from addrmesh.client.endpoints import Endpoint, Fleet
from addrmesh.client.errors import ClientError, NoAnswer, ProblemError
from addrmesh.client.exchange import MAX_DEADLINE_MS, Connection, Request, tls_context
from addrmesh.client.race import Course, Line, Tasks
from addrmesh.client.replies import (
    BatchParseResult,
    BatchReply,
    Divisions,
    MatchReply,
    ParseReply,
    Recorded,
    ValidateReply,
)
from addrmesh.errors import ConfigError

T = TypeVar("T")
Tagset = Literal["addrmesh", "mgeo"]
Language = Literal["zh-CN", "en"]
Conclusion = Literal["VALIDATED_USED", "USER_VERSION_USED", "UNVALIDATED_USED", "UNUSED"]
Address = str | Mapping[str, Any]
"""One text, or fields: `administrative_area`, `locality`, `district`, `address_lines`, `postal_code`, `region_code`."""

DEADLINE_S = 0.8
"""What a checkout can wait before it goes on without an answer."""
BATCH_DEADLINE_S = 30.0
BATCH_ITEMS = 100
"""The service takes no more in one request."""
BATCHES_AT_ONCE = 8
CONNECT_TIMEOUT_S = 0.1

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class AsyncClient:
    """
    Asks the nearest region that works.

    Use it as a context manager, or call `aclose`. It belongs to one event loop.

    Args:
        endpoints: Base URLs, one per region, nearest first as far as known.
        api_key: Sent as `Authorization: Bearer`.
        verify: A bundle of certificate authorities (PEM) instead of the usual ones.
        cert: The client's certificate with its key (PEM): one file, or two.
        deadline_s: For a call that names none.
        connect_timeout_s: Of calls that are not raced; an endpoint farther than a third of it gets three round trips.
        fallback: Validate in this process, by gazetteer and rules, when no endpoint answers in time. It needs the whole
            package, 60 MB and a tenth of a second now, so that there is nothing left to load when everything is down.

    Raises:
        ConfigError: An argument cannot be used.
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
        urls = _urls(endpoints)
        self._fallback: Callable[[bytes], ValidateReply] | None = None
        if fallback:
            from addrmesh.client.fallback import load

            self._fallback = load()
        headers = {}
        if api_key is not None:
            if not (api_key.isascii() and api_key.isprintable() and api_key.strip()):
                raise ConfigError("api_key has a character that no header can carry; use the key as it was handed out")
            headers["Authorization"] = f"Bearer {api_key}"
        context = tls_context(verify, cert)
        lines: dict[Endpoint, Line] = {Endpoint(url): Connection(url, headers, context) for url in urls}
        self._deadline_s = _seconds(deadline_s)
        self._course = Course(Fleet(list(lines)), lines, RetryBudget(self._deadline_s), Tasks(), connect_timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; calls under way end with a ClientError."""
        await self._course.tasks.close()
        for line in self._course.lines.values():
            await line.close()

    async def parse(self, address: str, *, tagset: Tagset = "addrmesh", deadline_s: float | None = None) -> ParseReply:
        """
        Find the components of one address.

        Raises:
            ProblemError: The service refuses, such as an empty address (`invalid-text`).
            NoAnswer: No endpoint answered within the deadline.
        """
        body = {"address": _sendable(address), "options": {"tagset": tagset}}
        return await self._call("POST", "/v1/address:parse", body, _decode_parse, deadline_s=deadline_s)

    async def parse_many(
        self, addresses: Sequence[str], *, tagset: Tagset = "addrmesh", deadline_s: float = BATCH_DEADLINE_S
    ) -> list[BatchParseResult | ClientError]:
        """
        Find the components of many addresses, in their order; what went wrong with one stands in its place.

        Args:
            addresses: Any number; they are sent in batches, several at a time, and never raced.
            tagset: Which types to show.
            deadline_s: For each batch.
        """
        texts = [_sendable(address) for address in addresses]
        _seconds(deadline_s)
        slots = asyncio.Semaphore(BATCHES_AT_ONCE)

        async def batch(texts: list[str]) -> list[BatchParseResult | ClientError]:
            body = {"addresses": texts, "options": {"tagset": tagset}}

            def decode(reply: bytes) -> list[BatchParseResult | ClientError]:
                return _decode_items(reply, len(texts))

            try:
                async with slots:
                    return await self._call(
                        "POST", "/v1/addresses:batchParse", body, decode, deadline_s=deadline_s, hedged=False
                    )
            except ClientError as error:
                return [error] * len(texts)

        async with asyncio.TaskGroup() as group:
            batches = [
                group.create_task(batch(texts[start : start + BATCH_ITEMS]))
                for start in range(0, len(texts), BATCH_ITEMS)
            ]
        return [answer for task in batches for answer in task.result()]

    async def validate(
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
        """
        Judge one address: what it is, and whether an order can be sent there.

        Args:
            address: One text, or fields.
            region_hint: Code of the division that is expected; decides between those that fit equally well.
            options: `extract_receiver`, `admin_style`, `min_granularity`, `candidates`, `romanize`.
            language: Of the messages.
            previous_response_id: Of the answer to an earlier version of this address; feedback on any counts once.
            client_reference: Returned as it is.
            deadline_s: From now.

        Raises:
            ProblemError: The service refuses, such as an empty address (`invalid-text`).
            NoAnswer: No endpoint answered within the deadline, and there is no fallback.
        """
        body = {
            "address": _sendable_address(address),
            "region_hint": {"adcode": region_hint} if region_hint else None,
            "options": dict(options or {}),
            "language_code": language,
            "previous_response_id": previous_response_id,
            "client_reference": client_reference,
        }
        try:
            return await self._call("POST", "/v1/address:validate", body, _decode_validate, deadline_s=deadline_s)
        except (NoAnswer, ProblemError) as error:
            if self._fallback is None or (
                isinstance(error, ProblemError) and error.status < 500 and error.status != 429
            ):
                raise
            return self._fallback(msgspec.json.encode(body))

    async def match(self, a: Address, b: Address, *, deadline_s: float | None = None) -> MatchReply:
        """
        Say whether two addresses name the same place; their order makes no difference.

        Raises:
            ProblemError: The service refuses, such as an empty address (`invalid-text`).
            NoAnswer: No endpoint answered within the deadline.
        """
        body = {"a": _sendable_address(a), "b": _sendable_address(b)}
        return await self._call("POST", "/v1/address:match", body, _decode_match, deadline_s=deadline_s)

    async def divisions(
        self, parent: str | None = None, *, at: str | None = None, deadline_s: float | None = None
    ) -> Divisions:
        """
        List what lies right below a division, for an address picker.

        Args:
            parent: Code of it; None for the provinces.
            at: The day that is meant, as in 2020-01-31; None for now.
            deadline_s: From now.

        Raises:
            ProblemError: Nothing has or had the code (`unknown-division`).
            NoAnswer: No endpoint answered within the deadline.
        """
        query = urlencode({name: value for name, value in (("parent", parent), ("at", at)) if value is not None})
        return await self._call("GET", f"/v1/divisions?{query}", None, _decode_divisions, deadline_s=deadline_s)

    async def feedback(
        self,
        response_id: str,
        conclusion: Conclusion,
        *,
        correction: Mapping[str, Any] | None = None,
        deadline_s: float | None = None,
    ) -> None:
        """
        Say what became of an answer.

        Args:
            response_id: Of the answer.
            conclusion: Which version the order went with.
            correction: `address` and the `result` that should have been answered; an operator will judge it.
            deadline_s: From now.

        Raises:
            ProblemError: The service refuses; 503 `store-unavailable` where feedback cannot be kept.
            NoAnswer: No endpoint answered within the deadline.
        """
        body = {"response_id": response_id, "conclusion": conclusion, "correction": correction}
        await self._call("POST", "/v1/feedback", body, _decode_recorded, deadline_s=deadline_s, once=True)

    async def _call(
        self,
        method: str,
        path: str,
        body: object,
        decode: Callable[[bytes], T],
        *,
        deadline_s: float | None = None,
        hedged: bool = True,
        once: bool = False,
    ) -> T:
        """Ask. What is done `once` is not raced either: two nodes at once could both do it."""
        deadline_s = self._deadline_s if deadline_s is None else _seconds(deadline_s)
        content = None if body is None else msgspec.json.encode(body)
        request = Request(token_hex(8), method, path, content, decode, once)
        return await self._course.call(request, deadline_s, hedged=hedged and not once)


_decode_parse = msgspec.json.Decoder(ParseReply).decode
_decode_validate = msgspec.json.Decoder(ValidateReply).decode
_decode_match = msgspec.json.Decoder(MatchReply).decode
_decode_divisions = msgspec.json.Decoder(Divisions).decode
_decode_recorded = msgspec.json.Decoder(Recorded).decode
_decode_batch = msgspec.json.Decoder(BatchReply).decode


def _urls(endpoints: Sequence[str]) -> list[str]:
    urls = [] if isinstance(endpoints, str) else list(dict.fromkeys(url.rstrip("/") for url in endpoints))
    if not urls:
        raise ConfigError('endpoints must be a list of base URLs, such as ["https://eu.example", "https://cn.example"]')
    for number, url in enumerate(urls):
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            usable = False
        if not usable or parts.username is not None or parts.query or parts.fragment:
            raise ConfigError(
                f"endpoints[{number}] is no base URL; write https://host or http://host:port, and a key in api_key"
            )
    return urls


def _seconds(deadline_s: float) -> float:
    if not 0 < deadline_s <= MAX_DEADLINE_MS / 1000:
        raise ConfigError(f"deadline_s is {deadline_s}; it must be more than 0 and at most {MAX_DEADLINE_MS // 1000} s")
    return deadline_s


def _sendable(address: str) -> str:
    """Make half a surrogate pair, which JSON cannot carry, an invisible character: the service skips both alike."""
    return _LONE_SURROGATE.sub("\u200b", address)


def _sendable_address(address: Address) -> Any:
    if isinstance(address, str):
        return _sendable(address)
    return {name: _sendable_field(value) for name, value in address.items()}


def _sendable_field(value: Any) -> Any:
    if isinstance(value, str):
        return _sendable(value)
    return [_sendable_field(line) for line in value] if isinstance(value, list | tuple) else value


def _decode_items(body: bytes, count: int) -> list[BatchParseResult | ClientError]:
    """Read a batch reply; one that does not answer every item in its place is no reply."""
    items = _decode_batch(body).items
    answers: list[BatchParseResult | ClientError] = []
    for item in items:
        if item.index == len(answers) and item.result is not None:
            answers.append(BatchParseResult(item.result.components, item.mode))
        elif item.index == len(answers) and item.problem is not None:
            answers.append(ProblemError(item.problem))
    if len(answers) != count or len(items) != count:
        raise msgspec.ValidationError("not every item of the batch is answered in its place")
    return answers
