import json
import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from typer.testing import CliRunner

from addrmesh.cli import certs as verbs
from addrmesh.errors import ConfigError, Refused
from addrmesh.fleet import certs
from addrmesh.fleet.certs import AlreadyThere, init, inspect, renew
from addrmesh.topology.spec import FleetSpec, check, dump

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = [
    "eu.node-1",
    "eu.node-2",
    "eu.edge",
    "eu.store",
    "eu.supervisor",
    "cn.node-1",
    "cn.edge",
    "cn.supervisor",
    "operator",
]


def fleet(**hosts: str) -> FleetSpec:
    """Two regions, the second without a store; hosts by name of the process."""
    return check(
        {
            "tls": {"directory": "certs"},
            "regions": [
                {
                    "name": "eu", "location": {"latitude": 50, "longitude": 8},
                    "nodes": [
                        {"name": "node-1", "host": hosts.get("node", "10.0.0.1"), "port": 8001},
                        {"name": "node-2", "host": "2001:db8::0002", "port": 8002},
                    ],
                    "edge": {"host": "edge.eu.example", "port": 8000, "admin_port": 8019},
                    "store": {"host": "10.0.0.5", "port": 6401},
                },
                {
                    "name": "cn", "location": {"latitude": 30, "longitude": 120},
                    "nodes": [{"name": "node-1", "port": 8101}],
                    "edge": {"port": 8100, "admin_port": 8119},
                },
            ],
        },
        "test",
    )  # fmt: skip


def certificate(directory: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / f"{name}.pem").read_bytes())


def names(directory: Path, name: str) -> set[str]:
    return set(next(f for f in inspect(fleet(), directory, NOW) if f.name == name).names)


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    assert init(fleet(), tmp_path, NOW) == ["ca", *NAMES]
    return tmp_path


def test_every_process_has_a_certificate_and_a_key_that_only_this_user_reads(made: Path):
    assert {file.name for file in made.iterdir()} == {f"{n}.{kind}" for n in ["ca", *NAMES] for kind in ("pem", "key")}
    for name in ["ca", *NAMES]:
        key = made / f"{name}.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert load_pem_private_key(key.read_bytes(), None).public_key() == certificate(made, name).public_key()


def test_a_certificate_names_the_process_and_where_it_is_reached(made: Path):
    assert names(made, "eu.node-1") == {"eu.node-1", "10.0.0.1"}
    assert names(made, "eu.node-2") == {"eu.node-2", "2001:db8::2"}
    assert names(made, "eu.edge") == {"eu.edge", "edge.eu.example", "api.addrmesh.test"}
    assert names(made, "cn.node-1") == {"cn.node-1", "127.0.0.1", "localhost"}
    assert names(made, "operator") == {"operator"}


def test_a_strict_verifier_accepts_them_as_what_they_are_and_as_nothing_else(made: Path):
    trusting = PolicyBuilder().store(Store([certificate(made, "ca")]))
    then = trusting.time(NOW + timedelta(days=364))
    for name in NAMES[:-1]:
        then.build_client_verifier().verify(certificate(made, name), [])
        then.build_server_verifier(x509.DNSName(name)).verify(certificate(made, name), [])
    then.build_client_verifier().verify(certificate(made, "operator"), [])
    with pytest.raises(VerificationError):
        then.build_server_verifier(x509.DNSName("operator")).verify(certificate(made, "operator"), [])
    with pytest.raises(VerificationError):
        then.build_server_verifier(x509.DNSName("eu.node-2")).verify(certificate(made, "eu.node-1"), [])
    for days in (-1, 366):
        with pytest.raises(VerificationError):
            trusting.time(NOW + timedelta(days=days)).build_client_verifier().verify(certificate(made, "eu.edge"), [])


def test_openssl_accepts_them_too(made: Path):
    if not shutil.which("openssl"):
        pytest.skip("no openssl on the PATH")
    asked = ["openssl", "verify", "-x509_strict", "-CAfile", made / "ca.pem", "-attime", str(int(NOW.timestamp()))]
    for purpose in ("sslserver", "sslclient"):
        command = [*asked, "-purpose", purpose, made / "eu.node-1.pem"]
        found = subprocess.run(command, check=False, capture_output=True, text=True)
        assert found.returncode == 0, found.stdout + found.stderr


def test_the_authority_signs_no_other_authority(made: Path):
    constraints = certificate(made, "ca").extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)


def test_nothing_is_overwritten(made: Path):
    before = contents(made)
    with pytest.raises(AlreadyThere, match=r"ca.pem, ca.key, eu.node-1.pem and 17 more exist already.*certs renew"):
        init(fleet(), made, NOW)
    assert contents(made) == before


def test_one_file_is_enough_to_make_nothing(tmp_path: Path):
    (tmp_path / "cn.edge.key").write_text("mine")
    with pytest.raises(AlreadyThere, match=r"cn.edge.key exist"):
        init(fleet(), tmp_path, NOW)
    assert contents(tmp_path) == {"cn.edge.key": b"mine"}


def test_what_ends_within_the_days_is_renewed_and_keeps_its_key(made: Path):
    later = NOW + timedelta(days=340)
    before = contents(made)
    assert renew(fleet(), made, NOW + timedelta(days=300)) == []
    assert contents(made) == before
    assert renew(fleet(), made, later) == NAMES
    after = contents(made)
    assert {name for name in after if after[name] != before[name]} == {f"{name}.pem" for name in NAMES}
    assert {found.days_left for found in inspect(fleet(), made, later) if found.name != "ca"} == {365}


@pytest.mark.parametrize(
    ("damage", "reissued"),
    [
        (lambda d: (d / "eu.store.pem").unlink(), ["eu.store"]),
        (lambda d: (d / "eu.store.key").unlink(), ["eu.store"]),
        (lambda d: (d / "eu.store.pem").write_text("-----BEGIN CERTIFICATE-----"), ["eu.store"]),
        (lambda d: (d / "eu.store.pem").write_bytes((d / "ca.pem").read_bytes()), ["eu.store"]),
        (lambda d: (d / "eu.store.key").write_bytes((d / "eu.edge.key").read_bytes()), ["eu.store"]),
    ],
    ids=["no certificate", "no key", "torn", "another's certificate", "another's key"],
)
def test_what_is_missing_or_does_not_fit_is_issued(made: Path, damage, reissued: list[str]):
    damage(made)
    assert renew(fleet(), made, NOW) == reissued
    assert renew(fleet(), made, NOW) == []


def test_a_node_that_moved_gets_a_certificate_for_its_new_host(made: Path):
    assert renew(fleet(node="10.9.9.9"), made, NOW) == ["eu.node-1"]
    assert names(made, "eu.node-1") == {"eu.node-1", "10.9.9.9"}


def test_certificates_of_another_authority_are_reissued(made: Path, tmp_path_factory: pytest.TempPathFactory):
    other = tmp_path_factory.mktemp("other")
    init(fleet(), other, NOW)
    for kind in ("pem", "key"):
        shutil.copy(other / f"ca.{kind}", made)
    assert renew(fleet(), made, NOW) == NAMES


def test_nothing_is_renewed_without_the_authoritys_own_key(made: Path, tmp_path_factory: pytest.TempPathFactory):
    other = tmp_path_factory.mktemp("other")
    init(fleet(), other, NOW)
    shutil.copy(other / "ca.key", made)
    with pytest.raises(ConfigError, match=r"ca.key is not the key of ca.pem"):
        renew(fleet(), made, NOW)
    (made / "ca.key").unlink()
    with pytest.raises(ConfigError, match=r"ca.key: is not there.*certs init"):
        renew(fleet(), made, NOW)


def test_no_certificate_outlives_its_authority(made: Path):
    late = NOW + timedelta(days=certs.AUTHORITY_DAYS - 100)
    renew(fleet(), made, late)
    assert {found.days_left for found in inspect(fleet(), made, late)} == {100}
    with pytest.raises(ConfigError, match="the authority itself ends on 2036-02-27"):
        renew(fleet(), made, late + timedelta(days=80))


def test_a_host_that_is_no_name_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="host '节点' cannot stand in a certificate"):
        init(fleet(node="节点"), tmp_path, NOW)
    assert contents(tmp_path) == {}


def test_names_of_the_greatest_length_fit(tmp_path: Path):
    document = fleet().model_dump(mode="json")
    document["regions"][0]["name"] = "r" * 32
    document["regions"][0]["nodes"][0]["name"] = "n" * 32
    spec = check(document, "test")
    assert f"{'r' * 32}.{'n' * 32}" in init(spec, tmp_path, NOW)


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    file = tmp_path / "fleet.yaml"
    file.write_text(dump(fleet()))
    return file


@pytest.fixture
def run(spec_file: Path):
    root = typer.Typer()
    root.add_typer(verbs.app, name="certs")

    def run(*arguments: str, **more):
        return CliRunner().invoke(root, ["certs", *arguments, "--spec", str(spec_file)], **more)

    return run


def test_the_commands_make_list_and_renew(run, spec_file: Path):
    directory = spec_file.parent / "certs"
    missing = run("show")
    assert (missing.exit_code, missing.stdout.split()[:2]) == (5, ["ca", "missing"])
    assert run("init").exit_code == 0
    shown = run("show", "--json")
    assert shown.exit_code == 0
    found = {one["name"]: one for one in json.loads(shown.stdout)["certificates"]}
    assert found["eu.edge"] == {
        "name": "eu.edge", "names": ["api.addrmesh.test", "edge.eu.example", "eu.edge"], "days_left": 364
    }  # fmt: skip
    again = run("init")
    assert isinstance(again.exception, Refused)

    old = datetime.now(UTC) - timedelta(days=350)
    shutil.rmtree(directory)
    init(fleet(), directory, old)
    assert run("show").exit_code == 5
    assert run("renew", "--days", "7").stdout == ""
    assert run("renew").stdout.split() == NAMES
    assert run("show").exit_code == 0


def test_a_fleet_without_tls_says_where_to_name_the_directory(run, spec_file: Path):
    document = fleet().model_dump(mode="json", exclude_none=True)
    spec = check(document | {"regions": document["regions"][1:], "tls": None}, "test")
    spec_file.write_text(dump(spec))
    refused = run("show")
    assert isinstance(refused.exception, ConfigError)
    assert "--directory" in str(refused.exception)
    assert run("init", "--directory", str(spec_file.parent / "elsewhere")).exit_code == 0
    assert (spec_file.parent / "elsewhere" / "ca.pem").exists()
