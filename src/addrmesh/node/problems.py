"""
Errors to problem documents (RFC 9457): one table, and the only place where an error becomes a status.

Details are our own sentences. They never quote the request, because what a caller sends is an address.
"""

import math
import re
from typing import NamedTuple

import msgspec

from addrmesh.address.divisions import InvalidDate
from addrmesh.errors import (
    AddrmeshError,
    DeadlineExceeded,
    EngineError,
    InvalidText,
    NotReady,
    Overloaded,
    RateLimited,
    RequestError,
    TextTooLong,
    Unavailable,
)
from addrmesh.node.access import Forbidden, Unauthenticated
from addrmesh.node.corrections import IdempotencyConflict
from addrmesh.node.lifecycle import Draining, WrongRelease
from addrmesh.node.wire import FieldError, Problem
from addrmesh.store.store import StoreUnavailable

CONTENT_TYPE = b"application/problem+json"


class BadRequest(RequestError):
    """The request breaks a rule of HTTP or of its schema; `code` says which."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: list[FieldError] | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.code, self.errors, self.headers = code, errors, headers
        super().__init__(detail)


class Kind(NamedTuple):
    """One row of the catalogue."""

    code: str
    status: int
    en: str
    zh: str
    raised_as: tuple[type[AddrmeshError], ...] = ()


KINDS = (
    Kind("invalid-json", 400, "The body is not JSON in UTF-8", "请求体不是 UTF-8 编码的 JSON"),
    Kind("invalid-header", 400, "A header has a value that is not allowed", "请求头的取值不合法"),
    Kind(
        "invalid-parameter",
        400,
        "A query parameter has a value that is not allowed",
        "查询参数的取值不合法",
        (InvalidDate,),
    ),
    Kind("unauthenticated", 401, "A valid API key is needed", "需要有效的 API 密钥", (Unauthenticated,)),
    Kind("forbidden", 403, "The API key is not for this", "该 API 密钥无此权限", (Forbidden,)),
    Kind("not-found", 404, "There is nothing at this path", "路径不存在"),
    Kind("unknown-division", 404, "No division has or had this code", "没有该代码的行政区划"),
    Kind("method-not-allowed", 405, "This path does not take this method", "该路径不支持此方法"),
    Kind("request-timeout", 408, "The body did not arrive in time", "请求体未在时限内到达"),
    Kind(
        "idempotency-conflict",
        409,
        "The idempotency key came with another body",
        "幂等键已用于另一个请求体",
        (IdempotencyConflict,),
    ),
    Kind("input-too-long", 413, "The input is longer than the limit", "输入超过长度上限", (TextTooLong,)),
    Kind("unsupported-media-type", 415, "The body is of a type this path does not take", "不支持的请求体类型"),
    Kind("validation-failed", 422, "The body is not what the schema asks for", "请求体不符合接口定义"),
    Kind("invalid-text", 422, "The address is empty or blank", "地址为空", (InvalidText,)),
    Kind("rate-limited", 429, "This caller sends too much", "请求过于频繁", (RateLimited,)),
    Kind("internal", 500, "The node failed", "节点内部错误", (AddrmeshError,)),
    Kind("engine-failed", 500, "The model failed on this address", "模型处理该地址失败", (EngineError,)),
    Kind("overloaded", 503, "The queue is too long", "节点过载", (Overloaded, Unavailable)),
    Kind("store-unavailable", 503, "The store cannot be written", "存储不可写", (StoreUnavailable,)),
    Kind("node-starting", 503, "The node is starting", "节点正在启动", (NotReady,)),
    Kind("node-draining", 503, "The node is draining", "节点正在下线", (Draining,)),
    Kind("wrong-release", 503, "The node serves another release", "节点的模型版本不符", (WrongRelease,)),
    Kind("deadline-exceeded", 504, "The deadline passed", "超过时限", (DeadlineExceeded,)),
)

BY_CODE = {kind.code: kind for kind in KINDS}
_BY_ERROR = {error: kind for kind in KINDS for error in kind.raised_as}


def kind_of(error: BaseException) -> Kind:
    """Return the row of an error; what nobody foresaw is `internal`."""
    if isinstance(error, BadRequest):
        return BY_CODE[error.code]
    for cls in type(error).__mro__:
        if kind := _BY_ERROR.get(cls):
            return kind
    return BY_CODE["internal"]


def problem(error: BaseException, request_id: str) -> Problem:
    """Return the document of an error. The message of an error that is not ours is not shown."""
    kind = kind_of(error)
    foreseen = isinstance(error, AddrmeshError)
    return Problem(
        type=f"/problems/{kind.code}",
        title=kind.en,
        status=kind.status,
        detail=str(error) if foreseen and str(error) else f"{kind.en}; give request_id when you report it.",
        code=kind.code,
        request_id=request_id,
        errors=error.errors if isinstance(error, BadRequest) and error.errors else msgspec.UNSET,
        retry_after_ms=math.ceil(error.retry_after_s * 1000) if isinstance(error, Unavailable) else msgspec.UNSET,
    )


def headers_of(error: BaseException) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers an error asks for, beside `Content-Type`. `Retry-After` is in whole seconds, 1 or more."""
    if isinstance(error, Unavailable):
        return ((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))),)
    return error.headers if isinstance(error, BadRequest | Unauthenticated) else ()


_SAFE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_WHERE = re.compile(r" - at `\$(.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_SHOWN = re.compile(r"(Object missing required field `\w+`|Expected `[\w |]+`(, got `[\w |]+`)?)")


def invalid_body(error: Exception, at: str = "") -> BadRequest:
    """
    Translate what msgspec found wrong with a body, or with the part of it at the pointer `at`.

    msgspec quotes unknown field names and enum values; both are the caller's text, so a name is only repeated when
    it looks like a field name, and a value never.
    """
    if not isinstance(error, msgspec.ValidationError):
        if isinstance(error, UnicodeDecodeError):
            return BadRequest("invalid-json", "the body is not UTF-8")
        if isinstance(error, RecursionError):
            return BadRequest("invalid-json", "the body is nested too deeply")
        return BadRequest("invalid-json", "the body is not well-formed JSON (lone surrogates are not allowed either)")
    message = str(error)
    where = _WHERE.search(message)
    message = _WHERE.sub("", message)
    pointer = at + (re.sub(r"\.|\[", "/", where[1]).replace("]", "") if where else "")
    if unknown := _UNKNOWN.fullmatch(message):
        if _SAFE_NAME.fullmatch(unknown[1]):
            pointer += f"/{unknown[1]}"
        detail = "this field does not exist"
    elif _SHOWN.fullmatch(message):
        detail = message
    elif message.startswith("Invalid enum value"):
        detail = "none of the allowed values; /openapi.json lists them"
    else:
        detail = "not allowed by the schema"
    return BadRequest(
        "validation-failed",
        f"{pointer or 'the body'}: {detail}",
        errors=[FieldError(pointer, detail)],
    )
