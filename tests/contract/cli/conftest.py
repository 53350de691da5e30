"""The real command in real processes; the model and the node are doubles (`doubles/sitecustomize.py`)."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DOUBLES = Path(__file__).parent / "doubles"
LIMIT_S = 30.0


class Command:
    """Runs `addrmesh` in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ADDRMESH_")}
        self.environ = kept | {"PYTHONPATH": str(DOUBLES), "ADDRMESH_STATE_DIR": str(directory / "state")}

    def start(self, *arguments: str | bytes, **environ: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "addrmesh", *arguments],
            cwd=self.directory,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(
        self, *arguments: str | bytes, stdin: bytes = b"", **environ: str
    ) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [sys.executable, "-m", "addrmesh", *arguments],
            check=False,
            cwd=self.directory,
            env=self.environ | environ,
            input=stdin,
            capture_output=True,
            timeout=LIMIT_S,
        )

    @staticmethod
    def wait_until(condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, f"waited {LIMIT_S:.0f} s for {what}"
            time.sleep(0.02)


@pytest.fixture
def addrmesh(tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path)
    yield command
    command("down")
