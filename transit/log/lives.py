"""Which streams are hidden: what listings ask of `$names`, read as it grows.

Lookups ask for the last record about one stream, which segments list under a key. A listing asks of
every stream, and reads all of `$names` once instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial

from transit.format.life import decode_life
from transit.format.record import Chunk
from transit.guards import leaf

Chunks = Callable[[int, int], Iterable[Chunk]]
"""The chunks of `$names` from one offset to before another."""


class HiddenStreams:
    """The streams that are hidden, as far as `$names` was read. Safe for threads."""

    def __init__(self) -> None:
        self._ids: frozenset[int] = frozenset()
        self._seen = 0
        self._lock = threading.Lock()

    def up_to(self, stop: int, chunks: Chunks) -> frozenset[int]:
        """The ids of the streams that are hidden when `$names` has `stop` records or more."""
        if self._seen >= stop:
            return self._ids
        return leaf(self._lock, partial(self._read, stop, chunks))

    def _read(self, stop: int, chunks: Chunks) -> frozenset[int]:
        ids, seen = set(self._ids), self._seen
        for chunk in chunks(seen, stop) if seen < stop else ():
            for offset in range(max(seen, chunk.first), min(stop, chunk.stop)):
                life = decode_life(chunk.payload(offset - chunk.first), offset)
                if life.hidden:
                    ids.add(life.stream)
                else:
                    ids.discard(life.stream)
        self._ids, self._seen = frozenset(ids), max(seen, stop)
        return self._ids
