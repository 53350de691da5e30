"""A YAML file that people edit: what is wrong with it, and where."""

from pathlib import Path
from typing import Any

import yaml

from addrmesh.errors import ConfigError


def read_yaml(path: Path) -> Any:
    """
    Return what a file holds.

    Raises:
        ConfigError: It cannot be read, or is not YAML in UTF-8.
    """
    try:
        return parse_yaml(path.read_text("utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start})") from error


def parse_yaml(text: str, source: str) -> Any:
    """
    Return what a text holds that was read from `source`.

    Raises:
        ConfigError: It is not YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{source}: is not YAML: {getattr(error, 'problem', None) or error}{place}") from error
