"""
Every error raised on purpose.

    AddrmeshError                  base; a message for people, no stack trace ever reaches them
    ├── ConfigError                a file, variable or option is wrong              exit 2
    ├── RequestError               the caller can fix it
    │   ├── InvalidText            empty, blank or not text                         422
    │   └── TextTooLong            over the limit of code points                    413
    ├── Unavailable                try again; carries retry_after_s
    │   ├── Overloaded             the predicted wait is too long                   503
    │   ├── RateLimited            this caller sends too much                       429
    │   ├── DeadlineExceeded       no time left                                     504
    │   └── NotReady               starting or draining                             503
    ├── Refused                    it would break something; nothing was touched    exit 3
    ├── Rejected                   a component refuses what was made for it         exit 4
    ├── EngineError                the model failed on a batch                      500
    └── ReleaseError               manifest, digest or labels do not fit            exit 1

Errors that only one module raises are defined there, under one of these.
Messages never contain an address: addresses are personal data.
"""


class AddrmeshError(Exception):
    """Something addrmesh refuses or cannot do."""


class ConfigError(AddrmeshError):
    """A file, a variable or an option is wrong."""


class RequestError(AddrmeshError):
    """The request cannot be answered as it stands."""


class InvalidText(RequestError):
    """The address is empty, blank or not text."""


class TextTooLong(RequestError):
    """The address is longer than the limit."""

    def __init__(self, length: int, limit: int) -> None:
        self.length, self.limit = length, limit
        super().__init__(f"the address has {length} code points, the limit is {limit}; send the address alone")


class Unavailable(AddrmeshError):
    """Cannot be answered now; try again after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Overloaded(Unavailable):
    """The queue is longer than can be answered in time."""


class RateLimited(Unavailable):
    """The caller sends more than its share."""


class DeadlineExceeded(Unavailable):
    """The deadline passed before an answer was ready."""


class NotReady(Unavailable):
    """The node is starting or draining."""


class Refused(AddrmeshError):
    """Would overwrite, mix or break something that may be needed; nothing was touched."""


class Rejected(AddrmeshError):
    """A component refuses what was made for it; what runs was not touched."""


class EngineError(AddrmeshError):
    """The model failed on a batch."""


class ReleaseError(AddrmeshError):
    """A release directory does not hold what its manifest says."""
