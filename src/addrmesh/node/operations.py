"""
What can be asked about addresses over HTTP: one row per operation.

A row says where it is found, which scope it needs, and how its bodies are read. How one, several or a stream of them
are answered is the same for all: `routes.py` and `bulk.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from addrmesh.address.wire import TAGSETS, Tagset
from addrmesh.errors import AddrmeshError
from addrmesh.node import wire
from addrmesh.node.corrections import chained
from addrmesh.node.pipeline import Asked
from addrmesh.node.problems import BadRequest, invalid_body

Item = Asked | AddrmeshError
"""What was asked, or why it could not be read."""


@dataclass(frozen=True)
class Bulk:
    """The streamed form of an operation."""

    path: str
    line: type[msgspec.Struct]
    """What a line holds; its `id` is returned."""
    parameters: Callable[[dict[str, str]], Any]
    """Check the query's own parameters and return what `asked` needs of them."""
    asked: Callable[[Any, Any], Asked]
    """Make a line what is asked."""

    @cached_property
    def decode(self) -> Callable[[bytes], Any]:
        """Decode a line."""
        return msgspec.json.Decoder(self.line).decode


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked."""

    scope: str
    path: str
    one: type[msgspec.Struct]
    reply: Callable[[Any, str, Any, wire.Service], msgspec.Struct]
    """Make the reply of what was asked, an id, the rendered result and who answered."""
    batch_path: str
    batch: type[msgspec.Struct]
    list_name: str
    """Of the field that holds a batch's items."""
    item: Callable[[Any, Any], Asked]
    """Make an item of a batch, and the batch it is in, what is asked; msgspec.ValidationError if it is none."""
    bulk: Bulk | None = None

    @cached_property
    def decode(self) -> Callable[[bytes], Any]:
        """Decode the body of a single request."""
        return msgspec.json.Decoder(self.one).decode

    @cached_property
    def decode_batch(self) -> Callable[[bytes], Any]:
        """Decode the body of a batch."""
        return msgspec.json.Decoder(self.batch).decode

    def raw_items(self, batch: Any) -> list[Any]:
        """Return the items of a batch as they were sent."""
        found: list[Any] = getattr(batch, self.list_name)
        return found

    def items(self, batch: Any) -> Iterator[Item]:
        """Yield what each item of a batch asks."""
        for index, raw in enumerate(self.raw_items(batch)):
            try:
                yield self.item(raw, batch)
            except msgspec.ValidationError as error:
                yield invalid_body(error, f"/{self.list_name}/{index}")


def _tagset(found: dict[str, str]) -> Tagset:
    tagset = found.get("tagset", "addrmesh")
    if tagset not in TAGSETS:
        raise BadRequest("invalid-parameter", f"tagset must be one of {', '.join(TAGSETS)}")
    return "mgeo" if tagset == "mgeo" else "addrmesh"


def _parse_item(raw: Any, batch: wire.BatchParseRequest) -> Asked:
    return wire.ParseRequest(msgspec.convert(raw, str), batch.options)


def _parse_line(line: wire.ParseLine, tagset: Tagset) -> Asked:
    return wire.ParseRequest(line.address, wire.Options(tagset))


def _validate_item(raw: Any, batch: wire.BatchValidateRequest) -> Asked:
    address = msgspec.convert(raw, str | wire.Fields)
    return wire.ValidateRequest(address, batch.region_hint, batch.options, batch.language_code)


def _validate_reply(asked: wire.ValidateRequest, id_: str, result: Any, service: wire.Service) -> wire.ValidateReply:
    id_ = chained(id_, asked.previous_response_id)
    return wire.ValidateReply(id_, result, service, asked.client_reference or msgspec.UNSET)


def _match_item(raw: Any, batch: wire.BatchMatchRequest) -> Asked:
    pair = msgspec.convert(raw, _Pair)
    return wire.MatchRequest(pair.a, pair.b, batch.options)


class _Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    a: str | wire.Fields
    b: str | wire.Fields


PARSE = Operation(
    "parse",
    "/v1/address:parse",
    wire.ParseRequest,
    lambda _, *fields: wire.ParseReply(*fields),
    "/v1/addresses:batchParse",
    wire.BatchParseRequest,
    "addresses",
    _parse_item,
    Bulk("/v1/addresses:bulkParse", wire.ParseLine, _tagset, _parse_line),
)
VALIDATE = Operation(
    "validate",
    "/v1/address:validate",
    wire.ValidateRequest,
    _validate_reply,
    "/v1/addresses:batchValidate",
    wire.BatchValidateRequest,
    "addresses",
    _validate_item,
    Bulk("/v1/addresses:bulkValidate", wire.ValidateLine, lambda _: None, lambda line, _: line),
)
MATCH = Operation(
    "match",
    "/v1/address:match",
    wire.MatchRequest,
    lambda _, *fields: wire.MatchReply(*fields),
    "/v1/addresses:batchMatch",
    wire.BatchMatchRequest,
    "pairs",
    _match_item,
)
OPERATIONS = (PARSE, VALIDATE, MATCH)
