"""Which ids of a channel were seen before, and whether with the same content.

Owns what a repeated id means: the same record again is passed over, for exports overlap; another
record under the same id is another item, with an id of its own that is the same in every reading.
Takes about 200 bytes an id.
"""

from __future__ import annotations

from hashlib import blake2b


class Repeats:
    """The ids seen so far, by the digests of their records."""

    def __init__(self) -> None:
        self._seen: dict[bytes, bytes] = {}

    def __contains__(self, name: str) -> bool:
        return digest(name.encode()) in self._seen

    def note(self, name: str, content: bytes) -> str | None:
        """ "": not seen before; None: seen with this content; else what to put after the id."""
        key, found = digest(name.encode()), digest(content)
        first = self._seen.setdefault(key, found)
        if first is found:
            return ""
        again = digest(key + found)
        if first == found or again in self._seen:
            return None
        self._seen[again] = found
        return "~" + found.hex()


def digest(data: bytes) -> bytes:
    """Eight bytes that stand for `data`."""
    return blake2b(data, digest_size=8).digest()
