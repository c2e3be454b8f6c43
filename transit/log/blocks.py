"""The cache of decoded blocks: of segments, and large frames of the WAL.

Owns the memory that reads may keep. What is in it was checked when it was read.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import partial
from typing import Final

from transit.format.record import Chunk
from transit.guards import leaf

PASSING_SHARE: Final = 8
"""What passes through has this part of the cache."""
PASSED_MIN: Final = 16
"""So many keys of what has passed through are known at least."""


class DecodedBlock:
    """The raw bytes of one block or frame, and the chunks of it that were asked for.

    more: bytes of chunks that do not lie in `raw`, but in envelopes there.
    """

    __slots__ = ("chunks", "more", "raw")

    def __init__(self, raw: bytes, more: int = 0) -> None:
        self.raw = raw
        self.more = more
        self.chunks: dict[int, Chunk] = {}

    @property
    def cost(self) -> int:
        """Bytes of memory: decoded columns come on top of the raw bytes; twice covers them."""
        return 2 * (len(self.raw) + self.more)


class BlockCache:
    """Decoded blocks within `bytes_max`. Safe for threads.

    A key is the name of a file and a place in it.

    Blocks are kept while there is room. Then a new one only passes through, unless it passed
    through not long ago: so a reader of more than fits pushes nothing out that is read again and
    again, nor its own beginning, and its blocks use the same little memory, which the processor
    has at hand. Of those kept, the least recently used goes first.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._passing_max = bytes_max // PASSING_SHARE
        self._kept = _Blocks()
        self._passing = _Blocks()
        # Keys of what has passed through, the latest last.
        self._passed: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._lock = threading.Lock()
        # Hits are counted without the lock: two threads at the same moment may count as one.
        self.hits = self.loads = 0

    def get(self, key: tuple[str, int]) -> DecodedBlock | None:
        """The block under `key`, now the most recently used; None when it is not here."""
        block = self._kept.blocks.get(key)
        if block is None:
            block = self._passing.blocks.get(key)
            if block is not None:
                self.hits += 1
            return block
        self.hits += 1
        try:
            self._kept.blocks.move_to_end(key)
        except KeyError:
            # Another thread evicted it meanwhile; the block itself is as good as before.
            return block
        return block

    def put(self, key: tuple[str, int], block: DecodedBlock) -> None:
        """Keep `block`, and let others go, or let it pass through."""
        if block.cost <= self._bytes_max:
            leaf(self._lock, partial(self._put, key, block))

    @property
    def bytes(self) -> int:
        """What the blocks that are here cost."""
        return self._kept.bytes + self._passing.bytes

    def replace(self, key: tuple[str, int], block: DecodedBlock) -> None:
        """Keep `block` in the place of what is under `key`, if anything is."""
        leaf(self._lock, partial(self._drop, key))
        self.put(key, block)

    def clear(self) -> None:
        """Let everything go."""
        leaf(self._lock, self._clear)

    def _clear(self) -> None:
        self._kept, self._passing = _Blocks(), _Blocks()
        self._passed.clear()

    def _drop(self, key: tuple[str, int]) -> None:
        self._kept.drop(key)
        self._passing.drop(key)

    def _put(self, key: tuple[str, int], block: DecodedBlock) -> None:
        kept, passing, passed = self._kept, self._passing, self._passed
        if key in kept.blocks or key in passing.blocks:
            return
        self.loads += 1
        if key in passed:
            del passed[key]
            kept.add(key, block)
        elif kept.bytes + block.cost <= self._bytes_max - self._passing_max:
            kept.add(key, block)
        else:
            passing.add(key, block)
            # The newest stays, however large it is: its other records are read next.
            while passing.bytes > self._passing_max and len(passing.blocks) > 1:
                passed[passing.let_go()] = None
            while len(passed) > max(len(kept.blocks), PASSED_MIN):
                passed.popitem(last=False)
        while kept.bytes + passing.bytes > self._bytes_max:
            (kept if kept.blocks else passing).let_go()


class _Blocks:
    """Blocks in an order, and what they cost in all."""

    __slots__ = ("blocks", "bytes")

    def __init__(self) -> None:
        self.blocks: OrderedDict[tuple[str, int], DecodedBlock] = OrderedDict()
        self.bytes = 0

    def add(self, key: tuple[str, int], block: DecodedBlock) -> None:
        self.blocks[key] = block
        self.bytes += block.cost

    def drop(self, key: tuple[str, int]) -> None:
        block = self.blocks.pop(key, None)
        if block is not None:
            self.bytes -= block.cost

    def let_go(self) -> tuple[str, int]:
        """Drop the first; its key."""
        key, block = self.blocks.popitem(last=False)
        self.bytes -= block.cost
        return key
