"""Where the files of a fleet lie on one machine: the only place that knows their names."""

from pathlib import Path

from addrmesh.atomic_file import replace_file
from addrmesh.topology.spec import FleetSpec, dump, read


class RegionDirectory:
    """Files of one region: of its processes when they run here, as under systemd when they run elsewhere."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.edge = path / "edge"
        self.heartbeat = path / "supervisor.json"
        self.store_password = path / "store.password"

    def last_known_good(self, process: str) -> Path:
        """Return where a process keeps the configuration documents it last applied."""
        return self.path / f"{process}.applied"

    def log(self, process: str) -> Path:
        """Return where a process's output goes."""
        return self.path / f"{process}.log"

    def node_settings(self, node: str) -> Path:
        """Return a node's settings file."""
        return self.path / f"{node}.yaml"

    def store(self, process: str) -> Path:
        """Return the directory of a Redis: its configuration and its data."""
        return self.path / process


class FleetDirectory:
    """Files of the whole fleet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec_file = path / "fleet.yaml"
        self.applied_file = path / "fleet.applied.yaml"
        """What `addrmesh fleet apply` asked for, as the supervisors here took it from the configuration centre."""

    @property
    def dns(self) -> Path:
        """Files of the name servers."""
        return self.path / "dns"

    def region(self, name: str) -> RegionDirectory:
        """Return the files of one region."""
        return RegionDirectory(self.path / name)

    def write_spec(self, spec: FleetSpec) -> None:
        """Replace the spec in use, as one step."""
        replace_file(self.spec_file, dump(spec))

    def read_spec(self) -> FleetSpec:
        """Return the spec in use."""
        return read(self.spec_file)

    def applied_since(self) -> int:
        """Return when a spec was last asked for since `addrmesh up`, in file system nanoseconds; 0 if none was."""
        return self.applied_file.stat().st_mtime_ns if self.applied_file.exists() else 0
