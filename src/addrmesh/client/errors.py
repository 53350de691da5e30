"""
What a call can end with. Catch `ClientError` where the shop must go on without an answer.

    ClientError                the call failed
    ├── ProblemError           the service answered with a problem; `status` below 500 means: do not repeat it
    └── NoAnswer               nobody answered in time

Messages name endpoints and outcomes, never the address.
"""

from collections.abc import Sequence
from typing import NamedTuple

from addrmesh.client.replies import FieldError, Problem
from addrmesh.errors import AddrmeshError


class Attempt(NamedTuple):
    """One try of a call."""

    endpoint: str
    outcome: str
    """Such as `connection refused or unreachable`, `silent`, `503 overloaded`."""
    elapsed_ms: float


class ClientError(AddrmeshError):
    """The call failed."""


class ProblemError(ClientError):
    """The service answered with a problem document, or a proxy before it with an error of its own."""

    def __init__(self, problem: Problem, attempts: Sequence[Attempt] = ()) -> None:
        self.code = problem.code
        """Stable; `http-<status>` when the answer was no problem document."""
        self.status = problem.status
        self.detail = problem.detail
        self.request_id = problem.request_id
        self.errors: tuple[FieldError, ...] = problem.errors
        self.retry_after_s = None if problem.retry_after_ms is None else problem.retry_after_ms / 1000
        self.attempts = tuple(attempts)
        tried = f"; {_story(self.attempts)}" if len(self.attempts) > 1 else ""
        super().__init__(f"{self.status} {self.code}: {self.detail} (request {self.request_id}{tried})")


class NoAnswer(ClientError):
    """No endpoint answered within the deadline."""

    def __init__(self, attempts: Sequence[Attempt], *, deadline_s: float, request_id: str, hint: str = "") -> None:
        self.attempts = tuple(attempts)
        self.request_id = request_id
        super().__init__(
            f"no answer within {deadline_s * 1000:.0f} ms (request {request_id}): {_story(self.attempts)}{hint}; "
            "accept the order and ask again later"
        )


def _story(attempts: Sequence[Attempt]) -> str:
    tries = ", ".join(f"{a.endpoint} {a.outcome} after {a.elapsed_ms:.0f} ms" for a in attempts)
    return f"{len(attempts)} {'attempt' if len(attempts) == 1 else 'attempts'}: {tries}"
