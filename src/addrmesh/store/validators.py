"""
What the configuration centre accepts: every document there is, and what reads it.

Whoever writes, follows or shows documents uses this one table, so what one of them accepts all of them do.
"""

from collections.abc import Callable
from typing import Any

from addrmesh.address.decision import DECISION_RULE, decision_rule
from addrmesh.topology.documents import FLEET, LIMITS, RELEASE, TRAFFIC, fleet, limits, releases
from addrmesh.topology.routing import Traffic

VALIDATORS: dict[str, Callable[[Any], Any]] = {
    FLEET: fleet,
    TRAFFIC: Traffic.from_dict,
    RELEASE: releases,
    LIMITS: limits,
    DECISION_RULE: decision_rule,
}
