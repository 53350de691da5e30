"""
The fleet's one secret, and the stores' passwords that follow from it.

One file is to be brought to every machine, once. A password is an HMAC of the user's name (RFC 2104), so it says
nothing about the secret or another password.
"""

import hashlib
import hmac
import os
from pathlib import Path
from secrets import token_urlsafe

from addrmesh.errors import ConfigError


def make(path: Path) -> None:
    """Draw a secret, readable by this user alone; one that exists stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(token_urlsafe(32))


def password(path: Path, region: str, user: str) -> str:
    """
    Return the password of a user of a region's primary.

    Raises:
        ConfigError: The secret cannot be read.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); copy it from a machine of the fleet, or run `addrmesh up` once"
        ) from error
    if not secret:
        raise ConfigError(f"{path}: is empty; copy it from a machine of the fleet")
    return hmac.new(secret, f"{region}/{user}".encode(), hashlib.sha256).hexdigest()[:40]
