"""Asks the real engine whether it would take the files, before a running one sees them."""

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from addrmesh.binaries import find
from addrmesh.edge import envoy
from addrmesh.edge.files import RenderedFile
from addrmesh.errors import Rejected

CHECK_S = 20.0
"""An engine that says nothing for this long is taken for broken. The slowest, Envoy, takes about half a second."""

_PROGRAMS = {"envoy": "envoy", "nginx": "nginx", "powerdns": "pdns_server"}


class RenderRejected(Rejected):
    """The real engine refuses files that were rendered for it."""


def binary(kind: str) -> Path:
    """
    Return an engine's program.

    Raises:
        ConfigError: It is not installed.
    """
    return Path(find(_PROGRAMS[kind]))


def check(kind: str, files: Iterable[RenderedFile]) -> None:
    """
    Start the engine in its checking mode on a copy of the files.

    Raises:
        RenderRejected: It refuses them; the message holds the engine's last line.
        ConfigError: It is not installed.
    """
    program = binary(kind)
    with tempfile.TemporaryDirectory(prefix="addrmesh-check-") as name:
        directory = Path(name)
        for file in envoy.flattened(files) if kind == "envoy" else files:
            (directory / file.path).write_bytes(file.content)
        arguments = {
            # Its check does not read discovery files, hence the flattened one.
            "envoy": ["--mode", "validate", "--config-path", "bootstrap.json"],
            "nginx": ["-t", "-q", "-p", name, "-c", "nginx.conf"],
            "powerdns": ["--config=check", f"--config-dir={name}"],
        }[kind]
        try:
            run = subprocess.run(  # noqa: S603 - our own arguments
                [str(program), *arguments], cwd=directory, capture_output=True, text=True, timeout=CHECK_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RenderRejected(f"{program.name} did not finish checking its files in {CHECK_S:g} s") from error
    if run.returncode:
        # nginx's very last line only says that there was one before it.
        said = [line for line in (run.stdout + run.stderr).splitlines() if line and not line.endswith("test failed")]
        last = said[-1].replace(name, "") if said else f"exit status {run.returncode}"
        raise RenderRejected(f"{program.name} refuses the files rendered for it: {last}")
