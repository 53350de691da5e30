from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrmesh.errors import ConfigError
from addrmesh.fleet.local import HOMES, AlreadyUp, StateDirectory, local_spec
from addrmesh.topology.spec import dump, read


@given(st.integers(1, len(HOMES)), st.integers(1, 8), st.integers(1, 60000))
def test_a_local_fleet_is_a_sound_spec_in_which_every_region_follows_every_other(
    regions: int, nodes: int, port: int
) -> None:
    spec = local_spec(regions=regions, nodes=nodes, port=port)
    names = {region.name for region in spec.regions}
    for region in spec.regions:
        assert len(region.nodes) == nodes
        assert region.store is not None
        assert {replica.of for replica in region.store.replicas} == names - {region.name}
    ports = [port for _, _, port in spec.listeners()]
    assert len(set(ports)) == len(ports)
    assert min(ports) == port == spec.regions[0].edge.port


def test_a_local_fleet_survives_being_written(tmp_path: Path) -> None:
    spec = local_spec(regions=2, nodes=2, port=8000)
    file = tmp_path / "fleet.yaml"
    file.write_text(dump(spec))
    assert read(file) == spec.model_copy(update={"secret_file": tmp_path / "fleet.secret"})


@pytest.mark.parametrize(
    ("regions", "nodes", "port", "words"),
    [
        (0, 2, 8000, "--regions is 0, allowed: 1 to 5"),
        (2, 9, 8000, "--nodes is 9, allowed: 1 to 8"),
        (2, 2, 65530, "2 regions need 40 ports"),
    ],
)
def test_what_does_not_fit_is_refused(regions: int, nodes: int, port: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        local_spec(regions=regions, nodes=nodes, port=port)


def test_the_lock_tells_whether_a_keeper_lives(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path / "state")
    assert not directory.is_locked()
    with directory.lock():
        assert directory.is_locked()
        with pytest.raises(AlreadyUp, match="addrmesh down"):
            directory.lock()
    assert not directory.is_locked()


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"ADDRMESH_STATE_DIR": "/a", "XDG_STATE_HOME": "/b"}, Path("/a")),
        ({"XDG_STATE_HOME": "/b"}, Path("/b/addrmesh")),
        ({}, Path.home() / ".local/state/addrmesh"),
    ],
)
def test_the_state_directory_follows_the_environment(environ: dict[str, str], path: Path) -> None:
    assert StateDirectory.of(environ).path == path
