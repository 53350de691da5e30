"""The endpoints that answer with one body; the streaming one is in `bulk.py`."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

import msgspec

from addrmesh import __version__
from addrmesh.address.normalize import NORMALIZER_VERSION
from addrmesh.errors import AddrmeshError
from addrmesh.node import catalogue, wire
from addrmesh.node.asgi import JSON, Endpoint, HeaderPairs, Reply, Request, require_content_type
from addrmesh.node.lifecycle import State, WrongRelease
from addrmesh.node.node import Node
from addrmesh.node.pipeline import Answer
from addrmesh.node.problems import BadRequest, invalid_body, kind_of, problem
from addrmesh.telemetry import metrics

MAX_DEADLINE_MS = 600_000
"""Ten minutes: longer is a mistake in the caller's unit."""

_DEADLINE = re.compile(rb"[0-9]{1,6}").fullmatch
_ALIVE = Reply(200, wire.encode(wire.Alive()))


def deadline_of(request: Request, default_s: float) -> float:
    """
    Return the loop time at which the answer is no longer wanted: `X-Deadline-Ms` after the arrival.

    Raises:
        BadRequest: The header is not a whole number from 1 to `MAX_DEADLINE_MS`.
    """
    arrived = asyncio.get_running_loop().time() - (perf_counter() - request.arrived)
    given = request.headers.get(b"x-deadline-ms")
    if given is None:
        return arrived + default_s
    if not _DEADLINE(given) or not 1 <= int(given) <= MAX_DEADLINE_MS:
        detail = f"X-Deadline-Ms must be a whole number of milliseconds from 1 to {MAX_DEADLINE_MS}"
        raise BadRequest("invalid-header", detail)
    return arrived + int(given) / 1000


def decode(body: bytes, decoder: Callable[[bytes], Any]) -> Any:
    """Decode a body; what is wrong with it becomes a BadRequest."""
    try:
        return decoder(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid_body(error) from error


@dataclass
class Routes:
    """The handlers of one node."""

    node: Node

    def endpoints(self) -> list[Endpoint]:
        """Return every handler with its path."""
        limit = self.node.settings.limits.batch_bytes
        return [
            Endpoint("POST", "/v1/address:parse", self.parse, limit, refused_unread=True),
            Endpoint("POST", "/v1/addresses:batchParse", self.batch_parse, limit),
            Endpoint("GET", "/livez", self.livez),
            Endpoint("GET", "/readyz", self.readyz),
            Endpoint("GET", "/health", self.health),
            Endpoint("GET", "/metrics", self.metrics),
            Endpoint("GET", "/v1/meta", self.meta),
            Endpoint("GET", "/", self.root),
        ]

    def parse(self, request: Request) -> Reply | Awaitable[Reply]:
        """Find the components of one address."""
        quota = self.node.authorize(request, "parse")
        pipeline = self.node.pipeline()
        require_content_type(request.headers, b"application/json")
        deadline = deadline_of(request, self.node.default_deadline_s)
        asked: wire.ParseRequest = decode(request.body, wire.decode_parse_request)
        answer = pipeline.parse(asked.address, deadline=deadline, tagset=asked.options.tagset)
        if isinstance(answer, Answer):
            return self._parsed(request, answer, quota)
        return self._parsed_later(request, answer, quota)

    async def _parsed_later(self, request: Request, answer: Awaitable[Answer], quota: HeaderPairs) -> Reply:
        return self._parsed(request, await answer, quota)

    def _parsed(self, request: Request, answer: Answer, quota: HeaderPairs) -> Reply:
        service = self.node.service(request, cached=answer.cached)
        reply = wire.ParseReply(self.node.responder.new_id(), wire.rendered(answer.result), service)
        return Reply(200, wire.encode(reply), JSON + quota)

    async def batch_parse(self, request: Request) -> Reply:
        """Find the components of several addresses."""
        quota = self.node.authorize(request, "parse")
        pipeline = self.node.pipeline()
        require_content_type(request.headers, b"application/json")
        deadline = deadline_of(request, self.node.default_deadline_s)
        asked: wire.BatchRequest = decode(request.body, wire.decode_batch_request)
        found, limit = len(asked.addresses), self.node.settings.limits.batch_items
        if found > limit:
            raise BadRequest("input-too-long", f"the batch has {found} addresses, the limit is {limit}; split it")
        texts = [address for address in asked.addresses if isinstance(address, str)]
        answers = iter(await pipeline.parse_many(texts, deadline=deadline, tagset=asked.options.tagset))
        items: list[wire.BatchItem] = []
        all_cached = bool(texts)
        for index, address in enumerate(asked.addresses):
            answer = next(answers) if isinstance(address, str) else _not_text(index)
            if isinstance(answer, Answer):
                all_cached = all_cached and answer.cached
                items.append(wire.BatchItem(index, 200, result=wire.rendered(answer.result)))
            else:
                all_cached = False
                status = kind_of(answer).status
                items.append(wire.BatchItem(index, status, problem=problem(answer, request.id)))
        service = self.node.service(request, cached=all_cached)
        return Reply(200, wire.encode(wire.BatchReply(self.node.responder.new_id(), items, service)), JSON + quota)

    def livez(self, request: Request) -> Reply:  # noqa: ARG002 - a handler takes the request
        """Say that the process answers."""
        return _ALIVE

    def readyz(self, request: Request) -> Reply:
        """Say whether the node takes requests, for the release that `?release=` or `X-Addrmesh-Release` names."""
        self.node.lifecycle.require_ready()
        release = self.node.release
        if release is None:
            raise AssertionError("a ready node has a release; this is a bug")
        asked = parse_qs(request.query.decode("latin-1")).get("release", [""])[-1] if request.query else ""
        # Envoy sends a dash for a region that may serve any release.
        wanted = asked or request.headers.get(b"x-addrmesh-release", b"").decode("latin-1").strip("-")
        if wanted and wanted != release.id:
            raise WrongRelease(f"this node serves {release.id}")
        return Reply(200, wire.encode(wire.Ready("ready", release.id)))

    async def health(self, request: Request) -> Reply:  # noqa: ARG002
        """Describe the node."""
        node, server = self.node, self.node.settings.server
        release = node.release
        health = wire.Health(
            status=node.lifecycle.status,
            model_version=release.id if release else None,
            release=release.id if release else None,
            gazetteer_version=release.manifest.gazetteer_version if release else None,
            region=server.region,
            node=server.name,
            state=node.lifecycle.state,
            uptime_s=round(node.lifecycle.uptime_s, 3),
            detail=node.lifecycle.failure,
            configuration=dict(node.follower.revisions) if node.follower else {},
        )
        return Reply(200 if node.lifecycle.state is State.READY else 503, wire.encode(health))

    async def metrics(self, request: Request) -> Reply:  # noqa: ARG002
        """Show the metrics in the Prometheus text format."""
        return Reply(200, self.node.metrics.exposition(), ((b"content-type", metrics.CONTENT_TYPE.encode()),))

    async def meta(self, request: Request) -> Reply:  # noqa: ARG002
        """List versions, limits and catalogues."""
        release, limits = self.node.release, self.node.settings.limits
        return Reply(
            200,
            wire.encode(
                wire.MetaReply(
                    versions=wire.Versions(
                        addrmesh=__version__,
                        api="v1",
                        normalizer=NORMALIZER_VERSION,
                        release=release.id if release else None,
                        gazetteer=release.manifest.gazetteer_version if release else None,
                    ),
                    limits=wire.MetaLimits(
                        max_code_points=limits.max_code_points,
                        batch_items=limits.batch_items,
                        batch_bytes=limits.batch_bytes,
                        bulk_lines=limits.bulk_lines,
                        bulk_bytes=limits.bulk_bytes,
                        line_bytes=limits.line_bytes,
                    ),
                    component_types=catalogue.COMPONENT_NAMES,
                    problems=catalogue.PROBLEM_NAMES,
                )
            ),
        )

    async def root(self, request: Request) -> Reply:  # noqa: ARG002
        """Send people to the documentation."""
        return Reply(307, b"", (*JSON, (b"location", b"docs")))


def _not_text(index: int) -> AddrmeshError:
    detail = "expected a string"
    pointer = f"/addresses/{index}"
    return BadRequest("validation-failed", f"{pointer}: {detail}", errors=[wire.FieldError(pointer, detail)])
