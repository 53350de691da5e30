"""The endpoints that answer with one body; the streaming one is in `bulk.py`."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

import msgspec

from addrmesh import __version__
from addrmesh.address.divisions import detail, listing, version
from addrmesh.address.normalize import NORMALIZER_VERSION
from addrmesh.errors import AddrmeshError
from addrmesh.node import catalogue, corrections, google, wire
from addrmesh.node.asgi import JSON, Endpoint, HeaderPairs, Reply, Request, require_content_type
from addrmesh.node.lifecycle import State, WrongRelease
from addrmesh.node.node import Node
from addrmesh.node.operations import OPERATIONS, Operation
from addrmesh.node.pipeline import Answer
from addrmesh.node.problems import BadRequest, invalid_body, kind_of, problem
from addrmesh.store.store import StoreUnavailable
from addrmesh.telemetry import metrics

MAX_DEADLINE_MS = 600_000
"""Ten minutes: longer is a mistake in the caller's unit."""

_DEADLINE = re.compile(rb"[0-9]{1,6}").fullmatch
_IDEMPOTENCY_KEY = re.compile(rb"[!-~]{1,255}").fullmatch
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
        asking = [
            endpoint
            for operation in OPERATIONS
            for endpoint in (
                Endpoint("POST", operation.path, partial(self.ask, operation), limit, refused_unread=True),
                Endpoint("POST", operation.batch_path, partial(self.ask_many, operation), limit),
            )
        ]
        return [
            *asking,
            Endpoint("POST", "/v1:validateAddress", self.google_validate, limit),
            Endpoint("GET", "/v1/divisions", self.divisions),
            Endpoint("GET", "/v1/divisions/{code}", self.division),
            Endpoint("POST", "/v1/feedback", self.feedback, limit),
            Endpoint("GET", "/livez", self.livez),
            Endpoint("GET", "/readyz", self.readyz),
            Endpoint("GET", "/health", self.health),
            Endpoint("GET", "/metrics", self.metrics),
            Endpoint("GET", "/v1/meta", self.meta),
            Endpoint("GET", "/", self.root),
        ]

    def ask(self, operation: Operation, request: Request) -> Reply | Awaitable[Reply]:
        """Answer one question."""
        quota = self.node.authorize(request, operation.scope)
        pipeline = self.node.pipeline()
        require_content_type(request.headers, b"application/json")
        deadline = deadline_of(request, self.node.default_deadline_s)
        asked = decode(request.body, operation.decode)
        answer = pipeline.ask(asked, deadline=deadline)
        if isinstance(answer, Answer):
            return self._answered(operation, request, asked, answer, quota)
        return self._answered_later(operation, request, asked, answer, quota)

    async def _answered_later(
        self, operation: Operation, request: Request, asked: Any, answer: Awaitable[Answer], quota: HeaderPairs
    ) -> Reply:
        return self._answered(operation, request, asked, await answer, quota)

    def _answered(
        self, operation: Operation, request: Request, asked: Any, answer: Answer, quota: HeaderPairs
    ) -> Reply:
        id_, service = self.node.responder.new_id(), self.node.service(request, *answer[1:])
        return Reply(200, wire.encode(operation.reply(asked, id_, wire.rendered(answer.result), service)), JSON + quota)

    async def ask_many(self, operation: Operation, request: Request) -> Reply:
        """Answer several questions."""
        quota = self.node.authorize(request, operation.scope)
        pipeline = self.node.pipeline()
        require_content_type(request.headers, b"application/json")
        deadline = deadline_of(request, self.node.default_deadline_s)
        batch = decode(request.body, operation.decode_batch)
        found, limit = len(operation.raw_items(batch)), self.node.settings.limits.batch_items
        if found > limit:
            raise BadRequest("input-too-long", f"the batch has {found} items, the limit is {limit}; split it")
        answers = await pipeline.ask_many(list(operation.items(batch)), deadline=deadline)
        items = [self._item(index, answer, request.id) for index, answer in enumerate(answers)]
        given = [answer for answer in answers if isinstance(answer, Answer)]
        service = self.node.service(
            request,
            len(given) == len(answers) > 0 and all(answer.cached for answer in given),
            wire.weakest(answer.mode for answer in given),
            any(answer.corrected for answer in given),
            next((answer.release for answer in given if answer.release), None),
        )
        return Reply(200, wire.encode(wire.BatchReply(self.node.responder.new_id(), items, service)), JSON + quota)

    def _item(self, index: int, answer: Answer | AddrmeshError, request_id: str) -> wire.BatchItem[Any]:
        if isinstance(answer, Answer):
            return wire.BatchItem(index, 200, wire.rendered(answer.result), **wire.marks(answer.mode, answer.corrected))
        return wire.BatchItem(index, kind_of(answer).status, problem=problem(answer, request_id))

    async def google_validate(self, request: Request) -> Reply:
        """Judge one address in the words of Google's Address Validation."""
        request = google.with_key(request)
        quota = self.node.authorize(request, "validate")
        pipeline = self.node.pipeline()
        require_content_type(request.headers, b"application/json")
        deadline = deadline_of(request, self.node.default_deadline_s)
        asked: google.ValidateAddressRequest = decode(request.body, google.decode)
        answer = pipeline.ask(asked, deadline=deadline)
        answer = answer if isinstance(answer, Answer) else await answer
        id_ = corrections.chained(self.node.responder.new_id(), asked.previous_response_id)
        reply = google.reply(asked, answer.result, id_)
        return Reply(200, wire.encode(reply), JSON + quota)

    async def divisions(self, request: Request) -> Reply:
        """List what lies right below a division."""
        quota = self.node.authorize(request, "divisions")
        asked = _query(request, "parent", "at")
        found = listing(asked.get("parent"), asked.get("at"))
        if found is None:
            raise BadRequest("unknown-division", "no division has or had the code of `parent`")
        return Reply(200, wire.encode(found), JSON + quota)

    async def division(self, request: Request) -> Reply:
        """Describe one division."""
        quota = self.node.authorize(request, "divisions")
        found = detail(request.path_parameter, _query(request, "at").get("at"))
        if found is None:
            raise BadRequest("unknown-division", "no division has or had this code at that time")
        return Reply(200, wire.encode(found), JSON + quota)

    async def feedback(self, request: Request) -> Reply:
        """Count what became of an answer, and keep what a caller says it should have been."""
        quota = self.node.authorize(request, "feedback")
        require_content_type(request.headers, b"application/json")
        asked: wire.FeedbackRequest = decode(request.body, _decode_feedback)
        if self.node.store is None:
            raise StoreUnavailable("this node has no store, so feedback cannot be kept; set store.primary")
        attempt = _attempt(request, asked)
        if attempt is not None and await attempt.is_done(self.node.store):
            return Reply(200, wire.encode(wire.Recorded()), JSON + quota)
        proposal = None
        if asked.correction is not None:
            question = asked.correction.question(self.node.settings.limits.max_code_points)
            proposal = corrections.proposed(question.reading.canonical.text, asked.correction.result)
        await corrections.record_feedback(self.node.store, asked.response_id, asked.conclusion, proposal)
        if attempt is not None:
            await attempt.done(self.node.store)
        return Reply(200, wire.encode(wire.Recorded()), JSON + quota)

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
            scorer=node.scorer if release else None,
            gazetteer_version=version() if release else None,
            region=server.region,
            node=server.name,
            state=node.lifecycle.state,
            uptime_s=round(node.lifecycle.uptime_s, 3),
            detail=node.lifecycle.failure,
            degraded=node.degraded,
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
                        gazetteer=version(),
                        scorer=self.node.scorer if release else None,
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
                    issues=catalogue.ISSUE_NAMES,
                )
            ),
        )

    async def root(self, request: Request) -> Reply:  # noqa: ARG002
        """Send people to the documentation."""
        return Reply(307, b"", (*JSON, (b"location", b"docs")))


def _attempt(request: Request, asked: msgspec.Struct) -> corrections.Attempt | None:
    key = request.headers.get(b"idempotency-key")
    if key is None:
        return None
    if not _IDEMPOTENCY_KEY(key):
        raise BadRequest("invalid-header", "Idempotency-Key must be 1 to 255 visible characters")
    return corrections.Attempt.of(key, request.headers.get(b"authorization", b""), wire.encode(asked))


_decode_feedback = msgspec.json.Decoder(wire.FeedbackRequest).decode


def _query(request: Request, *known: str) -> dict[str, str]:
    """Return the query's parameters, the last of each name; others than `known` are left alone."""
    found = parse_qs(request.query.decode("latin-1"), keep_blank_values=True)
    return {name: found[name][-1] for name in known if name in found}
