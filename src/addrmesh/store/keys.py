"""Every Redis key, channel and user name of the store; built nowhere else."""

RECORDS = "addrmesh:records"
"""Hash: key of the record → version, and after a newline the value; a tombstone has no newline."""

INDEX = "addrmesh:index"
"""Sorted set, all scores 0: keys of the records, in order."""

CHANGES = "addrmesh:changes"
"""Sorted set: key of the record → when it was last written here, in microseconds that never go back."""

CLOCK = "addrmesh:clock"
"""String: the highest version issued or absorbed by this primary."""

CHANGED = "addrmesh:changed"
"""Channel: somebody should look at CHANGES; messages say nothing else."""

COUNTER = "addrmesh:counter:"
"""Prefix of hashes: run id of the server that counted → amount."""

SCRIPT_KEYS = (RECORDS, INDEX, CHANGES, CLOCK)

CLIENT_USER = "addrmesh"
SUPERVISOR_USER = "supervisor"


def counter(name: str) -> str:
    """Return the key of a counter's cells."""
    return COUNTER + name


def replica_user(region: str) -> str:
    """Return the ACL user as which `region` replicates from us; off at every start until we have harvested there."""
    return f"replica-{region}"
