"""
The fleet's private certificate authority, and a certificate for each of its processes.

`init` makes what is not there yet, `renew` what ends soon, is missing or no longer fits the spec, `inspect` says what
there is. Nothing is ever overwritten but by `renew`, which replaces one file in one step: a renewed certificate
keeps its key, so that whoever reads the pair in that moment has one that fits.

A process proves itself by `<region>.<process>`: no other one can stand in for it. The authority signs processes only
(path length 0). It has no name constraints: a node on a new host would then need a new authority.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from addrmesh.atomic_file import replace_file
from addrmesh.errors import ConfigError, Refused
from addrmesh.topology.spec import FleetSpec, is_loopback

AUTHORITY = "ca"
OPERATOR = "operator"
"""Name of the certificate for people: `curl --cert` to a node, `redis-cli` to a store."""

AUTHORITY_DAYS = 3650
DAYS = 365
ENDS_SOON_DAYS = 30
SKEW = timedelta(hours=1)
"""Certificates begin this long ago: a clock that is behind accepts them too."""

_Key = ec.EllipticCurvePrivateKey


class AlreadyThere(Refused):
    """A file that would be made exists."""


@dataclass(frozen=True)
class Wanted:
    """A certificate the fleet needs."""

    name: str
    hosts: tuple[str, ...] = ()
    """Where it is reached: addresses and DNS names."""

    @property
    def names(self) -> frozenset[str]:
        """Everything it proves to be."""
        hosts = {str(_address(host) or host) for host in self.hosts}
        if any(map(is_loopback, hosts)):
            hosts |= {"127.0.0.1", "localhost"}
        return frozenset({self.name, *hosts})


@dataclass(frozen=True)
class Found:
    """A certificate that is there, or should be."""

    name: str
    names: tuple[str, ...] = ()
    days_left: int | None = None
    """Whole days; None if there is no certificate that can be read."""

    @property
    def is_due(self) -> bool:
        """Whether somebody should renew it."""
        return self.days_left is None or self.days_left < ENDS_SOON_DAYS


def wanted(spec: FleetSpec) -> Iterator[Wanted]:
    """Yield the certificate of every process of a fleet, and the operator's."""
    for region in spec.regions:
        for node in region.nodes:
            yield Wanted(f"{region.name}.{node.name}", (node.host,))
        users_ask_for = f"{spec.dns.name}.{spec.dns.zone.rstrip('.')}"
        yield Wanted(f"{region.name}.edge", (region.edge.host, users_ask_for))
        if region.store:
            yield Wanted(f"{region.name}.store", (region.store.host,))
        yield Wanted(f"{region.name}.supervisor")
    yield Wanted(OPERATOR)


def init(spec: FleetSpec, directory: Path, now: datetime) -> list[str]:
    """
    Make an authority and every certificate; return their names.

    Raises:
        AlreadyThere: Some of it exists; nothing was made.
        ConfigError: A host cannot stand in a certificate; nothing was made.
    """
    names = [AUTHORITY, *(w.name for w in wanted(spec))]
    files = [file for name in names for file in (f"{name}.pem", f"{name}.key") if (directory / file).exists()]
    if files:
        shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        raise AlreadyThere(
            f"{directory}: {shown} exist already; nothing was made. `addrmesh certs renew` makes what is missing and "
            "reissues what ends soon; to start anew, name another directory"
        )
    for one in wanted(spec):
        _alternative_names(one)
    key = ec.generate_private_key(ec.SECP256R1())
    _write(directory, AUTHORITY, key, _authority(spec.name, key, now))
    return [AUTHORITY, *renew(spec, directory, now, within_days=0)]


def renew(spec: FleetSpec, directory: Path, now: datetime, *, within_days: int = ENDS_SOON_DAYS) -> list[str]:
    """
    Issue every certificate that is missing, ends within some days, or does not fit the spec, its key or the authority.

    Raises:
        ConfigError: The authority is not there, or ends itself; only `init` makes one.
    """
    authority, key = _open_authority(directory)
    ends = authority.not_valid_after_utc
    if ends < now + timedelta(days=within_days):
        raise ConfigError(
            f"{directory / 'ca.pem'}: the authority itself ends on {ends:%Y-%m-%d}; make a new one in another directory"
        )
    issued = []
    for one in wanted(spec):
        if not _is_good(one, directory, authority, now + timedelta(days=within_days)):
            own = _read_key(directory / f"{one.name}.key") or ec.generate_private_key(ec.SECP256R1())
            _write(directory, one.name, own, _certificate(one, own, authority, key, now))
            issued.append(one.name)
    return issued


def inspect(spec: FleetSpec, directory: Path, now: datetime) -> list[Found]:
    """Return what there is of the authority and every certificate the fleet needs."""
    found = []
    for name in (AUTHORITY, *(w.name for w in wanted(spec))):
        certificate = _read(directory / f"{name}.pem")
        if certificate is None:
            found.append(Found(name))
        else:
            left = (certificate.not_valid_after_utc - now) // timedelta(days=1)
            found.append(Found(name, tuple(sorted(_names(certificate))), left))
    return found


def _open_authority(directory: Path) -> tuple[x509.Certificate, _Key]:
    authority, key = _read(directory / "ca.pem"), _read_key(directory / "ca.key")
    if authority is None or key is None:
        missing = "ca.pem" if authority is None else "ca.key"
        raise ConfigError(
            f"{directory / missing}: is not there or cannot be read; `addrmesh certs init` makes a new authority, "
            "or bring the file back from where it is kept"
        )
    if key.public_key() != authority.public_key():
        raise ConfigError(f"{directory}: ca.key is not the key of ca.pem; bring back the pair that belongs together")
    return authority, key


def _is_good(one: Wanted, directory: Path, authority: x509.Certificate, until: datetime) -> bool:
    certificate, key = _read(directory / f"{one.name}.pem"), _read_key(directory / f"{one.name}.key")
    if certificate is None or key is None or key.public_key() != certificate.public_key():
        return False
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return certificate.not_valid_after_utc >= until and _names(certificate) == one.names


def _authority(fleet: str, key: _Key, now: datetime) -> x509.Certificate:
    name = _common_name(f"{fleet} authority")
    public = key.public_key()
    return (
        _builder(name, name, public, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, SHA256())
    )


def _certificate(one: Wanted, own: _Key, authority: x509.Certificate, key: _Key, now: datetime) -> x509.Certificate:
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if one.name != OPERATOR:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    days = min(DAYS, (authority.not_valid_after_utc - now) // timedelta(days=1))
    return (
        _builder(_common_name(one.name), authority.subject, own.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(_alternative_names(one), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _common_name(name: str) -> x509.Name:
    # For people, who read 64 characters at most; what is checked are the alternative names.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(one: Wanted) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(name) for name in sorted(one.names)])


def _general_name(name: str) -> x509.GeneralName:
    if address := _address(name):
        return x509.IPAddress(address)
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise ConfigError(
            f"host {name!r} cannot stand in a certificate; write an address, or a DNS name in ASCII"
        ) from error


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset((*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))))


def _write(directory: Path, name: str, key: _Key, certificate: x509.Certificate) -> None:
    file = directory / f"{name}.key"
    if _read_key(file) is None:
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        replace_file(file, private.decode(), private=True)
    replace_file(directory / f"{name}.pem", certificate.public_bytes(Encoding.PEM).decode())


def _read(file: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        return None


def _read_key(file: Path) -> _Key | None:
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None
