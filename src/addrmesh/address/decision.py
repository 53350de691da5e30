"""
The decision rule as the configuration document `decision-rule`, read more strictly than the package's own file.

A rule that stops or lets through every order of a fleet must not rest on a typing error, so everything wrong with a
document is told at once: which key, what was found there, what is expected. One that would accept an error is refused.
"""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import msgspec

from addrmesh.address.issues import CATALOGUE
from addrmesh.address.verdict import ACTIONS, SEVERITIES, DecisionRule
from addrmesh.errors import ConfigError

DECISION_RULE = "decision-rule"
_SECTIONS = tuple(field.name for field in msgspec.structs.fields(DecisionRule))


def decision_rule(content: Any) -> DecisionRule:
    """
    Read the document `decision-rule`.

    Raises:
        ConfigError: Everything that is wrong with it.
    """
    if wrong := list(_mistakes(content)):
        raise ConfigError(f"{DECISION_RULE}: {'; '.join(wrong)}")
    return msgspec.convert(content, DecisionRule)


def _mistakes(content: Any) -> Iterator[str]:
    if not isinstance(content, dict):
        yield _mistake("the document", content, _any(_SECTIONS))
        return
    for key in content.keys() - {*_SECTIONS}:
        yield _mistake("the document", key, _any(_SECTIONS))
    severities = content.get("severities")
    if isinstance(severities, dict) and severities.keys() == {*SEVERITIES}:
        for severity, action in severities.items():
            if action not in ACTIONS:
                yield _mistake(f"severities.{severity}", action, _any(ACTIONS))
            elif (severity, action) == ("error", "ACCEPT"):
                yield _mistake("severities.error", action, _STRICT)
    else:
        found = sorted(map(str, severities)) if isinstance(severities, dict) else severities
        yield _mistake("severities", found, f"an action for each of {', '.join(SEVERITIES)}")
    exceptions = content.get("exceptions", {})
    if isinstance(exceptions, dict):
        for key, action in exceptions.items():
            yield from _exception_mistakes(str(key), action)
    else:
        yield _mistake("exceptions", exceptions, "issues and their actions, or no such section")


def _exception_mistakes(key: str, action: Any) -> Iterator[str]:
    code, slash, severity = key.partition("/")
    if code not in CATALOGUE:
        close = get_close_matches(code, CATALOGUE, n=1)
        known = "a code of docs/reference/issue-codes.md"
        yield _mistake("exceptions", key, f"{known}; did you mean {close[0]}?" if close else known)
        return
    severities = CATALOGUE[code].severities
    if slash and severity not in SEVERITIES:
        yield _mistake("exceptions", key, _any([f"{code}/{one}" for one in severities]))
    elif action not in ACTIONS:
        yield _mistake(f"exceptions.{key}", action, _any(ACTIONS))
    elif action == "ACCEPT" and severity in ("", "error") and (slash or "error" in severities):
        milder = [f"{code}/{one}" for one in severities if one != "error" and not slash]
        yield _mistake(f"exceptions.{key}", action, f"{_STRICT}; {_any(milder)} may be accepted" if milder else _STRICT)


def _any(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


_STRICT = f"{_any(ACTIONS[1:])}, because an error is never accepted"


def _mistake(key: str, found: object, expected: str) -> str:
    return f"{key}: found {'nothing' if found is None else repr(found)}, expected {expected}"
