"""
The request and the reply of Google's Address Validation (`POST /v1:validateAddress`), for clients that speak it.

Fields have Google's names, so that a client can send Chinese addresses here and all others there. What Google knows
and we do not (geocode, metadata, postal codes) is left out; nothing is claimed to be deliverable.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from addrmesh.address import verdict
from addrmesh.address.questions import Validation
from addrmesh.node.asgi import Request

_GRANULARITY = {
    "SUB_PREMISE": "SUB_PREMISE", "PREMISE": "PREMISE", "ROUTE": "ROUTE", "VILLAGE": "OTHER", "TOWN": "OTHER",
    "DISTRICT": "OTHER", "CITY": "OTHER", "PROVINCE": "OTHER", "NONE": "OTHER",
}  # fmt: skip

TYPES = {
    "prov": "administrative_area_level_1", "city": "locality", "district": "sublocality_level_1",
    "devzone": "sublocality_level_2", "town": "sublocality_level_2", "community": "sublocality_level_3",
    "village_group": "sublocality_level_4", "road": "route", "roadno": "street_number",
    "intersection": "intersection", "poi": "point_of_interest", "subpoi": "premise", "houseno": "premise",
    "cellno": "subpremise", "floorno": "floor", "roomno": "room", "assist": "landmark", "distance": "landmark",
}  # fmt: skip
"""Ours to Google's."""


class PostalAddress(Struct, frozen=True, rename="camel"):
    """An address in fields, as Google has them; what addrmesh has no use for is ignored."""

    address_lines: list[str] = []
    region_code: str = ""
    language_code: str = ""
    postal_code: str = ""
    administrative_area: str = ""
    locality: str = ""
    sublocality: str = ""


class ValidateAddressRequest(Struct, frozen=True, rename="camel"):
    """One address to judge."""

    address: PostalAddress
    previous_response_id: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9._-]{0,64}$",
            description="As ours: the `responseId` of this answer begins with that of the first.",
        ),
    ] = ""

    def question(self, limit: int) -> Validation:
        """Return what is asked; the text has at most `limit` code points."""
        given = self.address
        fields = verdict.Fields(
            given.address_lines,
            given.region_code or None,
            given.administrative_area or None,
            given.locality or None,
            given.sublocality or None,
            given.postal_code or None,
        )
        return Validation.of(verdict.Request(fields, language_code=self.language), limit)

    @property
    def language(self) -> verdict.Language:
        """The language of the answer."""
        return "en" if self.address.language_code.startswith("en") else "zh-CN"


class GoogleComponentName(Struct, frozen=True, rename="camel"):
    """What a component is called."""

    text: str
    language_code: str


class AddressComponent(Struct, frozen=True, rename="camel"):
    """One part of the answered address."""

    component_name: GoogleComponentName
    component_type: str
    confirmation_level: verdict.Confirmation
    inferred: bool
    spell_corrected: bool
    replaced: bool


class GoogleAddress(Struct, frozen=True, rename="camel"):
    """The address as it should be written."""

    formatted_address: str
    postal_address: PostalAddress
    address_components: list[AddressComponent]
    missing_component_types: list[str]
    unconfirmed_component_types: list[str]
    unresolved_tokens: list[str]


class GoogleVerdict(Struct, frozen=True, rename="camel"):
    """The answer in one line."""

    input_granularity: Literal["SUB_PREMISE", "PREMISE", "ROUTE", "OTHER"]
    validation_granularity: Literal["SUB_PREMISE", "PREMISE", "ROUTE", "OTHER"]
    address_complete: bool
    has_unconfirmed_components: bool
    has_inferred_components: bool
    has_replaced_components: bool
    has_spell_corrected_components: bool
    possible_next_action: Annotated[
        Literal["ACCEPT", "CONFIRM", "CONFIRM_ADD_SUBPREMISES", "FIX"], Meta(description="Never better than ours.")
    ]


class GoogleResult(Struct, frozen=True, rename="camel"):
    """The judgement."""

    verdict: GoogleVerdict
    address: GoogleAddress


class ValidateAddressResponse(Struct, frozen=True, rename="camel"):
    """The judgement of one address, in Google's words."""

    result: GoogleResult
    response_id: str


BODIES = (ValidateAddressRequest, ValidateAddressResponse)

decode = msgspec.json.Decoder(ValidateAddressRequest).decode
_decode_result = msgspec.json.Decoder(verdict.Result).decode


def with_key(request: Request) -> Request:
    """Return a request whose key is where ours are, if it came where Google's clients put it."""
    key = request.headers.get(b"x-goog-api-key")
    if key is None or b"authorization" in request.headers:
        return request
    return request._replace(headers={**request.headers, b"authorization": b"Bearer " + key})


def reply(asked: ValidateAddressRequest, result: bytes, response_id: str) -> ValidateAddressResponse:
    """Return the answer in Google's words; `result` is the encoded one."""
    ours = _decode_result(result)
    given, found, address = asked.address, ours.verdict, ours.address
    names: dict[str, str] = {}
    for component in address.components:
        names.setdefault(component.type, component.text)
    rest = "".join(c.text for c in address.components if c.type not in ("prov", "city", "district"))
    unconfirmed = [TYPES[c.type] for c in address.components if c.confirmation_level != "CONFIRMED"]
    postal = PostalAddress(
        [rest] if rest else [], given.region_code or "CN", given.language_code or "zh-CN", given.postal_code,
        names.get("prov", ""), names.get("city", ""), names.get("district", ""),
    )  # fmt: skip
    judged = GoogleVerdict(
        _granularity(found.input_granularity),
        _granularity(found.validation_granularity),
        found.address_complete,
        found.has_unconfirmed_components,
        found.has_inferred_components,
        found.has_replaced_components,
        found.has_spell_corrected_components,
        found.possible_next_action,
    )
    shown = GoogleAddress(
        address.formatted_address,
        postal,
        [_component(component) for component in address.components],
        [TYPES[kind] for kind in address.missing_component_types],
        list(dict.fromkeys(unconfirmed)),
        address.unresolved_tokens,
    )
    return ValidateAddressResponse(GoogleResult(judged, shown), response_id)


def _granularity(ours: verdict.Granularity) -> Any:
    return _GRANULARITY[ours]


def _component(ours: verdict.ResultComponent) -> AddressComponent:
    return AddressComponent(
        GoogleComponentName(ours.text, "zh-CN"),
        TYPES[ours.type],
        ours.confirmation_level,
        inferred=ours.source == "INFERRED",
        spell_corrected=ours.source == "SPELL_CORRECTED",
        replaced=ours.source == "REPLACED",
    )
