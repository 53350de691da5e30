"""
What the fleet should be, as an operator writes it in `fleet.yaml`: regions, nodes, edges, stores and the figures that
routing is derived from.

`read` is the only way in. Every mistake in the file is reported at once, each by its path, with what was found and
what is allowed. `config/fleet.example.yaml` and `docs/reference/fleet-spec.md` are generated from here
(`docs/generate.py`).
"""

import difflib
import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from addrmesh.errors import ConfigError
from addrmesh.yaml_file import read_yaml

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1)]
Milliseconds = Annotated[FiniteFloat, Field(gt=0)]
Host = Annotated[str, Field(min_length=1)]


RESERVED = frozenset({"edge", "primary", "supervisor"})
"""Names of a region's other processes."""


class Section(BaseModel):
    """A part of the spec."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _given(cls, found: Any) -> Any:
        """Take a key without a value, as when all below it is commented out, for one that is not there."""
        return {key: value for key, value in found.items() if value is not None} if isinstance(found, dict) else found


class Location(Section):
    """Where a region is, in degrees (WGS 84)."""

    latitude: Annotated[FiniteFloat, Field(ge=-90, le=90)]
    """Degrees north."""

    longitude: Annotated[FiniteFloat, Field(ge=-180, le=180)]
    """Degrees east."""


class NodeSpec(Section):
    """One node."""

    name: Name
    """Unique in its region."""

    host: Host = "127.0.0.1"
    """Address its HTTP listener is reached at, by the edges of every region."""

    port: Port
    """TCP port of its HTTP listener."""


class EdgeSpec(Section):
    """The proxy in front of a region's nodes."""

    kind: Literal["envoy", "nginx"] = "envoy"
    """Which engine runs it."""

    host: Host = "127.0.0.1"
    """Address users of the region reach it at."""

    port: Port
    """TCP port it serves users on."""

    admin_port: Port
    """TCP port of its own status page, on loopback: Envoy's admin interface, nginx's `stub_status`."""


class ReplicaSpec(Section):
    """A read-only copy, in this region, of another region's store."""

    of: Name
    """The region whose primary it follows."""

    port: Port
    """TCP port, on the host of this region's store."""


class StoreSpec(Section):
    """The region's Redis: the primary it writes, and a replica of every other region's."""

    host: Host = "127.0.0.1"
    """Address the region's processes and the other regions' replicas reach it at."""

    port: Port
    """TCP port of the primary."""

    replicas: tuple[ReplicaSpec, ...] = ()
    """One for each other region that has a store."""


class RegionSpec(Section):
    """A failure domain with its own nodes, edge and store."""

    name: Name
    """Unique in the fleet; every reply and metric carries it."""

    location: Location
    """Users without a client network of their own are sent to the nearest region."""

    client_networks: tuple[str, ...] = ()
    """Networks (CIDR) whose users belong to this region, whatever their distance."""

    peak_rps: Annotated[FiniteFloat, Field(gt=0)] = 300.0
    """Requests a second this region's users send at their busiest. Retry budgets and the N+1 check follow from it."""

    nodes: Annotated[tuple[NodeSpec, ...], Field(min_length=1)]
    """Its nodes."""

    edge: EdgeSpec
    """Its edge."""

    store: StoreSpec | None = None
    """Its Redis. Without one, corrections, keys and configuration documents cannot be changed there."""


class RoundTrip(Section):
    """The distance between two regions on the network."""

    between: tuple[Name, Name]
    """The two regions."""

    ms: Annotated[FiniteFloat, Field(ge=0)]
    """Round trip in milliseconds, as `addrmesh fleet doctor` measures it."""


class Capacity(Section):
    """What a node can do, as measured (`bench/node.py`)."""

    node_rps: Annotated[FiniteFloat, Field(gt=0)] = 1000.0
    """Requests a second a node answers within its p99."""

    node_concurrency: Count = 256
    """Requests a node may hold at once; the edge sends the overflow elsewhere."""

    p99_ms: Milliseconds = 10.0
    """99th percentile of a healthy node's answer, without the network, in milliseconds."""


class Slo(Section):
    """What users are promised."""

    availability: Annotated[FiniteFloat, Field(gt=0, lt=100)] = 99.99
    """Per cent of requests that are answered."""

    p99_ms: Milliseconds = 50.0
    """99th percentile for users near a region, in milliseconds."""


class Overrides(Section):
    """Figures of the edges that are derived unless set here. `addrmesh fleet plan` warns of values known to lose requests."""  # noqa: E501

    per_try_ms: Milliseconds | None = None
    """After this long without an answer a second node is asked as well, and the first answer wins."""

    route_timeout_ms: Milliseconds | None = None
    """After this long a request is given up."""

    retry_budget_percent: Annotated[FiniteFloat, Field(gt=0, le=100)] | None = None
    """Share of the running requests that may be retries."""

    min_retry_concurrency: Count | None = None
    """Retries that are allowed whatever the share."""

    overprovisioning_percent: Annotated[FiniteFloat, Field(ge=100, le=300)] | None = None
    """Share of a region's nodes, in per cent of what is needed, below which traffic spills to the next region."""

    panic_percent: Annotated[FiniteFloat, Field(ge=0, le=100)] | None = None
    """With fewer healthy nodes than this, probes are disbelieved and every node is used."""

    probe_interval_ms: Milliseconds | None = None
    """Time between two probes of a node by an edge."""

    probe_timeout_ms: Milliseconds | None = None
    """How long a probe may take."""


class Dns(Section):
    """The zone that sends users to the nearest healthy region."""

    zone: Annotated[str, Field(pattern=r"^([a-z0-9-]+\.)+$")] = "addrmesh.test."
    """Its name, with the final dot."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = "api"
    """The record in it that users ask for."""

    host: Host = "127.0.0.1"
    """Address the name server listens on."""

    port: Port = 53
    """UDP and TCP port the name server listens on."""

    ttl_s: Count = 5
    """How long resolvers may keep an answer, in seconds: the time DNS users wait when a region dies."""


class Tls(Section):
    """Certificates made by `addrmesh certs init`, or by your own authority under the same names."""

    directory: Path
    """Holds `ca.pem`, and `<name>.pem` with `<name>.key` for each process. Relative to the spec's own directory."""


class Keys(Section):
    """Whether callers need an API key."""

    required: bool = False
    """Refuse requests without a valid key (401)."""


class FleetSpec(Section):
    """All regions together."""

    name: Name = "addrmesh"
    """Name of the fleet."""

    regions: Annotated[tuple[RegionSpec, ...], Field(min_length=1)]
    """Its regions."""

    round_trips: tuple[RoundTrip, ...] = ()
    """Distances between regions; a pair not named here is estimated from the locations."""

    capacity: Capacity = Capacity()
    """What a node can do."""

    slo: Slo = Slo()
    """What users are promised."""

    dns: Dns = Dns()
    """Near routing by DNS."""

    overrides: Overrides = Overrides()
    """Edge figures that should not be derived."""

    tls: Tls | None = None
    """Mutual TLS between edges, nodes and stores, and TLS towards users. Only a fleet on loopback can do without."""

    keys: Keys = Keys()
    """API keys."""

    secret_file: Path = Path("fleet.secret")
    """File with the secret that the stores' passwords are derived from; `addrmesh up` makes it. Relative to the spec's own directory."""  # noqa: E501

    @model_validator(mode="after")
    def _consistent(self) -> "FleetSpec":
        if problems := list(_inconsistencies(self)):
            raise ValueError("\n".join(problems))
        return self

    def region(self, name: str) -> RegionSpec:
        """
        Return a region by name.

        Raises:
            ConfigError: There is none.
        """
        for region in self.regions:
            if region.name == name:
                return region
        raise ConfigError(f"{name!r} is not a region of this fleet ({', '.join(r.name for r in self.regions)})")

    def url(self, listener: NodeSpec | EdgeSpec) -> str:
        """Return where a node or an edge is reached."""
        host = f"[{listener.host}]" if ":" in listener.host else listener.host
        return f"{'https' if self.tls else 'http'}://{host}:{listener.port}"

    def listeners(self) -> Iterator[tuple[str, str, int]]:
        """Return every address of the fleet: what for, host, port."""
        for region in self.regions:
            for node in region.nodes:
                yield f"node {region.name}/{node.name}", node.host, node.port
            yield f"the edge of {region.name}", region.edge.host, region.edge.port
            yield f"the admin port of {region.name}'s edge", region.edge.host, region.edge.admin_port
            if region.store:
                yield f"the store of {region.name}", region.store.host, region.store.port
                for replica in region.store.replicas:
                    yield f"{region.name}'s replica of {replica.of}", region.store.host, replica.port

    @property
    def is_on_loopback(self) -> bool:
        """Say whether nothing of it can be reached from outside this machine."""
        return all(is_loopback(host) for _, host, _ in self.listeners())


def read(path: Path) -> FleetSpec:
    """
    Read a fleet spec.

    Raises:
        ConfigError: One sentence for every mistake in the file.
    """
    spec = check(read_yaml(path), str(path))
    here = path.parent.absolute()
    found: dict[str, Any] = {"secret_file": here / spec.secret_file}
    if spec.tls:
        found["tls"] = Tls(directory=here / spec.tls.directory)
    return spec.model_copy(update=found)


def check(document: Any, source: str) -> FleetSpec:
    """
    Return the spec in a document that was read from `source`.

    Raises:
        ConfigError: One sentence for every mistake in it.
    """
    if not isinstance(document, dict):
        raise ConfigError(
            f"{source}: found {type(document).__name__}, allowed: a fleet ({', '.join(_keys(FleetSpec))})"
        )
    try:
        return FleetSpec.model_validate(document)
    except ValidationError as error:
        # A list whose items are wrong is also reported as too short, which nobody wants to read.
        errors = [e for e in error.errors() if e["type"] != "too_short" or e["input"] == []]
        raise ConfigError("\n".join(f"{source}: {line}" for e in errors for line in _sentences(e))) from error


def dump(spec: FleetSpec) -> str:
    """Return the spec as YAML that `read` takes."""
    return yaml.safe_dump(spec.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)


def _sentences(error: Any) -> Iterator[str]:
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error["loc"]).lstrip(".")
    if error["type"] == "extra_forbidden":
        section = _section_at(error["loc"][:-1])
        close = difflib.get_close_matches(str(error["loc"][-1]), _keys(section), n=1)
        hint = f"did you mean {close[0]}?" if close else f"allowed here: {', '.join(_keys(section))}"
        yield f"{where}: no such key; {hint}"
    elif error["type"] == "missing":
        yield f"{where}: is missing"
    elif error["type"] == "value_error":
        yield from str(error["ctx"]["error"]).splitlines()
    elif error["type"] == "string_pattern_mismatch":
        yield f"{where}: found {error['input']!r}, allowed: {_pattern_in_words(error['ctx']['pattern'])}"
    else:
        found = "" if isinstance(error["input"], (dict, list)) else f"found {error['input']!r}; "
        yield f"{where}: {found}{error['msg'][0].lower()}{error['msg'][1:]}"


def _pattern_in_words(pattern: str) -> str:
    if pattern == Dns.model_fields["zone"].metadata[0].pattern:
        return "a domain name with a final dot, as in addrmesh.example."
    return "up to 32 lower-case letters, digits and inner hyphens"


def _section_at(loc: Iterable[str | int]) -> type[BaseModel]:
    section: type[BaseModel] = FleetSpec
    for part in loc:
        if isinstance(part, str) and part in section.model_fields:
            section = _section_of(section.model_fields[part].annotation) or section
    return section


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is None:
        return None
    return next((found for a in get_args(annotation) if (found := _section_of(a))), None)


def _keys(section: type[BaseModel]) -> list[str]:
    return list(section.model_fields)


def _inconsistencies(spec: FleetSpec) -> Iterator[str]:
    names = [r.name for r in spec.regions]
    known = ", ".join(names)
    for i, region in enumerate(spec.regions):
        at = f"regions[{i}]"
        if names.index(region.name) != i:
            yield f"{at}.name: {region.name!r} is also the name of regions[{names.index(region.name)}]"
        node_names = [n.name for n in region.nodes]
        for j, node in enumerate(node_names):
            if node_names.index(node) != j:
                yield f"{at}.nodes[{j}].name: {node!r} is also the name of nodes[{node_names.index(node)}]"
            if node in RESERVED or node.startswith("replica-"):
                yield f"{at}.nodes[{j}].name: {node!r} is the name of another process of a region; choose another"
        for j, network in enumerate(region.client_networks):
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                yield f"{at}.client_networks[{j}]: {error}, allowed: a network as in 10.1.0.0/16"
        for j, replica in enumerate(region.store.replicas if region.store else ()):
            if replica.of not in names or replica.of == region.name:
                yield f"{at}.store.replicas[{j}].of: {replica.of!r} is not another region of this fleet ({known})"
            elif spec.regions[names.index(replica.of)].store is None:
                yield f"{at}.store.replicas[{j}].of: {replica.of!r} has no store to follow"
    for i, distance in enumerate(spec.round_trips):
        for name in distance.between:
            if name not in names:
                yield f"round_trips[{i}].between: {name!r} is not a region of this fleet ({known})"
    taken: dict[tuple[str, int], str] = {}
    for what, host, port in spec.listeners():
        if other := taken.get((host, port)):
            yield f"{what}: {host}:{port} is also the address of {other}"
        taken[host, port] = what
    if spec.tls is None and (outside := [w for w, host, _ in spec.listeners() if not is_loopback(host)]):
        yield f"tls: is missing, but {outside[0]} can be reached from outside this machine; see `addrmesh certs init`"


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
