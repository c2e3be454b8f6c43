"""Which ids of a channel were seen before, and whether with the same content.

Owns what a repeated id means: the same record again is passed over, for exports overlap; another
record under the same id is another item, with an id of its own that is the same in every reading.
Takes about 130 bytes an id; those of `InTime` that come in the order of time take 16.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from hashlib import blake2b


class Repeats:
    """The ids seen so far, by the hashes of their records."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._others: set[tuple[str, bytes]] = set()

    def note(self, name: str, content: bytes) -> str | None:
        """ "": not seen before; None: seen with this content; else what to put after the id."""
        key, found = hash(name), hash(content)
        first = self._seen.get(key)
        if first is None:
            self._seen[key] = found
            return ""
        return self._again(name, content) if first != found else None

    def _again(self, name: str, content: bytes) -> str | None:
        """Another content of an id that was seen."""
        found = digest(content)
        if (name, found) in self._others:
            return None
        self._others.add((name, found))
        return "~" + found.hex()


class InTime(Repeats):
    """Ids that are times themselves, as `1355517523.000005`."""

    def __init__(self) -> None:
        super().__init__()
        # Of ids that came in order. `_last` is the greatest time; ids of less are in `_seen`.
        self._times, self._contents = array("q"), array("q")
        self._last = -1

    def note_time(self, name: str, time: int, content: bytes) -> str | None:
        """`note` of an id of 17 characters that says `time`, so that none says the same."""
        if time > self._last:
            self._last = time
            self._times.append(time)
            self._contents.append(hash(content))
            return ""
        place = bisect_left(self._times, time)
        if place < len(self._times) and self._times[place] == time:
            return None if self._contents[place] == hash(content) else self._again(name, content)
        return self.note(name, content)


def digest(data: bytes) -> bytes:
    """Eight bytes that stand for `data`."""
    return blake2b(data, digest_size=8).digest()
