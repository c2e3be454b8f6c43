"""One object at a time from a remote to another: a segment, what is left of one, a snapshot.

Owns what makes an object trusted, on the way and where it is found:

    read        its BLAKE3 is its name; else again, three times in all; of what is left of a
                segment every chunk is checked against the root that the commit has
    put         believed of a store that refuses damage, else read back
    is there    by the size that a commit states: names are digests, and objects are put whole; read
                back where the store takes damaged uploads, or that is asked for

Where the source has no original, what is left of it is brought and the target's original is freed,
in this order. An object is in memory once, while it is put; it is read in pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from typing import Final, Literal, NamedTuple

from transit.config import MIB
from transit.errors import CorruptError, FormatError, NotFoundError
from transit.format.commit import Commit, SegmentRef
from transit.format.digest import Digester, digest
from transit.format.redacted import TABLE_TAIL
from transit.format.segment import HEADER, TAIL, decode_tail
from transit.log.redactions import MemoryBytes, check_left
from transit.store.versions import Freed
from transit.tier.erase import free_original, put_left
from transit.tier.remote import TRIES, Remote, index_key, redacted_key, segment_key

READ_BYTES: Final = 8 * MIB
# What is left of a segment is seldom larger: a digest a chunk, and blocks that compress less well.
_LEFT_ROOM_BYTES: Final = 64 * MIB


class Item(NamedTuple):
    """An object that a commit names: its key, digest (64 hex digits) and size in bytes.

    ref: of a segment; None of a snapshot, which a store is whole without.
    """

    key: str
    digest: str
    bytes: int
    ref: SegmentRef | None


class Done(NamedTuple):
    """What became of an object; bytes: that were put. freed: what had to go for it.

    "left": what is left of the segment was put in its place. "lacking": a snapshot that the source
    has not. "gone": the source has no original.
    """

    item: Item
    how: Literal["copied", "there", "left", "lacking", "gone"]
    bytes: int = 0
    freed: Freed = Freed()


def items_of(commit: Commit) -> list[Item]:
    """The objects that a commit names."""
    items = [Item(segment_key(ref.digest), ref.digest, ref.bytes, ref) for ref in commit.segments]
    if commit.index is not None:
        name = commit.index.digest
        items.append(Item(index_key(name), name, commit.index.bytes, None))
    return items


class Carrier:
    """Brings objects of one store from a remote to another. Safe for threads.

    verify: read what is there. bypass_governance: free also what such a lock keeps. near: an
    object's bytes, checked, where they are nearer than in the source; None where they are not.
    """

    def __init__(
        self,
        source: Remote,
        target: Remote,
        store_id: bytes,
        *,
        verify: bool,
        bypass_governance: bool,
        near: Callable[[Item], bytes | None] | None = None,
    ) -> None:
        self._near = near
        self._source = source
        self._target = target
        self._store_id = store_id
        # Nothing of a store was in the target: nothing is looked for.
        self.is_new = False
        self._verify = verify
        self._bypass = bypass_governance

    def bring(self, item: Item) -> Done:
        """Bring an object of a commit that the target lacks, unless it is there."""
        if not self.is_new and self._is_there(item):
            if item.ref is None or self._source.store.size(item.key) is not None:
                return Done(item, "there")
            # Erased since an earlier run brought it.
            return self._bring_left(item, item.ref)
        return self._carry(item)

    def _carry(self, item: Item) -> Done:
        try:
            data = self._read(item)
        except FormatError:
            if item.ref is not None:
                raise
            data = None
        if data is not None:
            self._put(item, data)
            return Done(item, "copied", len(data))
        return Done(item, "lacking") if item.ref is None else self._bring_left(item, item.ref)

    def look(self, item: Item) -> Done:
        """Whether the source has erased from a segment that was brought before: "gone".

        With `verify`, another object is brought again where it is not what it should be.
        """
        if item.ref is not None and self._source.store.size(item.key) is None:
            return Done(item, "gone")
        if self._verify and not self._is_there(item):
            return self._carry(item)
        return Done(item, "there")

    def replace(self, item: Item) -> Done:
        """Put what is left of a segment in the place of the original that was brought before."""
        assert item.ref is not None
        is_gone = self._target.store.size(item.key) is None
        if is_gone and not self._verify and self._has_left(item.ref):
            return Done(item, "there")
        return self._bring_left(item, item.ref, may_be_there=True)

    # Objects as they are

    def _is_there(self, item: Item) -> bool:
        if self._target.store.size(item.key) != item.bytes:
            return False
        if self._target.store.refuses_damage and not self._verify:
            return True
        return self._has_bytes(item)

    def _has_bytes(self, item: Item) -> bool:
        digester = Digester()
        for data in _pieces(self._target, item):
            digester.update(data)
        return digester.digest().hex() == item.digest

    def _read(self, item: Item) -> bytes | None:
        """The source's object, checked against its name; None when there is none."""
        nearer = None if self._near is None else self._near(item)
        if nearer is not None:
            return nearer
        found = ""
        for _ in range(TRIES):
            digester, data = Digester(), BytesIO()
            try:
                for piece in _pieces(self._source, item):
                    digester.update(piece)
                    data.write(piece)
            except NotFoundError:
                return None
            found = digester.digest().hex()
            if found == item.digest:
                return data.getvalue()
        raise CorruptError(self._source.place(item.key), expected=item.digest, found=found)

    def _put(self, item: Item, data: bytes) -> None:
        for _ in range(TRIES):
            self._target.store.put(item.key, data)
            if self._target.store.refuses_damage or self._has_bytes(item):
                return
        raise CorruptError(self._target.place(item.key), expected=item.digest, found="other bytes")

    # What is left of segments

    def _bring_left(self, item: Item, ref: SegmentRef, *, may_be_there: bool = False) -> Done:
        data = self._read_left(ref)
        put_left(self._target, item.digest, data)
        freed = Freed()
        if may_be_there or not self.is_new:
            freed = self._free(item)
        return Done(item, "left", len(data), freed)

    def _free(self, item: Item) -> Freed:
        """Free the original in the target, if it is there."""
        if self._target.store.size(item.key) is None:
            return Freed()
        return free_original(self._target, item.digest, bypass_governance=self._bypass)

    def _read_left(self, ref: SegmentRef) -> bytes:
        """What is left of a segment in the source, checked to its last chunk."""
        key, found = redacted_key(ref.digest), "no object"
        place, store = self._source.place(key), self._source.store
        for _ in range(TRIES):
            size = store.size(key)
            if size is None:
                break
            if size > ref.bytes + _LEFT_ROOM_BYTES:
                raise CorruptError(place, expected=f"at most {ref.bytes} bytes", found=str(size))
            # More may be erased at this moment: then it is another object the next time.
            with suppress(FormatError):
                data = store.get(key, size)
                if data is not None:
                    found = f"damage in {place}"
                    check_left(MemoryBytes(place, data), ref, self._store_id)
                    return data
        raise CorruptError(
            self._source.place(segment_key(ref.digest)), expected=ref.digest, found=found
        )

    def _has_left(self, ref: SegmentRef) -> bool:
        """Whether the target has the same left of a segment as the source.

        Its table tells, which has the digest of every block: by the table's own, before the footer.
        """
        key = redacted_key(ref.digest)
        size = self._source.store.size(key)
        if size is None or size < TAIL.size or self._target.store.size(key) != size:
            return False
        with suppress(FormatError, NotFoundError):
            tail = self._source.store.get_range(key, size - TAIL.size, TAIL.size)
            _, footer_bytes = decode_tail(tail, self._source.place(key))
            position = size - TAIL.size - footer_bytes - TABLE_TAIL.size
            if position >= HEADER.size:
                theirs = self._source.store.get_range(key, position, size - position - TAIL.size)
                ours = self._target.store.get_range(key, position, TABLE_TAIL.size)
                is_footer = digest(theirs[TABLE_TAIL.size :]).hex() == ref.footer
                return is_footer and ours == theirs[: TABLE_TAIL.size]
        return False


def _pieces(remote: Remote, item: Item) -> Iterator[bytes]:
    """An object's bytes, piece by piece; fewer where it is shorter than its commit states.

    What a commit says of a size may be any number: only what is there takes memory.
    """
    for position in range(0, item.bytes, READ_BYTES):
        size = min(READ_BYTES, item.bytes - position)
        data = remote.store.get_range(item.key, position, size)
        yield data
        if len(data) < size:
            return
