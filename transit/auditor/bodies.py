"""The bytes of segments in a remote, downloaded ahead and served from memory.

Whole objects are fetched by a few threads within a number of bytes; a segment larger than all of
that is read in ranges. What a footer states is bounded here, before memory is taken for it:

    footer   one entry for each 2 KiB of what a WAL and one frame hold
    index    no larger than the chunks it lists could be in a WAL and one frame
    block    one record of the largest size, and what comes with it

The limits are those of the auditor's settings. A store written with larger ones needs an audit with
them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from transit.auditor.chain import PASSES, Named
from transit.config import MIB, Settings
from transit.errors import CorruptError, TransitError
from transit.format.commit import SegmentRef
from transit.format.digest import digest
from transit.format.envelope import Opener
from transit.format.segment import ENTRY, FOOTER, HEADER, TAIL, Footer, check_header, decode_footer
from transit.log.blocks import BlockCache
from transit.log.guides import GuideShelf
from transit.log.redactions import Bytes, MemoryBytes, Redacted
from transit.log.segments import Elsewhere, Guide, Segment, footer_bytes
from transit.tier.fetch import Fetcher, RemoteBytes
from transit.tier.pools import Pool
from transit.tier.remote import Remote, redacted_key, segment_key

if TYPE_CHECKING:
    from concurrent.futures import Future

_RANGE_BYTES: Final = 8 * MIB
# Of a block, over one record: the largest target of a block, headers and columns.
_BLOCK_ROOM_BYTES: Final = 8 * MIB


class Limits(NamedTuple):
    """What one part of a segment may take in memory, bytes."""

    footer_bytes: int
    index_bytes: int
    block_bytes: int


def limits_of(settings: Settings) -> Limits:
    """The limits for stores that were written with these settings or smaller ones."""
    log_bytes = settings.seal_bytes + settings.frame_bytes_max
    return Limits(
        footer_bytes=FOOTER.size + log_bytes // 2048 * ENTRY.size,
        # A row of the index takes three quarters of what its chunk does at least.
        index_bytes=log_bytes // 4 * 3,
        block_bytes=settings.record_bytes_max + _BLOCK_ROOM_BYTES,
    )


class Body(NamedTuple):
    """What came of a download: the bytes, None where they are to be read in ranges.

    left: of a segment that chunks were erased from, what is left of it.
    """

    data: bytes | None
    digest: str
    left: Bytes | None = None


class RemoteSegment(Segment):
    """A segment that is only in the remote: no file of its name is looked for."""

    def __init__(
        self,
        named: Named,
        url: str,
        store_id: bytes,
        elsewhere: Elsewhere,
        opener: Opener | None = None,
    ) -> None:
        super().__init__(url, named.ref, named.commit, store_id, BlockCache(0), elsewhere, opener)
        self._remote = elsewhere

    def check_present(self) -> None:
        """As `Segment.check_present`."""
        self._remote.check(self.ref)

    def guide(self) -> Guide:
        """As `Segment.guide`."""
        return self._remote.guide(self.ref)

    def read(self, position: int, size: int) -> bytes:
        """As `Segment.read`."""
        return self._remote.read(self.ref, position, size)


class Bodies:
    """Segments of one remote: `Elsewhere` for a catalog. Downloads are for one thread."""

    def __init__(self, remote: Remote, store_id: bytes) -> None:
        self._remote = remote
        self._store_id = store_id
        self._fetcher = Fetcher(remote, GuideShelf(remote.url, store_id), None)
        self.limits = limits_of(remote.settings)
        self._guides: dict[str, Guide] = {}
        # The segment whose bytes are here: (name, position, bytes).
        self._held = ("", 0, b"")

    # Downloads

    def ahead(self, wanted: Sequence[Named]) -> Iterator[tuple[Named, Body | TransitError]]:
        """Each wanted segment with its bytes, or what is wrong with the object, in order."""
        settings = self._remote.settings
        with Pool(settings.transfers_max, "transit-audit") as pool:
            yield from self._ahead(wanted, pool, settings)

    def _ahead(
        self, wanted: Sequence[Named], pool: Pool, settings: Settings
    ) -> Iterator[tuple[Named, Body | TransitError]]:
        waiting: deque[tuple[Named, Future[Body | TransitError]]] = deque()
        size, size_max = 0, settings.transfer_bytes_max
        for named in [*wanted, None]:
            cost = 0 if named is None or named.ref.bytes > size_max else named.ref.bytes
            full = named is None
            while waiting and (full or size + cost > size_max or len(waiting) >= 256):
                first, future = waiting.popleft()
                yield self._arrived(first, future.result())
                self._held = ("", 0, b"")
                size -= first.ref.bytes if first.ref.bytes <= size_max else 0
            if named is not None:
                waiting.append((named, pool.submit(partial(self._download, named.ref))))
                size += cost

    def _arrived(
        self, named: Named, body: Body | TransitError
    ) -> tuple[Named, Body | TransitError]:
        if isinstance(body, Body) and body.data is not None:
            self._held = (named.ref.digest, 0, body.data)
        return named, body

    def _download(self, ref: SegmentRef) -> Body | TransitError:
        try:
            if ref.bytes > self._remote.settings.transfer_bytes_max:
                return Body(None, "", self._left_of_large(ref))
            return self._fetch(ref)
        except TransitError as error:
            if isinstance(error, PASSES):
                raise
            return error

    def _fetch(self, ref: SegmentRef) -> Body:
        key = segment_key(ref.digest)
        found = "no object"
        # What was damaged on its way is whole the second time.
        for _ in range(2):
            data = self._remote.store.get(key, ref.bytes)
            found = "no object" if data is None else f"{len(data)} bytes"
            if data is not None and len(data) == ref.bytes:
                name = digest(data).hex()
                if name == ref.digest:
                    return Body(data, name)
                found = name
        if data is not None and len(data) == ref.bytes:
            return Body(data, found)
        if data is None and (left := self._left(ref)) is not None:
            return Body(None, "", left)
        raise CorruptError(self._remote.place(key), expected=f"{ref.bytes} bytes", found=found)

    def _left_of_large(self, ref: SegmentRef) -> Bytes | None:
        """What is left of a segment that is read in ranges, where the original is not there."""
        if self._remote.store.size(segment_key(ref.digest)) is not None:
            return None
        return self._left(ref)

    def _left(self, ref: SegmentRef) -> Bytes | None:
        """What is left of a segment: in memory where there is room for it."""
        left = self._fetcher.redacted(ref)
        if left is None or left.size > self._remote.settings.transfer_bytes_max:
            return left
        data = self._remote.store.get(redacted_key(ref.digest), left.size)
        return None if data is None else MemoryBytes(left.place, data)

    # As `Elsewhere`

    def check(self, ref: SegmentRef) -> None:
        """See `Elsewhere.check`; asks nothing: a read finds out."""

    def keep_guide(self, ref: SegmentRef) -> None:
        """Remember the guide of a segment that was found to be whole, as it is stored."""
        self._guides[ref.digest] = self.guide(ref)

    def keep_left(self, left: Redacted) -> None:
        """As `keep_guide`, of what is left of a segment."""
        self._guides[left.ref.digest] = Guide(left.parts.footer, left.parts.stored_index)

    def guide(self, ref: SegmentRef) -> Guide:
        """See `Elsewhere.guide`, within the limits."""
        known = self._guides.get(ref.digest)
        return known if known is not None else self._read_guide(ref)

    def _read_guide(self, ref: SegmentRef) -> Guide:
        place = self._remote.place(segment_key(ref.digest))
        if ref.bytes < HEADER.size + FOOTER.size + ENTRY.size + TAIL.size:
            raise CorruptError(place, expected="a segment", found=f"{ref.bytes} bytes")
        check_header(self.read(ref, 0, HEADER.size), self._store_id, place)
        tail_at = ref.bytes - TAIL.size
        size = footer_bytes(self.read(ref, tail_at, TAIL.size), ref, place)
        _check_limit(f"{place}, footer", size, self.limits.footer_bytes)
        footer = self.read(ref, tail_at - size, size)
        index = decode_footer(footer, bytes.fromhex(ref.footer), place).blocks[-1]
        _check_limit(f"{place}, index", index.raw_bytes, self.limits.index_bytes)
        if index.position + index.stored_bytes != tail_at - size:
            raise CorruptError(
                f"{place}, footer", expected="an index that ends at the footer", found="another"
            )
        stored = index.stored_bytes
        return Guide(footer, self.read(ref, index.position, stored) if stored else b"")

    def stored(self, ref: SegmentRef, footer: Footer, number: int) -> bytes:
        """See `Elsewhere.stored`."""
        return self._fetcher.stored(ref, footer, number)

    def redacted(self, ref: SegmentRef) -> RemoteBytes | None:
        """See `Elsewhere.redacted`."""
        return self._fetcher.redacted(ref)

    def read(self, ref: SegmentRef, position: int, size: int) -> bytes:
        """See `Elsewhere.read`; from memory where the bytes are there."""
        name, start, data = self._held
        if name != ref.digest or not start <= position <= position + size <= start + len(data):
            if name == ref.digest and start == 0 and len(data) == ref.bytes:
                # The whole object is here, and there is no more of it.
                return data[position : position + size]
            start = position
            wanted = min(max(size, _RANGE_BYTES), ref.bytes - position)
            data = self._fetcher.read(ref, position, wanted) if wanted > 0 else b""
            self._held = (ref.digest, start, data)
        return data[position - start : position - start + size]


def _check_limit(place: str, size: int, limit: int) -> None:
    if size > limit:
        raise CorruptError(
            place, expected=f"at most {limit} bytes, with these settings", found=str(size)
        )
