"""Segments read from the remote: guides and blocks by range, verified, cached, read ahead.

Owns the cache folder: `cache/<BLAKE3 of the stored bytes>`, one file a block, in no relation to the
store's history; all of it can be deleted at any time. A block is checked against the BLAKE3 in its
segment's footer when it is fetched, and again when it is found in the cache.

A caller that reads blocks in order gets the next ones in the same request: twice as many bytes
each time, up to a limit.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from transit.config import KIB, MIB
from transit.disk import file_size, list_folder, make_folder, put_unsynced, read_file, remove
from transit.errors import CorruptError, FormatError, NotFoundError, TransitError
from transit.format.commit import SegmentRef
from transit.format.digest import digest
from transit.format.segment import TAIL, Block, Footer, decode_footer
from transit.guards import leaf
from transit.log.commits import nowhere_else
from transit.log.guides import GuideShelf
from transit.log.redactions import read_parts
from transit.log.segments import Guide, footer_bytes
from transit.tier.remote import TRIES, Remote, redacted_key, segment_key

# Footer and index of most segments fit, so that one request brings both.
GUIDE_BYTES: Final = 64 * KIB
AHEAD_BYTES_MIN: Final = 256 * KIB
AHEAD_BYTES_MAX: Final = 8 * MIB
_STREAKS_MAX: Final = 256


class Fetcher:
    """The segments of one store in its remote; `Elsewhere` for its catalog.

    cache: a folder for fetched blocks, None for none. check_place: raises when the folder of the
    store is not at its path any more. Safe for threads.
    """

    def __init__(
        self,
        remote: Remote,
        shelf: GuideShelf,
        cache: str | None,
        check_place: Callable[[], None] = nowhere_else,
    ) -> None:
        self._remote = remote
        self.shelf = shelf
        self._check_place = check_place
        limit = remote.settings.disk_cache_bytes_max
        self._cache = DiskCache(cache, limit, check_place) if cache and limit else None
        # Blocks read ahead and not asked for yet, by digest.
        self._ahead: OrderedDict[bytes, bytes] = OrderedDict()
        self._ahead_bytes = 0
        # For each segment the block that a caller that reads on would fetch next, and how many
        # bytes were read ahead the last time.
        self._streaks: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()
        # Blocks that were read ahead, and those that were asked for.
        self.ahead = self.fetched = 0

    def check(self, ref: SegmentRef) -> None:
        """See `Elsewhere.check`; asks nothing: a read finds out."""

    def guide(self, ref: SegmentRef) -> Guide:
        """See `Elsewhere.guide`."""
        known = self.shelf.find(ref) or self._cached_guide(ref)
        if known is None:
            known = self._try_any_guide(ref)
            if self._cache is not None:
                self._cache.put(ref.footer, known.footer)
                self._cache.put(digest(known.index).hex(), known.index)
        return known

    def forget(self) -> None:
        """Let all blocks go that were fetched, in memory and in the cache folder."""
        leaf(self._lock, self._forget)
        if self._cache is not None:
            self._cache.clear()

    def _forget(self) -> None:
        self._ahead.clear()
        self._ahead_bytes = 0

    @property
    def disk_hits(self) -> int:
        """Blocks and guides found in the cache folder."""
        return 0 if self._cache is None else self._cache.hits

    def _cached_guide(self, ref: SegmentRef) -> Guide | None:
        footer = self._cached(ref.footer)
        if footer is None:
            return None
        last = decode_footer(footer, bytes.fromhex(ref.footer), ref.footer).blocks[-1]
        index = self._cached(last.digest.hex())
        return None if index is None else Guide(footer, index)

    def _cached(self, name: str) -> bytes | None:
        """The cached bytes whose BLAKE3 is `name`."""
        data = self._cache.get(name) if self._cache is not None else None
        if data is not None and digest(data).hex() != name and self._cache is not None:
            self._cache.drop(name)
            return None
        return data

    def _try_any_guide(self, ref: SegmentRef) -> Guide:
        try:
            return self._try_guide(ref)
        except CorruptError:
            left = self.redacted(ref)
            if left is None:
                raise
        parts = read_parts(left, ref, None)
        return Guide(parts.footer, parts.stored_index)

    def redacted(self, ref: SegmentRef) -> RemoteBytes | None:
        """See `Elsewhere.redacted`."""
        return remote_bytes(self._remote, ref.digest, self._cache)

    def _try_guide(self, ref: SegmentRef) -> Guide:
        for _ in range(TRIES - 1):
            try:
                return self._fetch_guide(ref)
            except FormatError:
                continue
        return self._fetch_guide(ref)

    def _fetch_guide(self, ref: SegmentRef) -> Guide:
        start = max(ref.bytes - GUIDE_BYTES, 0)
        place = self._remote.place(segment_key(ref.digest))
        data = self.read(ref, start, ref.bytes - start)
        size = footer_bytes(data[-TAIL.size :], ref, place)
        footer_at = ref.bytes - TAIL.size - size
        if footer_at < start:
            start, data = footer_at, self.read(ref, footer_at, ref.bytes - footer_at)
        footer = data[footer_at - start : footer_at - start + size]
        last = decode_footer(footer, bytes.fromhex(ref.footer), place).blocks[-1]
        if last.position < start:
            index = self.read(ref, last.position, last.stored_bytes)
        else:
            index = data[last.position - start :][: last.stored_bytes]
        if digest(index) != last.digest:
            raise CorruptError(
                f"{place}, byte {last.position}", expected=last.digest.hex(), found="another digest"
            )
        return Guide(footer, index)

    def stored(self, ref: SegmentRef, footer: Footer, number: int) -> bytes:
        """See `Elsewhere.stored`."""
        name = footer.blocks[number].digest
        data = leaf(self._lock, partial(self._take_ahead, name))
        if data is None:
            data = self._cached(name.hex())
        return self._fetch_blocks(ref, footer, number) if data is None else data

    def _take_ahead(self, name: bytes) -> bytes | None:
        data = self._ahead.pop(name, None)
        self.ahead += data is not None
        self._ahead_bytes -= len(data or b"")
        return data

    def _fetch_blocks(self, ref: SegmentRef, footer: Footer, number: int) -> bytes:
        """Block `number`; those fetched in the same request are kept for later."""
        blocks = footer.blocks[number : self._stop(ref, footer, number)]
        stored = self._read_blocks(ref, blocks)
        if self._cache is not None:
            for block, data in zip(blocks, stored, strict=True):
                self._cache.put(block.digest.hex(), data)
        leaf(self._lock, partial(self._keep_ahead, blocks[1:], stored[1:]))
        return stored[0]

    def _keep_ahead(self, blocks: Sequence[Block], stored: Sequence[bytes]) -> None:
        self.fetched += 1
        for block, data in zip(blocks, stored, strict=True):
            self._ahead_bytes += len(data) - len(self._ahead.pop(block.digest, b""))
            self._ahead[block.digest] = data
        while self._ahead_bytes > 2 * AHEAD_BYTES_MAX:
            self._ahead_bytes -= len(self._ahead.popitem(last=False)[1])

    def _read_blocks(self, ref: SegmentRef, blocks: Sequence[Block]) -> list[bytes]:
        start = blocks[0].position
        size = blocks[-1].position + blocks[-1].stored_bytes - start
        wrong = blocks[0]
        for _ in range(TRIES):
            data = self.read(ref, start, size)
            stored = [data[b.position - start :][: b.stored_bytes] for b in blocks]
            damaged = [
                b for b, part in zip(blocks, stored, strict=True) if digest(part) != b.digest
            ]
            if not damaged:
                return stored
            wrong = damaged[0]
        raise CorruptError(
            f"{self._remote.place(segment_key(ref.digest))}, byte {wrong.position}",
            expected=wrong.digest.hex(),
            found="another digest",
        )

    def _stop(self, ref: SegmentRef, footer: Footer, number: int) -> int:
        """One past the last block to fetch with block `number`: more, the longer it goes on."""
        # The last block is the index, which holds no records.
        last = len(footer.blocks) - 1
        return leaf(self._lock, partial(self._stop_before, ref, footer, number, last))

    def _stop_before(self, ref: SegmentRef, footer: Footer, number: int, last: int) -> int:
        expected, ahead = self._streaks.pop(ref.digest, (-1, 0))
        ahead = min(max(2 * ahead, AHEAD_BYTES_MIN), AHEAD_BYTES_MAX)
        if expected != number:
            ahead = 0
        stop, size = number + 1, 0
        while stop < last and (size := size + footer.blocks[stop].stored_bytes) <= ahead:
            stop += 1
        self._streaks[ref.digest] = (stop, ahead)
        if len(self._streaks) > _STREAKS_MAX:
            self._streaks.popitem(last=False)
        return stop

    def read(self, ref: SegmentRef, position: int, size: int) -> bytes:
        """See `Elsewhere.read`."""
        key = segment_key(ref.digest)
        if size < 1:
            # No store may be asked for 0 bytes; only an object with wrong sizes leads to that.
            raise CorruptError(
                f"{self._remote.place(key)}, byte {position}", expected="bytes", found=f"{size}"
            )
        try:
            data = self._remote.store.get_range(key, position, size)
        except NotFoundError:
            # It may be in the folder, which is somewhere else now.
            self._check_place()
            raise CorruptError(
                self._remote.place(key), expected=f"{ref.bytes} bytes", found="no object"
            ) from None
        if len(data) != min(size, ref.bytes - position):
            raise CorruptError(
                f"{self._remote.place(key)}, byte {position}",
                expected=f"{size} bytes",
                found=f"{len(data)}",
            )
        return data


class RemoteBytes:
    """The bytes of what is left of a segment in the remote; its blocks are kept as others are."""

    def __init__(self, remote: Remote, name: str, size: int, cache: DiskCache | None) -> None:
        self._remote = remote
        self._key = redacted_key(name)
        self._cache = cache
        self.size = size
        self.place = remote.place(self._key)

    def read(self, position: int, size: int) -> bytes:
        """See `Bytes.read`."""
        if size < 1:
            raise CorruptError(f"{self.place}, byte {position}", expected="bytes", found=f"{size}")
        try:
            return self._remote.store.get_range(self._key, position, size)
        except NotFoundError:
            raise CorruptError(
                self.place, expected=f"{self.size} bytes", found="no object"
            ) from None

    def stored(self, block: Block) -> bytes:
        """See `Bytes.stored`."""
        name = block.digest.hex()
        data = None if self._cache is None else self._cache.get(name)
        if data is not None and digest(data) == block.digest:
            return data
        for _ in range(TRIES):
            data = self.read(block.position, block.stored_bytes)
            if digest(data) == block.digest:
                if self._cache is not None:
                    self._cache.put(name, data)
                return data
        raise CorruptError(
            f"{self.place}, byte {block.position}", expected=name, found="another digest"
        )


def remote_bytes(remote: Remote, name: str, cache: DiskCache | None = None) -> RemoteBytes | None:
    """What is left of segment `name` in the remote; None when there is nothing."""
    size = remote.store.size(redacted_key(name))
    return None if size is None else RemoteBytes(remote, name, size, cache)


class DiskCache:
    """Files in one folder, the ones used longest ago out first, within a number of bytes.

    An error of the disk means that nothing is cached, and no more. Safe for threads; processes that
    share the folder each keep it within bounds by what they see of it.
    """

    def __init__(
        self, folder: str, bytes_max: int, check_place: Callable[[], None] = nowhere_else
    ) -> None:
        self._folder = folder
        self._check_place = check_place
        self._bytes_max = bytes_max
        self._sizes: OrderedDict[str, int] | None = None
        self._bytes = 0
        self.hits = 0
        self._lock = threading.Lock()

    def _known(self) -> OrderedDict[str, int]:
        if self._sizes is None:
            self._sizes = OrderedDict()
            for name in list_folder(self._folder):
                self._sizes[name] = file_size(os.path.join(self._folder, name)) or 0
            self._bytes = sum(self._sizes.values())
        return self._sizes

    def get(self, name: str) -> bytes | None:
        """The bytes under `name`, unchecked."""
        return leaf(self._lock, partial(self._get, name))

    def _get(self, name: str) -> bytes | None:
        try:
            sizes = self._known()
            if name not in sizes:
                return None
            sizes.move_to_end(name)
            data = read_file(os.path.join(self._folder, name), sizes[name])
            self.hits += data is not None
            return data
        except TransitError:
            return None

    def put(self, name: str, data: bytes) -> None:
        """Keep `data`, and let the oldest go."""
        if len(data) > self._bytes_max:
            return
        leaf(self._lock, partial(self._put, name, data))

    def _put(self, name: str, data: bytes) -> None:
        try:
            sizes = self._known()
            if name in sizes:
                return
            self._check_place()
            make_folder(self._folder)
            while sizes and self._bytes + len(data) > self._bytes_max:
                oldest, size = sizes.popitem(last=False)
                self._bytes -= size
                remove(os.path.join(self._folder, oldest))
            put_unsynced(self._folder, name, data)
            sizes[name] = len(data)
            self._bytes += len(data)
        except TransitError:
            return

    def clear(self) -> None:
        """Let everything go, also what other processes put there."""
        leaf(self._lock, self._clear)

    def _clear(self) -> None:
        self._sizes, self._bytes = None, 0
        for name in list_folder(self._folder):
            self._check_place()
            remove(os.path.join(self._folder, name))

    def drop(self, name: str) -> None:
        """Forget what is under `name`: it is not what it should be."""
        leaf(self._lock, partial(self._drop, name))

    def _drop(self, name: str) -> None:
        size = self._known().pop(name, 0)
        self._bytes -= size
        try:
            self._check_place()
            remove(os.path.join(self._folder, name))
        except TransitError:
            return
