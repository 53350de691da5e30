"""Google's own client against our node: `pip install google-maps-addressvalidation`."""

import pytest

from addrmesh.inference.engine import load_engine
from addrmesh.inference.release import BUILTIN, open_release

addressvalidation = pytest.importorskip(
    "google.maps.addressvalidation", reason="pip install google-maps-addressvalidation"
)


@pytest.fixture
def theirs(start_node):
    node = start_node(load_engine(open_release(BUILTIN)))
    from google.auth.credentials import AnonymousCredentials
    from google.maps.addressvalidation_v1.services.address_validation.transports import AddressValidationRestTransport

    transport = AddressValidationRestTransport(
        host=f"127.0.0.1:{node.port}", credentials=AnonymousCredentials(), url_scheme="http"
    )
    with addressvalidation.AddressValidationClient(transport=transport) as client:
        yield client


def test_google_s_client_gets_a_verdict_it_understands(theirs):
    asked = {"address": {"region_code": "CN", "address_lines": ["杭州江干区下沙街道幸福街1号"]}}
    reply = theirs.validate_address(addressvalidation.ValidateAddressRequest(asked))
    verdict, address = reply.result.verdict, reply.result.address
    assert reply.response_id
    assert verdict.input_granularity.name == "PREMISE"
    assert verdict.validation_granularity.name == "OTHER"
    assert (verdict.address_complete, verdict.has_inferred_components, verdict.has_replaced_components) == (True,) * 3
    assert address.formatted_address == "浙江省杭州市钱塘区下沙街道幸福街1号"
    assert address.postal_address.administrative_area == "浙江省"
    assert address.postal_address.sublocality == "钱塘区"
    levels = {c.component_type: c.confirmation_level.name for c in address.address_components}
    assert levels["locality"] == "CONFIRMED"
    assert levels["route"] == "UNCONFIRMED_BUT_PLAUSIBLE"
    assert "route" in address.unconfirmed_component_types


def test_google_s_client_sends_fields_and_sees_what_is_missing(theirs):
    asked = {"address": {"region_code": "CN", "administrative_area": "浙江省", "locality": "杭州市"}}
    reply = theirs.validate_address(addressvalidation.ValidateAddressRequest(asked))
    assert reply.result.verdict.input_granularity.name == "OTHER"
    assert "sublocality_level_1" in reply.result.address.missing_component_types


def test_google_s_client_sees_a_refusal_as_one(theirs):
    from google.api_core.exceptions import GoogleAPICallError

    with pytest.raises(GoogleAPICallError) as refused:
        theirs.validate_address(addressvalidation.ValidateAddressRequest({"address": {"address_lines": [" "]}}))
    assert refused.value.code == 422
