"""The words of the API in Chinese and English, for `/v1/meta`."""

from addrmesh.address.types import COMPONENT_TYPES
from addrmesh.node.problems import KINDS
from addrmesh.node.wire import ComponentName, ProblemName

_NAMES = {
    "prov": ("省级行政区", "province"),
    "city": ("地级行政区", "city"),
    "district": ("区县", "district or county"),
    "devzone": ("开发区", "development zone"),
    "town": ("街道、乡镇", "subdistrict or town"),
    "community": ("社区、村", "community or village"),
    "village_group": ("村民小组、组", "village group"),
    "road": ("道路", "road"),
    "roadno": ("门牌号", "road number"),
    "intersection": ("路口", "intersection"),
    "poi": ("兴趣点", "point of interest"),
    "subpoi": ("子兴趣点", "point of interest inside another"),
    "houseno": ("楼栋号", "building number"),
    "cellno": ("单元号", "unit"),
    "floorno": ("楼层", "floor"),
    "roomno": ("房间号", "room"),
    "assist": ("方位、辅助说明", "relative position"),
    "distance": ("距离", "distance"),
}

COMPONENT_NAMES = [ComponentName(kind, *_NAMES[kind]) for kind in COMPONENT_TYPES]
PROBLEM_NAMES = [ProblemName(kind.code, kind.status, kind.zh, kind.en) for kind in KINDS]
