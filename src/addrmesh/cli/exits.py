"""What the exit code of a command means, and which error leads to which."""

from enum import IntEnum

from addrmesh.errors import AddrmeshError, ConfigError, Refused, Rejected, RequestError


class ExitCode(IntEnum):
    """The table in `docs/reference/cli.md`."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    REJECTED = 4
    DIFFERENT = 5
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed; the message says what and what to do",
    ExitCode.USAGE: "the command line, a setting or an address cannot be used as it stands",
    ExitCode.REFUSED: "refused: it would overwrite, mix or break something; the message says how to insist",
    ExitCode.REJECTED: "rejected by a component",
    ExitCode.DIFFERENT: "a check found a difference, or something that should be ready is not",
    ExitCode.INTERRUPTED: "interrupted; what was done is kept, and the message says how to go on",
}


def exit_code(error: AddrmeshError) -> ExitCode:
    """Return the exit code of a command that ended with `error`."""
    match error:
        case ConfigError() | RequestError():
            return ExitCode.USAGE
        case Refused():
            return ExitCode.REFUSED
        case Rejected():
            return ExitCode.REJECTED
        case _:
            return ExitCode.FAILED
