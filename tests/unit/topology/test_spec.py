from pathlib import Path

import pytest
import yaml

from addrmesh.errors import ConfigError
from addrmesh.fleet.local import local_spec
from addrmesh.topology.spec import check, dump, read

EXAMPLE = Path(__file__).parents[3] / "config" / "fleet.example.yaml"


TEXT = dump(local_spec(regions=2, nodes=2, port=8000))


def test_the_example_is_the_fleet_of_addrmesh_up() -> None:
    expected = local_spec(regions=2, nodes=2, port=8000)
    assert read(EXAMPLE) == expected.model_copy(update={"secret_file": EXAMPLE.parent / "fleet.secret"})


def test_every_mistake_is_reported_at_once_by_its_path() -> None:
    text = TEXT.replace("latitude: 50.1", "latitud: 50.1", 1).replace("port: 8010", "port: 99999", 1)
    with pytest.raises(ConfigError) as caught:
        check(yaml.safe_load(text), "fleet.yaml")
    assert str(caught.value).splitlines() == [
        "fleet.yaml: regions[0].location.latitude: is missing",
        "fleet.yaml: regions[0].location.latitud: no such key; did you mean latitude?",
        "fleet.yaml: regions[0].store.port: found 99999; input should be less than or equal to 65535",
    ]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("name: cn", "name: eu", "regions[1].name: 'eu' is also the name of regions[0]"),
        ("name: node-2", "name: node-1", "regions[0].nodes[1].name: 'node-1' is also the name of nodes[0]"),
        ("name: node-2", "name: edge", "'edge' is the name of another process of a region"),
        ("name: node-2", "name: Node 2", "found 'Node 2', allowed: up to 32 lower-case letters"),
        ("of: cn", "of: us", "regions[0].store.replicas[0].of: 'us' is not another region of this fleet (eu, cn)"),
        ("10.1.0.0/16", "10.1.0.1/16", "regions[0].client_networks[0]: 10.1.0.1/16 has host bits set"),
        ("port: 8002", "port: 8001", "node eu/node-2: 127.0.0.1:8001 is also the address of node eu/node-1"),
        ("host: 127.0.0.1", "host: 10.0.0.1", "tls: is missing, but node eu/node-1 can be reached from outside"),
        ("zone: addrmesh.test.", "zone: addrmesh", "dns.zone: found 'addrmesh', allowed: a domain name with a final"),
    ],
)
def test_what_does_not_fit_together_is_named(before: str, after: str, words: str) -> None:
    assert before in TEXT
    with pytest.raises(ConfigError) as caught:
        check(yaml.safe_load(TEXT.replace(before, after, 1)), "fleet.yaml")
    assert words in str(caught.value)


def test_a_document_that_is_no_fleet_is_refused() -> None:
    for found in ("[]", "regions: []", "just text"):
        with pytest.raises(ConfigError, match=r"fleet\.yaml"):
            check(yaml.safe_load(found), "fleet.yaml")


def test_paths_are_relative_to_the_spec_and_tls_changes_the_urls(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(TEXT + "tls:\n  directory: certs\n")
    spec = read(file)
    assert spec.tls is not None
    assert spec.tls.directory == tmp_path / "certs"
    assert spec.secret_file == tmp_path / "fleet.secret"
    assert spec.url(spec.regions[0].edge) == "https://127.0.0.1:8000"


def test_an_unknown_region_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'us' is not a region of this fleet \(eu, cn\)"):
        local_spec(regions=2, nodes=1, port=8000).region("us")
