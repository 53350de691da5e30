"""The words of the API in Chinese and English, for `/v1/meta`."""

from addrmesh.address.issues import CATALOGUE
from addrmesh.address.types import COMPONENT_TYPES, TYPE_NAMES
from addrmesh.node.problems import KINDS
from addrmesh.node.wire import ComponentName, IssueName, ProblemName

COMPONENT_NAMES = [ComponentName(kind, *TYPE_NAMES[kind]) for kind in COMPONENT_TYPES]
PROBLEM_NAMES = [ProblemName(kind.code, kind.status, kind.zh, kind.en) for kind in KINDS]
ISSUE_NAMES = [
    IssueName(code, kind.severities, kind.zh.replace("{}", "…"), kind.en.replace("{}", "…"))
    for code, kind in CATALOGUE.items()
]
