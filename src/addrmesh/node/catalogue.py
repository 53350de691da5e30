"""The words of the API in Chinese and English, for `/v1/meta`."""

from addrmesh.address.types import COMPONENT_TYPES, TYPE_NAMES
from addrmesh.node.problems import KINDS
from addrmesh.node.wire import ComponentName, ProblemName

COMPONENT_NAMES = [ComponentName(kind, *TYPE_NAMES[kind]) for kind in COMPONENT_TYPES]
PROBLEM_NAMES = [ProblemName(kind.code, kind.status, kind.zh, kind.en) for kind in KINDS]
