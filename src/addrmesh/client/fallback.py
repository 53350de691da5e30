"""
Validation in the caller's own process, when no region answers in time: gazetteer and rules, no model.

The answer says `CLIENT_FALLBACK` and when to ask again, and is never better than CONFIRM. This is the only module of
the client that needs more than HTTP; it is imported when a client is made with `fallback=True`.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter

import msgspec

from addrmesh.address import divisions
from addrmesh.address.normalize import normalize_within
from addrmesh.address.reading import read, text_of
from addrmesh.address.validate import validate_without_engine
from addrmesh.address.verdict import Request
from addrmesh.client.errors import ProblemError
from addrmesh.client.replies import Problem, Service, ValidateReply, ValidateResult
from addrmesh.errors import InvalidText, TextTooLong

MODE = "CLIENT_FALLBACK"
MAX_CODE_POINTS = 2000
"""Of an address; the service takes no longer one either."""
REVALIDATE_S = 60
"""When to ask again. A lost region has failed over in less."""


def load() -> Callable[[bytes], ValidateReply]:
    """Load what answering needs, and return what answers: it takes the body of a request to `address:validate`."""
    divisions.warm()
    _answer(msgspec.json.encode({"address": "北京市海淀区中关村大街27号"}))
    return _answer


def _answer(body: bytes) -> ValidateReply:
    began = perf_counter()
    try:
        request = _decode(body)
        normalize_within(text_of(request), MAX_CODE_POINTS)
    except msgspec.ValidationError as error:
        # Its text could quote the address.
        raise _refusal("validation-failed", 422, "the request is not what the service takes") from error
    except TextTooLong as error:
        raise _refusal("input-too-long", 413, str(error)) from error
    except InvalidText as error:
        raise _refusal("invalid-text", 422, str(error)) from error
    result = validate_without_engine(read(request))
    again = datetime.now(UTC) + timedelta(seconds=REVALIDATE_S)
    service = Service(
        MODE, "", "", "", divisions.version(), cached=False, elapsed_ms=round((perf_counter() - began) * 1000, 3),
        truncated=False, revalidate_after=again.isoformat(timespec="seconds"),
    )  # fmt: skip
    shown = msgspec.convert(msgspec.to_builtins(result), ValidateResult)
    return ValidateReply("", shown, service, _decode_reference(body).client_reference)


class _Reference(msgspec.Struct):
    client_reference: str | None = None


_decode = msgspec.json.Decoder(Request).decode
_decode_reference = msgspec.json.Decoder(_Reference).decode


def _refusal(code: str, status: int, detail: str) -> ProblemError:
    return ProblemError(Problem(code, status, detail))
