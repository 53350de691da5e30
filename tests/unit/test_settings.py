from pathlib import Path

import pytest
from pydantic import ValidationError

from addrmesh.errors import ConfigError
from addrmesh.settings import NodeSettings, fields, load


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_without_any_source_every_value_is_the_default() -> None:
    loaded = load(environ={})
    assert loaded.settings == NodeSettings()
    assert set(loaded.origins.values()) == {"default"}
    assert set(loaded.origins) == set(fields())


def test_each_layer_wins_over_the_one_before(tmp_path: Path) -> None:
    file = write(tmp_path / "node.yaml", "server: {port: 1, region: eu, name: a}\nbatching: {max_wait_ms: 1}")
    loaded = load(
        file,
        {"ADDRMESH_SERVER__PORT": "2", "ADDRMESH_SERVER__NAME": "b"},
        {"server.port": 3, "server.host": None},
    )
    assert loaded.settings.server.port == 3
    assert loaded.settings.server.name == "b"
    assert loaded.settings.server.region == "eu"
    assert loaded.origins["server.port"] == "command line"
    assert loaded.origins["server.name"] == "ADDRMESH_SERVER__NAME"
    assert loaded.origins["server.region"] == str(file)
    assert loaded.origins["server.host"] == "default"


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = write(tmp_path / "node.yaml", "cache:\n  entries: 7\n")
    assert load(environ={"ADDRMESH_CONFIG": str(file)}).settings.cache.entries == 7


def test_a_release_path_in_a_file_is_relative_to_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "node.yaml", "release: {path: models/small}")
    assert load(file, {}).settings.release.path == tmp_path / "models/small"


def test_an_empty_variable_counts_as_not_given() -> None:
    assert load(environ={"ADDRMESH_RELEASE__PATH": ""}).settings.release.path is None


def test_a_section_whose_keys_are_all_commented_out_is_empty(tmp_path: Path) -> None:
    assert load(write(tmp_path / "n.yaml", "batching:\n  # max_wait_ms: 5\n"), {}).settings == NodeSettings()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        NodeSettings().server.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("baching: {}", "baching: no such section; did you mean batching?"),
        ("batching: {max_wait: 3}", "batching.max_wait: no such setting; did you mean batching.max_wait_ms?"),
        (
            "limits: {max_wait_ms: 3}",
            "limits.max_wait_ms: no such setting; did you mean batching.max_wait_ms?",
        ),
        ("batching: {max_wait_ms: fast}", "batching.max_wait_ms: found 'fast', allowed: a number, 0 or more"),
        ("batching: {max_wait_ms: .nan}", "batching.max_wait_ms: found nan, allowed: a number, 0 or more"),
        ("server: {port: 70000}", "server.port: found 70000, allowed: a whole number from 0 to 65535"),
        ("server: {region: EU West}", "server.region: found 'EU West', allowed: 1 to 32 lower-case letters"),
        ("server: 3", "server: found 3, allowed: a section with host, port"),
        ("- a", "found list, allowed: sections (server, batching, cache, limits, release, match, engine, "),
        ("a: [", "is not YAML"),
    ],
)
def test_a_mistake_in_the_file_says_where_what_and_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "node.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)


def test_a_mistake_in_a_variable_is_found() -> None:
    with pytest.raises(
        ConfigError, match=r"^ADDRMESH_CACHE__ENTRIES: cache.entries: found 'many', allowed: a whole number"
    ):
        load(environ={"ADDRMESH_CACHE__ENTRIES": "many"})


def test_an_unknown_variable_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(
        ConfigError, match=r"ADDRMESH_BATCHING__MAX_WAIT: .* did you mean ADDRMESH_BATCHING__MAX_WAIT_MS\?"
    ):
        load(environ={"ADDRMESH_BATCHING__MAX_WAIT": "3"})


def test_variables_that_are_no_settings_are_let_through() -> None:
    loaded = load(environ={"ADDRMESH_DEBUG": "1", "ADDRMESH_STATE_DIR": "/x", "HOME": "/root"})
    assert loaded.settings == NodeSettings()


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    file = write(tmp_path / "node.yaml", "server: {port: x}\ncache: {size: 1}")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.yaml", {})


def test_every_setting_explains_itself() -> None:
    assert [key for key, field in fields().items() if not field.description] == []
