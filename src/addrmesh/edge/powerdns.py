"""
PowerDNS's files for the fleet's zone: users are answered with the nearest region whose verdict is green.

    pdns.conf    the server; it runs in the directory of its files (`command`)
    zone.yaml    one LUA record: `ifurlextup` asks every region's edge once a second, `pickclosest` chooses
    geo.mmdb     where client networks and edges are

Records never change when a region fails or is drained: what its edge answers at `routing.VERDICT_PATH` does. When
every answer is red DNS names all regions, never none.

Three traps, all measured: PowerDNS takes a network without `accuracy_radius` to be at 0°/0°, without a word; so it
does with networks it does not find, hence the default network; and it compares the client with where the *answers*
are, so the edges must be in the database too.
"""

import ipaddress
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet

from addrmesh.edge.files import RenderedFile
from addrmesh.topology.routing import Place, Zone
from addrmesh.topology.spec import Location

CHECK_S = 1
"""Seconds between two looks at a verdict, and how long one may take."""


def command(binary: str) -> list[str]:
    """Return the command that runs the name server, in the directory of its files."""
    return [binary, "--config-dir=."]


def render(zone: Zone) -> list[RenderedFile]:
    """Return the files of a name server of the fleet."""
    return [
        RenderedFile("pdns.conf", _settings(zone).encode()),
        RenderedFile("zone.yaml", json.dumps(_records(zone), indent=1).encode() + b"\n"),  # JSON is YAML
        RenderedFile("geo.mmdb", _places(zone)),
    ]


def _settings(zone: Zone) -> str:
    settings = {
        "launch": "geoip",
        "geoip-zones-file": "zone.yaml",
        "geoip-database-files": "mmdb:geo.mmdb",
        "local-address": zone.dns.host,
        "local-port": zone.dns.port,
        # One Lua state for all records: 1,900 against 23,000 answers a second (measured).
        "enable-lua-records": "shared",
        "edns-subnet-processing": "yes",
        "lua-health-checks-interval": CHECK_S,
        # A record that nobody asked for is forgotten, and its first answer then ignores health; so: never.
        "lua-health-checks-expire-delay": 31_536_000,
        "cache-ttl": 0,
        "query-cache-ttl": 0,
        "negquery-cache-ttl": 0,
        "zone-cache-refresh-interval": 0,
        "disable-axfr": "yes",
        "version-string": "anonymous",
        "security-poll-suffix": "",
        "daemon": "no",
        "guardian": "no",
        "socket-dir": ".",
        "loglevel": 4,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _records(zone: Zone) -> dict[str, Any]:
    apex, ttl = zone.dns.zone.removesuffix("."), zone.dns.ttl_s
    server = f"ns.{apex}"
    return {
        "domains": [
            {
                "domain": apex,
                "ttl": ttl,
                "records": {
                    apex: [
                        {"soa": f"{server} hostmaster.{apex} 1 3600 600 604800 {ttl}"},
                        {"ns": server},
                    ],
                    server: [{_kind(zone.dns.host): zone.dns.host}],
                    f"{zone.dns.name}.{apex}": [{"lua": record} for record in _lua(zone)],
                },
                "services": {},
            }
        ]
    }


def _lua(zone: Zone) -> Iterator[str]:
    for kind in ("a", "aaaa"):
        if urls := {p.host: _quoted(p.verdict_url) for p in zone.places if _kind(p.host) == kind}:
            group = ", ".join(f"['{host}']='{url}'" for host, url in urls.items())
            options = f"selector='pickclosest', backupSelector='all', timeout={CHECK_S}"
            yield f'{kind.upper()} "ifurlextup({{{{{group}}}}}, {{{options}}})"'


def _places(zone: Zone) -> bytes:
    database = _Database(6, "addrmesh-City", ipv4_compatible=True)
    # Wide networks first: a later one is cut out of those before it. Both halves of the address space are the default.
    known = [(network, zone.places[0].location) for network in ("::/1", "8000::/1")]
    known += sorted(_networks(zone.places), key=lambda item: _width(item[0]))
    for network, at in known:
        database.insert_network(
            IPSet([network]),
            {"location": {"latitude": at.latitude, "longitude": at.longitude, "accuracy_radius": 100}},
        )
    with tempfile.NamedTemporaryFile() as file:
        database.to_db_file(file.name)
        return Path(file.name).read_bytes()


class _Database(MMDBWriter):
    def _build_meta(self) -> dict[str, Any]:
        return super()._build_meta() | {"build_epoch": 1}  # equal input, equal bytes; 0 is refused by readers


def _networks(places: tuple[Place, ...]) -> Iterator[tuple[str, Location]]:
    for place in places:
        for network in (*place.networks, place.host):
            yield str(ipaddress.ip_network(network)), place.location


def _width(network: str) -> tuple[int, str]:
    parsed = ipaddress.ip_network(network)
    return parsed.prefixlen + 128 - parsed.max_prefixlen, network


def _kind(host: str) -> str:
    return "aaaa" if ":" in host else "a"


def _quoted(url: str) -> str:
    return url.translate({ord(c): f"%{ord(c):02X}" for c in "\"'\\"})
