"""The words of the domain: a labelled piece of an address."""

from typing import NamedTuple

COMPONENT_TYPES = (
    "prov", "city", "district", "devzone", "town", "community", "village_group", "road", "roadno", "intersection",
    "poi", "subpoi", "houseno", "cellno", "floorno", "roomno", "assist", "distance",
)  # fmt: skip
"""The merged scheme: MGeo's 17 types plus `roomno`, in the order of a written address, coarse to fine."""

NUMBERS = ("roadno", "houseno", "cellno", "floorno", "roomno")

TYPE_NAMES = {
    "prov": ("省级行政区", "province"),
    "city": ("地级行政区", "city"),
    "district": ("区县", "district or county"),
    "devzone": ("开发区", "development zone"),
    "town": ("乡镇街道", "subdistrict or town"),
    "community": ("社区、村", "community or village"),
    "village_group": ("村民小组", "village group"),
    "road": ("道路", "road"),
    "roadno": ("门牌号", "road number"),
    "intersection": ("路口", "intersection"),
    "poi": ("兴趣点", "point of interest"),
    "subpoi": ("子兴趣点", "point of interest inside another"),
    "houseno": ("楼栋号", "building number"),
    "cellno": ("单元号", "unit"),
    "floorno": ("楼层", "floor"),
    "roomno": ("房间号", "room"),
    "assist": ("方位", "relative position"),
    "distance": ("距离", "distance"),
}
"""The Chinese and the English name of each type."""


class Component(NamedTuple):
    """
    One labelled span.

    `start` and `end` are half-open code point positions in the text it was found in: in the canonical text
    inside the node, in the caller's text on the wire (`Canonical.span` maps one to the other).
    `confidence` is the calibrated probability, 0 to 1, that span and type are both right.
    """

    type: str
    start: int
    end: int
    confidence: float
