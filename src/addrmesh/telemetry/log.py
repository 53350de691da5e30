"""
Log lines: one JSON object per line on standard error.

Events are named `noun.past_participle`. Address text is personal data and never logged: not in an event, not in the
message of a foreign exception, which may quote its input. `failure` is therefore the only way to log an exception.
"""

import contextlib
import logging
import sys
import traceback
from pathlib import Path

import structlog


class _StandardError:
    """Writes lines. One that cannot be written is lost: a closed pipe must not fail a request or a drain."""

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = log = msg


class _StandardLibrary(logging.Handler):
    """Passes what libraries log on as events, without their exception texts."""

    def emit(self, record: logging.LogRecord) -> None:
        details = failure(record.exc_info[1]) if record.exc_info and record.exc_info[1] else {}
        log = structlog.get_logger().bind(logger=record.name)
        log.log(record.levelno, "library.logged", message=record.getMessage(), **details)


def configure(*, region: str, node: str, level: int = logging.INFO) -> None:
    """Send this process's events to standard error; `region` and `node` are on every line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            lambda _, __, event: {"region": region, "node": node, **event},
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_StandardError,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_StandardLibrary()]
    root.setLevel(logging.WARNING)


def failure(error: BaseException) -> dict[str, object]:
    """Return what may be logged of an unexpected exception: its type and where it came from, never its message."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error": type(error).__qualname__,
        "where": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-8:]],
    }
