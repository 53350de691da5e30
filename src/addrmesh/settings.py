"""
Everything that is fixed for the life of a node: its defaults, limits, and where it reads them from.

Order, later wins: defaults, the YAML file, `ADDRMESH_<SECTION>__<KEY>` variables, the command line. `load` is
called once, by the command that starts something; below it, each part receives the section it needs.
`config/node.example.yaml` and `docs/reference/settings.md` are generated from here (`docs/generate.py`).
"""

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from pydantic.fields import FieldInfo

from addrmesh.errors import ConfigError
from addrmesh.yaml_file import read_yaml

PREFIX = "ADDRMESH_"
OTHER_VARIABLES = {
    "ADDRMESH_CONFIG": "path of the YAML file, as `--config`",
    "ADDRMESH_FLEET": "path of the fleet spec that commands talk about; by default what `addrmesh up` runs here",
    "ADDRMESH_DEBUG": "1 shows the stack trace of an error",
    "ADDRMESH_STATE_DIR": "where `addrmesh up` keeps its state, instead of `$XDG_STATE_HOME/addrmesh`",
}
"""Variables that are no settings of a node."""

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[FiniteFloat, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
DEVICE = r"^(auto|cpu|cuda(:\d+)?)$"


class Section(BaseModel):
    """The settings of one topic."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Server(Section):
    """Where the node listens and what it calls itself."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen on. Loopback by default: nothing is reachable from outside until you say so."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """TCP port. 0 takes any free one."""

    region: Name = "local"
    """Region the node belongs to; every reply and metric carries it."""

    name: Name = "node-1"
    """Name of the node inside its region; every reply and metric carries it."""

    drain_timeout_s: Seconds = 10.0
    """How long a stopping node may take to finish what it has accepted, in seconds. Keep it below the grace period of whatever stops it (30 s in Kubernetes)."""  # noqa: E501


class Batching(Section):
    """How requests share one run of the model, and when a request is refused instead of queued."""

    max_batch_tokens: Count = 512
    """Upper bound on the code points of all texts in one model run. More raises throughput until the cores are busy, and makes a request wait longer for the run before it."""  # noqa: E501

    max_wait_ms: Annotated[FiniteFloat | None, Field(ge=0)] = None
    """Admission limit in milliseconds: a request whose predicted wait is longer is refused at once with 503. It is not an artificial delay; an idle node answers immediately. Empty means 20, and 300 for a model that takes milliseconds for each address, as MGeo does."""  # noqa: E501

    default_deadline_ms: Annotated[FiniteFloat, Field(gt=0)] = 800.0
    """Deadline in milliseconds of a request that sends no `X-Deadline-Ms`. A checkout gives up after 800 ms, so a later answer is wasted work."""  # noqa: E501


class Cache(Section):
    """The node's own memory of answers."""

    entries: Annotated[int, Field(ge=0)] = 100_000
    """How many answers are kept in memory. 0 turns the cache off."""


class Limits(Section):
    """What a caller may send."""

    max_code_points: Annotated[int, Field(ge=1, le=2000)] = 2000
    """Longest address, in Unicode code points; a longer one is answered 413."""

    batch_items: Count = 100
    """Most addresses in one batch request."""

    batch_bytes: Count = 1_048_576
    """Largest body of a single or batch request, in bytes."""

    bulk_lines: Count = 200_000
    """Most lines in one bulk request; `addrmesh bulk parse` has no such limit."""

    bulk_bytes: Count = 52_428_800
    """Largest body of one bulk request, in bytes."""

    line_bytes: Count = 8192
    """Longest line of a bulk request, in bytes; a longer one is a problem of that line alone."""

    body_timeout_s: Annotated[FiniteFloat, Field(gt=0)] = 10.0
    """How long a client may pause while sending its body, in seconds; then its connection is closed."""


class Release(Section):
    """Which model the node serves."""

    path: Path | None = None
    """Directory of the release. Relative to the file that names it; empty means the release that comes with the package."""  # noqa: E501


class Match(Section):
    """What weighs two addresses against each other."""

    release: Path | None = None
    """Directory of a release for entity alignment. Relative to the file that names it; empty means the scorer that comes with the package."""  # noqa: E501


class Engine(Section):
    """What runs the model."""

    device: Annotated[str, Field(pattern=DEVICE)] = "auto"
    """Where a release in fp16 or bf16 runs. `auto` is the first GPU, and the CPU where there is none. Other releases run on the CPU; a GPU named for one of them is an error."""  # noqa: E501


class Store(Section):
    """The region's Redis, where corrections, keys and configuration documents live. A node serves without one too."""

    primary: str | None = None
    """URL of the region's primary, as in `redis://127.0.0.1:6401` (`rediss://` with TLS). Empty: no store; what it would hold cannot be changed on this node."""  # noqa: E501

    replicas: dict[str, str] = {}
    """URL of the local replica of each other region's primary, by region. In a variable: a JSON object."""

    password_file: Path | None = None
    """File that holds the password of the store's users."""

    last_known_good: Path | None = None
    """Directory where the node keeps the configuration documents it last applied; it starts from them when no store answers."""  # noqa: E501


class Tls(Section):
    """Certificates. Without them the node speaks plain HTTP, which it refuses to do beyond loopback."""

    certificate: Path | None = None
    """PEM file with the node's certificate and its chain."""

    key: Path | None = None
    """PEM file with the key of `certificate`."""

    ca: Path | None = None
    """PEM file with the authority that signs edges, nodes and stores. Callers then need a certificate of it, and the store is checked against it."""  # noqa: E501

    allow_plain: bool = False
    """Serve plain HTTP beyond loopback all the same: something in front of the node does TLS and keeps others out."""


class Keys(Section):
    """API keys; `addrmesh keys create` makes them."""

    required: bool = False
    """Refuse requests under `/v1` without a valid key (401). Needs a store."""

    fleet_nodes: Count = 1
    """How many nodes the fleet has: while the store is gone, this node grants its share of every quota. A configuration document `fleet` takes its place."""  # noqa: E501


class NodeSettings(Section):
    """Everything one node needs to know."""

    server: Server = Server()
    batching: Batching = Batching()
    cache: Cache = Cache()
    limits: Limits = Limits()
    release: Release = Release()
    match: Match = Match()
    engine: Engine = Engine()
    store: Store = Store()
    tls: Tls = Tls()
    keys: Keys = Keys()


@dataclass(frozen=True)
class Loaded:
    """Settings, and where each value came from."""

    settings: NodeSettings
    origins: dict[str, str]
    """Dotted key to `default`, a file, a variable or `command line`."""


def sections() -> dict[str, type[Section]]:
    """Return the section models by name, in the order of the reference."""
    return {name: cast("type[Section]", field.annotation) for name, field in NodeSettings.model_fields.items()}


def fields() -> dict[str, FieldInfo]:
    """Return every setting by dotted key, in the order of the reference."""
    return {f"{name}.{key}": field for name, model in sections().items() for key, field in model.model_fields.items()}


def variable(key: str) -> str:
    """Return the environment variable of a dotted key."""
    return PREFIX + key.replace(".", "__").upper()


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Loaded:
    """
    Read the settings of a node.

    Args:
        path: The YAML file; by default the one `ADDRMESH_CONFIG` names, if any.
        environ: By default the environment of this process.
        overrides: Dotted key to value, from the command line; None stands for "not given".

    Raises:
        ConfigError: One sentence for every unknown key and every bad value.
    """
    environ = os.environ if environ is None else environ
    if path is None and environ.get("ADDRMESH_CONFIG"):
        path = Path(environ["ADDRMESH_CONFIG"])
    known = fields()
    values: dict[str, Any] = {}
    origins = dict.fromkeys(known, "default")
    problems: list[str] = []
    for layer in (_from_file(path, problems) if path else [], _from_environment(environ, problems)):
        for key, value, origin in layer:
            values[key], origins[key] = value, origin
    for key, value in (overrides or {}).items():
        if value is not None:
            values[key], origins[key] = value, "command line"
    settings = _validated(values, origins, problems)
    if problems or settings is None:
        raise ConfigError("\n".join(problems))
    return Loaded(settings, origins)


def _validated(values: dict[str, Any], origins: dict[str, str], problems: list[str]) -> NodeSettings | None:
    nested: dict[str, dict[str, Any]] = {}
    for dotted, value in values.items():
        section, key = dotted.split(".")
        nested.setdefault(section, {})[key] = value
    try:
        return NodeSettings.model_validate(nested)
    except ValidationError as error:
        bad = dict.fromkeys(f"{e['loc'][0]}.{e['loc'][1]}" for e in error.errors())
        problems += [f"{origins[key]}: {key}: found {values[key]!r}, allowed: {allowed(fields()[key])}" for key in bad]
        return None


def _from_file(path: Path, problems: list[str]) -> Iterable[tuple[str, Any, str]]:
    document = read_yaml(path)
    if document is None:
        return []
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: found {type(document).__name__}, allowed: sections ({', '.join(sections())})")
    found: list[tuple[str, Any, str]] = []
    for name, section in document.items():
        if name not in sections():
            problems.append(f"{path}: {name}: no such section{_suggestion(str(name), sections())}")
        elif section is None:  # every key of it is commented out
            continue
        elif not isinstance(section, dict):
            keys = ", ".join(sections()[name].model_fields)
            problems.append(f"{path}: {name}: found {section!r}, allowed: a section with {keys}")
        else:
            for key, value in section.items():
                if key not in sections()[name].model_fields:
                    hint = _suggestion(f"{name}.{key}", fields())
                    problems.append(f"{path}: {name}.{key}: no such setting{hint}")
                else:
                    found.append((f"{name}.{key}", _beside(path, value, f"{name}.{key}"), str(path)))
    return found


def _beside(path: Path, value: Any, key: str) -> Any:
    return path.parent / value if _is(fields()[key], Path) and isinstance(value, str) else value


def _is(field: FieldInfo, kind: type) -> bool:
    return field.annotation is kind or kind in get_args(field.annotation)


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> Iterable[tuple[str, Any, str]]:
    key_by_variable = {variable(key): key for key in fields()}
    found: list[tuple[str, Any, str]] = []
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES:
            continue
        if name not in key_by_variable:
            hint = _suggestion(name, [*key_by_variable, *OTHER_VARIABLES])
            problems.append(f"environment: {name}: no such variable{hint}")
        elif value:  # an empty variable is how a container says "not given"
            key = key_by_variable[name]
            found.append((key, _mapping(value) if get_origin(fields()[key].annotation) is dict else value, name))
    return found


def _mapping(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value  # validation says what is allowed


def _suggestion(word: str, known: Iterable[str]) -> str:
    known = list(known)
    elsewhere = [k for k in known if "." in k and k.rpartition(".")[2] == word.rpartition(".")[2]]
    if close := elsewhere or difflib.get_close_matches(word, known, n=1):
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(known)}" if len(known) < 12 else "; `addrmesh config show` lists what there is"


def allowed(field: FieldInfo) -> str:
    """Say in words which values a setting takes."""
    bounds: dict[str, Any] = {}
    for constraint in field.metadata:
        for bound in ("ge", "gt", "le", "pattern", "min_length"):
            if (value := getattr(constraint, bound, None)) is not None:
                bounds[bound] = value
    if bounds.get("pattern") == DEVICE:
        return "auto, cpu, cuda, or cuda: and the number of a GPU"
    if "pattern" in bounds:
        return "1 to 32 lower-case letters, digits and inner hyphens"
    if field.annotation is str:
        return "text"
    if field.annotation is bool:
        return "true or false"
    if get_origin(field.annotation) is dict:
        return "URLs by region"
    if _is(field, Path):
        return "a path, or nothing"
    if _is(field, str):
        return "a URL, or nothing"
    kind = "a whole number" if field.annotation is int else "a number"
    if "le" in bounds:
        return f"{kind} from {bounds['ge']} to {bounds['le']}"
    if "gt" in bounds:
        return f"{kind} above {bounds['gt']}"
    return f"{kind}, {bounds['ge']} or more" + (", or nothing" if type(None) in get_args(field.annotation) else "")
