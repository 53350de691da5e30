"""What depends on the kind of an edge: who renders its files, and what runs it."""

from collections.abc import Callable

from addrmesh.edge import envoy, nginx
from addrmesh.edge.files import RenderedFile
from addrmesh.topology.routing import RoutingTable

RENDERERS: dict[str, Callable[[RoutingTable], list[RenderedFile]]] = {"envoy": envoy.render, "nginx": nginx.render}
COMMANDS: dict[str, Callable[[RoutingTable, str], list[str]]] = {"envoy": envoy.command, "nginx": nginx.command}


def render(table: RoutingTable) -> list[RenderedFile]:
    """Return the files of an edge, of the kind its spec names."""
    return RENDERERS[table.listener.kind](table)


def command(table: RoutingTable, binary: str) -> list[str]:
    """Return the command that runs an edge; its working directory must be that of the files."""
    return COMMANDS[table.listener.kind](table, binary)
