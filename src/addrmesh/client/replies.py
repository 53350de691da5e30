"""
What the service answers, as it is on the wire.

A field that is not listed here is ignored, and every word of a closed list (`Service.mode`, `Component.type`) is a
plain string: a newer service can answer an older client.
"""

from msgspec import Struct


class Component(Struct, frozen=True, gc=False):
    """One labelled piece of an address."""

    type: str
    text: str
    """The canonical form: half-width, simplified, without invisible characters."""
    input_text: str
    """What the caller wrote there."""
    span: tuple[int, int]
    """Half-open, in code points of the caller's text: `address[slice(*span)]`."""
    confidence: float
    """Calibrated probability that span and type are both right."""


class ParseResult(Struct, frozen=True):
    """The components of one address, by position."""

    components: tuple[Component, ...]


class Service(Struct, frozen=True):
    """Who answered, and how."""

    mode: str
    region: str
    node: str
    release: str
    gazetteer_version: str
    cached: bool
    elapsed_ms: float
    truncated: bool
    edge: str | None = None
    """Region of the edge that took the request."""
    failed_over: bool = False
    """Whether another region's edge took the request. (The client's own failover shows in `region`.)"""


class ParseReply(Struct, frozen=True):
    """The answer to one address."""

    response_id: str
    result: ParseResult
    service: Service


class FieldError(Struct, frozen=True):
    """What is wrong with one part of the request."""

    pointer: str
    detail: str


class Problem(Struct, frozen=True):
    """A problem document (RFC 9457)."""

    code: str
    status: int
    detail: str = ""
    request_id: str = ""
    errors: tuple[FieldError, ...] = ()
    retry_after_ms: float | None = None


class BatchItem(Struct, frozen=True):
    """The answer to one address of several."""

    index: int
    status: int
    result: ParseResult | None = None
    problem: Problem | None = None


class BatchReply(Struct, frozen=True):
    """The answers, in the order of the request."""

    response_id: str
    items: tuple[BatchItem, ...]
    service: Service
