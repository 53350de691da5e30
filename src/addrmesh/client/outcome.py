"""What an answer means: for the caller, for the next try, and for what is thought of the endpoint."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from addrmesh.client.replies import Problem

T = TypeVar("T")

RETRIED = frozenset({408, 429, 502, 503, 504})
"""408: this process was stalled while it sent; the next try may go better."""
LEAVING = frozenset({"node-draining", "region-draining"})

_decode_problem = msgspec.json.Decoder(Problem).decode


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """
    What came of one attempt.

    Without a `reply` it failed. `working` says what it tells of the endpoint, None for nothing. `leaving`: the
    endpoint itself asks not to be chosen any more.
    """

    words: str
    reply: T | None = None
    problem: Problem | None = None
    is_final: bool = False
    working: bool | None = False
    leaving: bool = False


def judge(status: int, retry_after: str | None, body: bytes, decode: Callable[[bytes], T]) -> Outcome[T]:
    """
    Judge an HTTP answer.

    Args:
        status: Of the answer.
        retry_after: The header, used where the body does not say it in milliseconds. Only seconds are understood;
            the service sends no dates.
        body: Of the answer.
        decode: Of a good answer's body.
    """
    if status == 200:
        try:
            return Outcome("answered", decode(body), is_final=True, working=True)
        except msgspec.DecodeError:  # a portal's page or half a body: as good as a cut connection
            return Outcome("an answer that is none of the service's")
    problem = _problem(status, body)
    if problem.retry_after_ms is None and retry_after is not None and retry_after.isascii() and retry_after.isdigit():
        problem = msgspec.structs.replace(problem, retry_after_ms=int(retry_after) * 1000)
    return Outcome(
        f"{status} {problem.code}",
        problem=problem,
        is_final=status not in RETRIED,
        # A deadline that has passed may have been too short from the start.
        working=None if problem.code == "deadline-exceeded" else status < 500,
        leaving=status == 503 and problem.code in LEAVING,
    )


def _problem(status: int, body: bytes) -> Problem:
    """Read a problem document; of any other body nothing is kept, it could quote the request."""
    try:
        problem = _decode_problem(body)
    except msgspec.DecodeError:
        problem = None
    if problem is None or problem.status != status:
        return Problem(f"http-{status}", status, "the answer is no problem document; a proxy may have written it")
    return problem
