"""
Who is sent where: one pure function from what should be (the spec), what operators decided (`Traffic`) and what the
supervisors concluded (`Verdicts`) to the table of one edge. Renderers turn that table into the files of an engine.

An edge addresses the nodes of every region itself, its own region first and the others by round trip; it never sends
to another edge. So no request can go round in circles, and the nodes of a region whose edge is dead still help.

What holds: every node is in every table exactly once; a drained node stays in it, marked; equal input gives an equal
table.
"""

import difflib
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from addrmesh.errors import ConfigError
from addrmesh.topology.figures import Figures, Finding, derive, great_circle_km, round_trip_ms
from addrmesh.topology.spec import Dns, EdgeSpec, FleetSpec, Location, NodeSpec, RegionSpec

Weight = Annotated[int, msgspec.Meta(ge=1, le=100)]


class NoRegionLeft(ConfigError):
    """Every region would be drained."""


class Traffic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What operators decided: the content of the configuration document `traffic`. Nodes are named `region/node`."""

    drained_nodes: tuple[str, ...] = ()
    drained_regions: tuple[str, ...] = ()
    weights: dict[str, Weight] = {}

    @classmethod
    def from_dict(cls, document: Any) -> "Traffic":
        """
        Read the document.

        Raises:
            ConfigError: A key or a value is not allowed.
        """
        try:
            return msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"traffic: {str(error)[0].lower()}{str(error)[1:]}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document


class Verdicts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    What the supervisors concluded: slow nodes weigh less; dead regions are left out of DNS, and only there.

    Dead nodes concern only engines that do not probe by themselves (nginx).
    """

    weights: dict[str, Weight] = {}
    dead_nodes: tuple[str, ...] = ()
    dead_regions: tuple[str, ...] = ()


UNDISTURBED = Traffic()
NO_VERDICTS = Verdicts()


VERDICT_PATH = "/regionz"
"""Where an edge says, with 200, that users may be sent to its region: some node of its own is ready and not drained."""


@dataclass(frozen=True)
class Endpoint:
    """A node as an edge sees it; `release` is what it must serve to get traffic (None: anything)."""

    id: str
    host: str
    port: int
    weight: int
    is_draining: bool
    is_believed_dead: bool
    release: str | None

    @property
    def tls_name(self) -> str:
        """The name its certificate must carry."""
        return self.id.replace("/", ".")


@dataclass(frozen=True)
class Group:
    """The nodes of one region. All of them are used before the next group is."""

    region: str
    round_trip_ms: float
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True)
class Certificates:
    """Files an edge proves itself with and checks the others by."""

    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class RoutingTable:
    """Everything the edge of one region does."""

    region: str
    listener: EdgeSpec
    groups: tuple[Group, ...]
    figures: Figures
    networks: tuple[tuple[str, str], ...]
    """Client network and the region it belongs to, of all regions."""
    certificates: Certificates | None


@dataclass(frozen=True)
class Place:
    """A region as DNS sees it; `verdict_url` answers 200 while users may be sent there."""

    region: str
    host: str
    location: Location
    networks: tuple[str, ...]
    verdict_url: str


@dataclass(frozen=True)
class Zone:
    """Everything the name server of the fleet does."""

    dns: Dns
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Choice:
    """A region, and why it stands where it stands."""

    region: str
    reason: str


@dataclass(frozen=True)
class Explanation:
    """Why a client goes where it goes: the regions as DNS prefers them, then the groups of the first one's edge."""

    client: str
    network: str | None
    regions: tuple[Choice, ...]
    groups: tuple[Choice, ...]


def validate(spec: FleetSpec, traffic: Traffic) -> None:
    """
    Refuse what operators cannot have meant.

    Raises:
        ConfigError: A name is unknown.
        NoRegionLeft: No node would get traffic on purpose.
    """
    if problems := list(_unknown_names(spec, traffic)):
        raise ConfigError("\n".join(problems))
    for finding in capacity_findings(spec, traffic):
        if finding.name == "no-region-left":
            raise NoRegionLeft(finding.detail)


def capacity_findings(spec: FleetSpec, traffic: Traffic) -> list[Finding]:
    """
    Say whether what serves still carries the peak after the loss of its largest part (N+1).

    While a region is out on purpose, that is the loss which was planned for, and one node more must be bearable.
    """
    serving = {r.name: count for r in spec.regions if (count := sum(not d for _, d in _drains(r, traffic)))}
    if not serving:
        return [Finding("no-region-left", "every node is drained; nobody would be served on purpose")]
    peak, node_rps = sum(r.peak_rps for r in spec.regions), spec.capacity.node_rps
    largest = max(serving, key=lambda name: serving[name])
    losses = [("node-loss", "one node", 1)]
    if len(serving) == len(spec.regions) > 1:
        losses.insert(0, ("region-loss", f"region {largest}", serving[largest]))
    return [
        Finding(name, f"without {what} the fleet answers {left:g} requests a second, its peak is {peak:g}")
        for name, what, nodes in losses
        if (left := (sum(serving.values()) - nodes) * node_rps) < peak
    ]


def route(
    spec: FleetSpec,
    region: str,
    traffic: Traffic = UNDISTURBED,
    verdicts: Verdicts = NO_VERDICTS,
    releases: Mapping[str, str | None] = {},
) -> RoutingTable:
    """Return the table of a region's edge. A region that `releases` does not name may serve any release."""
    here = spec.region(region)
    return RoutingTable(
        region=region,
        listener=here.edge,
        groups=tuple(
            Group(
                other.name,
                round_trip_ms(spec, here, other),
                tuple(_endpoints(other, traffic, verdicts, releases.get(other.name))),
            )
            for other in _by_round_trip(spec, here)
        ),
        figures=derive(spec, region),
        networks=tuple((network, r.name) for r in spec.regions for network in r.client_networks),
        certificates=_certificates(spec.tls.directory, f"{region}.edge") if spec.tls else None,
    )


def zone(spec: FleetSpec) -> Zone:
    """
    Return what a name server of the fleet does. It is the same on all of them.

    Nothing in it changes when a region fails or is drained: what the region's edge answers at `VERDICT_PATH` does.

    Raises:
        ConfigError: An edge has a host name: DNS can only answer with addresses.
    """
    for i, region in enumerate(spec.regions):
        if not _is_address(region.edge.host):
            raise ConfigError(f"regions[{i}].edge.host: found {region.edge.host!r}, allowed with DNS: an IP address")
    places = (
        Place(r.name, r.edge.host, r.location, r.client_networks, spec.url(r.edge) + VERDICT_PATH) for r in spec.regions
    )
    return Zone(spec.dns, tuple(places))


def explain(
    spec: FleetSpec, client_ip: str, traffic: Traffic = UNDISTURBED, verdicts: Verdicts = NO_VERDICTS
) -> Explanation:
    """
    Say why a client goes where it goes.

    Raises:
        ConfigError: `client_ip` is not an IP address.
    """
    try:
        client = ipaddress.ip_address(client_ip)
    except ValueError as error:
        raise ConfigError(f"{client_ip!r} is not an IP address, as in 203.0.113.7") from error
    matches = [
        (ipaddress.ip_network(network), region)
        for region in spec.regions
        for network in region.client_networks
        if client in ipaddress.ip_network(network)
    ]
    network, home = max(matches, key=lambda m: m[0].prefixlen, default=(None, spec.regions[0]))
    out = {
        r.name: "is believed dead" if r.name in verdicts.dead_regions else "is drained"
        for r in spec.regions
        if r.name in verdicts.dead_regions or r.name in traffic.drained_regions
    }
    if len(out) == len(spec.regions):
        out = {}  # DNS never answers empty: when every region is out, every region is in
    nearest = sorted(spec.regions, key=lambda r: (great_circle_km(home, r), r.name))
    regions = [Choice(r.name, _distance(home, r, network)) for r in nearest if r.name not in out]
    regions += [Choice(r.name, f"left out of DNS: {out[r.name]}") for r in nearest if r.name in out]
    table = route(spec, regions[0].region, traffic, verdicts)
    return Explanation(
        client=client_ip,
        network=str(network) if network else None,
        regions=tuple(regions),
        groups=tuple(Choice(group.region, _standing(group)) for group in table.groups),
    )


def _endpoints(region: RegionSpec, traffic: Traffic, verdicts: Verdicts, release: str | None) -> Iterator[Endpoint]:
    for node, is_draining in _drains(region, traffic):
        name = f"{region.name}/{node.name}"
        yield Endpoint(
            id=name,
            host=node.host,
            port=node.port,
            weight=max(1, round(traffic.weights.get(name, 100) * verdicts.weights.get(name, 100) / 100)),
            is_draining=is_draining,
            is_believed_dead=name in verdicts.dead_nodes,
            release=release,
        )


def _drains(region: RegionSpec, traffic: Traffic) -> Iterator[tuple[NodeSpec, bool]]:
    for node in region.nodes:
        yield node, region.name in traffic.drained_regions or f"{region.name}/{node.name}" in traffic.drained_nodes


def _by_round_trip(spec: FleetSpec, here: RegionSpec) -> list[RegionSpec]:
    return sorted(spec.regions, key=lambda r: (r.name != here.name, round_trip_ms(spec, here, r), r.name))


def _certificates(directory: Path, name: str) -> Certificates:
    return Certificates(directory / "ca.pem", directory / f"{name}.pem", directory / f"{name}.key")


def _distance(home: RegionSpec, region: RegionSpec, network: object) -> str:
    if region.name == home.name:
        return f"client network {network}" if network else "in no client network, so where the spec's first region is"
    return f"{great_circle_km(home, region):.0f} km from {home.name}"


def _standing(group: Group) -> str:
    taking = sum(not e.is_draining for e in group.endpoints)
    where = f"{group.round_trip_ms:g} ms away" if group.round_trip_ms else "the edge's own region"
    drained = "" if taking == len(group.endpoints) else f", {len(group.endpoints) - taking} draining"
    return f"{where}: {taking} of {len(group.endpoints)} nodes take requests{drained}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _unknown_names(spec: FleetSpec, traffic: Traffic) -> Iterator[str]:
    nodes = [f"{r.name}/{n.name}" for r in spec.regions for n in r.nodes]
    regions = [r.name for r in spec.regions]
    for key, names, known, what in (
        ("drained_nodes", traffic.drained_nodes, nodes, "node"),
        ("drained_regions", traffic.drained_regions, regions, "region"),
        ("weights", traffic.weights, nodes, "node"),
    ):
        for name in names:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
                yield f"traffic.{key}: {name!r} is not a {what} of this fleet; {hint}"
