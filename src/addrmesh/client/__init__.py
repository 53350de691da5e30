"""
The Python client: asks the nearest region, races the next one when it is slow, and fails over inside the request.

It speaks only HTTP to the service and imports nothing that a node needs. One module decides one thing and knows no
clock and no network: `endpoints` whom to ask and how long to wait before asking another, `budget` how many second
tries there may be, `outcome` what an answer means. `race` is one call from first try to reply, `exchange` is where
httpx is, `client` and `sync` are the two faces. `fallback`, loaded only when asked for, validates without any service.
"""

from addrmesh.client.client import AsyncClient
from addrmesh.client.errors import Attempt, ClientError, NoAnswer, ProblemError
from addrmesh.client.replies import (
    BatchParseResult,
    Component,
    Divisions,
    FieldError,
    MatchReply,
    MatchResult,
    ParseReply,
    ParseResult,
    Service,
    ValidateReply,
    ValidateResult,
)
from addrmesh.client.sync import Client

__all__ = (
    "AsyncClient",
    "Attempt",
    "BatchParseResult",
    "Client",
    "ClientError",
    "Component",
    "Divisions",
    "FieldError",
    "MatchReply",
    "MatchResult",
    "NoAnswer",
    "ParseReply",
    "ParseResult",
    "ProblemError",
    "Service",
    "ValidateReply",
    "ValidateResult",
)
