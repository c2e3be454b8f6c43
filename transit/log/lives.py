"""What became of all streams: what listings and erasure ask of `$names`, read as it grows.

Lookups ask for the last record about one stream, which segments list under a key. A listing asks of
every stream, and reads all of `$names` once instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from transit.format.life import Life, decode_life
from transit.format.record import Chunk
from transit.guards import leaf

Chunks = Callable[[int, int], Iterable[Chunk]]
"""The chunks of `$names` from one offset to before another."""


class KnownLives(NamedTuple):
    """What the last records about streams say.

    hidden: the ids of those that are hidden. notable: what is so of those that are deleted or
    trimmed, or for which there are limits or holds.
    """

    hidden: frozenset[int]
    notable: Mapping[int, Life]


class LivesRead:
    """What becomes of the streams, as far as `$names` was read. Safe for threads."""

    def __init__(self) -> None:
        self._known = KnownLives(frozenset(), {})
        self._seen = 0
        self._lock = threading.Lock()

    def up_to(self, stop: int, chunks: Chunks) -> KnownLives:
        """What is so when `$names` has `stop` records or more."""
        if self._seen >= stop:
            return self._known
        return leaf(self._lock, partial(self._read, stop, chunks))

    def _read(self, stop: int, chunks: Chunks) -> KnownLives:
        hidden, notable, seen = set(self._known.hidden), dict(self._known.notable), self._seen
        for chunk in chunks(seen, stop) if seen < stop else ():
            for offset in range(max(seen, chunk.first), min(stop, chunk.stop)):
                life = decode_life(chunk.payload(offset - chunk.first), offset)
                if life.hidden:
                    hidden.add(life.stream)
                else:
                    hidden.discard(life.stream)
                if life.gone or life.holds or life.keep is not None:
                    notable[life.stream] = life
                else:
                    notable.pop(life.stream, None)
        self._known, self._seen = KnownLives(frozenset(hidden), notable), max(seen, stop)
        return self._known
