"""The cache of decoded blocks: of segments, and large frames of the WAL.

Owns the memory that reads may keep. What is in it was checked when it was read.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import partial

from transit.format.record import Chunk
from transit.guards import leaf


class DecodedBlock:
    """The raw bytes of one block or frame, and the chunks of it that were asked for."""

    __slots__ = ("chunks", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.chunks: dict[int, Chunk] = {}


class BlockCache:
    """Decoded blocks, least recently used out first, within `bytes_max`. Safe for threads.

    A key is the name of a file and a place in it.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._blocks: OrderedDict[tuple[str, int], DecodedBlock] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int]) -> DecodedBlock | None:
        """The block under `key`, now the most recently used; None when it is not here."""
        block = self._blocks.get(key)
        if block is not None:
            try:
                self._blocks.move_to_end(key)
            except KeyError:
                # Another thread evicted it meanwhile; the block itself is as good as before.
                return block
        return block

    def put(self, key: tuple[str, int], block: DecodedBlock) -> None:
        """Keep `block`, and let the oldest go."""
        # Decoded columns come on top of the raw bytes: twice the raw size covers them.
        cost = 2 * len(block.raw)
        if cost > self._bytes_max:
            return
        leaf(self._lock, partial(self._put, key, block, cost))

    def replace(self, key: tuple[str, int], block: DecodedBlock) -> None:
        """Keep `block` in the place of what is under `key`, if anything is."""
        leaf(self._lock, partial(self._drop, key))
        self.put(key, block)

    def _drop(self, key: tuple[str, int]) -> None:
        old = self._blocks.pop(key, None)
        if old is not None:
            self._bytes -= 2 * len(old.raw)

    def _put(self, key: tuple[str, int], block: DecodedBlock, cost: int) -> None:
        if key not in self._blocks:
            self._blocks[key] = block
            self._bytes += cost
        self._let_go()

    def _let_go(self) -> None:
        while self._bytes > self._bytes_max:
            _, old = self._blocks.popitem(last=False)
            self._bytes -= 2 * len(old.raw)
