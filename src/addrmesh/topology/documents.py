"""
The configuration documents about the fleet: their names, and what each may hold. `store/validators.py` lists them all.

Unlike settings, which are fixed for the life of a process, these are kept in the configuration centre, can be
changed while everything runs, and are applied within a second by whoever they concern.
"""

from typing import Annotated, Any, TypeVar

import msgspec

from addrmesh.errors import ConfigError
from addrmesh.topology.spec import FleetSpec, check

FLEET, TRAFFIC, RELEASE, LIMITS = "fleet", "traffic", "release", "limits"

_T = TypeVar("_T")
_ReleaseId = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]*@[0-9a-f]{12}$")]


class Releases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which release each region is told to serve; nodes of another one get no traffic. A region not named may serve any."""  # noqa: E501

    by_region: dict[str, _ReleaseId] = {}


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What nodes accept, in place of their settings of the same names."""

    max_wait_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None
    default_deadline_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None


def releases(content: Any) -> Releases:
    """Read the document `release`; ConfigError says what is wrong with it."""
    return _convert(RELEASE, content, Releases)


def limits(content: Any) -> Limits:
    """Read the document `limits`; ConfigError says what is wrong with it."""
    return _convert(LIMITS, content, Limits)


def fleet(content: Any) -> FleetSpec:
    """Read the document `fleet`; ConfigError says what is wrong with it."""
    return check(content, FLEET)


def _convert(name: str, content: Any, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: {str(error)[0].lower()}{str(error)[1:]}") from error
