import ssl
from pathlib import Path

import pytest

from addrmesh.errors import ConfigError
from addrmesh.node.server import tls_options
from addrmesh.settings import NodeSettings, Server, Tls


def settings(host: str = "127.0.0.1", **tls: Path | bool) -> NodeSettings:
    return NodeSettings(server=Server(host=host), tls=Tls(**tls))  # type: ignore[arg-type]


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    file = tmp_path / "node.pem"
    file.touch()
    return file


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_tls(host: str) -> None:
    assert tls_options(settings(host)) == {}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "node.example"])
def test_plain_http_beyond_loopback_is_refused_unless_it_is_wanted(host: str) -> None:
    with pytest.raises(ConfigError, match=r"tls\.allow_plain"):
        tls_options(settings(host))
    assert tls_options(settings(host, allow_plain=True)) == {}


def test_callers_need_a_certificate_where_there_is_an_authority(pem: Path) -> None:
    assert "ssl_cert_reqs" not in tls_options(settings("0.0.0.0", certificate=pem, key=pem))
    assert tls_options(settings("0.0.0.0", certificate=pem, key=pem, ca=pem))["ssl_cert_reqs"] == ssl.CERT_REQUIRED


def test_half_a_certificate_and_missing_files_are_named(pem: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both"):
        tls_options(settings(certificate=pem))
    with pytest.raises(ConfigError, match=r"tls\.key: .*gone\.key is not a file"):
        tls_options(settings(certificate=pem, key=tmp_path / "gone.key"))
