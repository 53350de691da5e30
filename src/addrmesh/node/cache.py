"""
The node's own memory of answers, least recently used out first.

A key is a keyed BLAKE2b digest of the canonical text. Its secret is drawn when the process starts and bound to the
release, so keys mean nothing outside the process and no answer outlives a change of release.
"""

from collections import OrderedDict
from hashlib import blake2b
from secrets import token_bytes

import msgspec

from addrmesh.inference.batcher import Components


class Parsed(msgspec.Struct, gc=False):
    """
    The answer to one canonical text.

    A cache holds a hundred thousand of these, and a garbage collection that looked at each would stop the node for
    a tenth of a second. So they are of types that the collector does not follow: no `Component`, plain tuples.
    """

    components: tuple[tuple[str, int, int, float], ...]
    plain: dict[str, bytes] = {}
    """
    The rendered JSON by tag set, for callers whose text is the canonical text: their spans are the answer's own, so
    the bytes are the same for all of them. Filled by the first such caller.
    """

    @classmethod
    def of(cls, components: Components) -> "Parsed":
        """Return the answer that an engine gave."""
        return cls(tuple([(type_, start, end, confidence) for type_, start, end, confidence in components]))


class Cache:
    """At most `entries` answers; 0 keeps none."""

    def __init__(self, entries: int, release_id: str) -> None:
        self._entries = entries
        self._secret = blake2b(release_id.encode(), key=token_bytes(32), digest_size=32).digest()
        self._parsed_by_key: OrderedDict[bytes, Parsed] = OrderedDict()

    def __len__(self) -> int:
        return len(self._parsed_by_key)

    def key(self, canonical: str) -> bytes:
        """Return the key of a canonical text: 16 bytes."""
        return blake2b(canonical.encode(), key=self._secret, digest_size=16).digest()

    def get(self, key: bytes) -> Parsed | None:
        """Return the answer and mark it as used."""
        parsed = self._parsed_by_key.get(key)
        if parsed is not None:
            self._parsed_by_key.move_to_end(key)
        return parsed

    def put(self, key: bytes, parsed: Parsed) -> None:
        """Keep an answer, at the expense of the one unused for longest."""
        if self._entries == 0:
            return
        self._parsed_by_key[key] = parsed
        self._parsed_by_key.move_to_end(key)
        if len(self._parsed_by_key) > self._entries:
            self._parsed_by_key.popitem(last=False)
