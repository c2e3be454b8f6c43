"""Pieces: a stream's history cut where its records lie, for readers that work side by side.

Owns what a piece is and how it is read. A piece is a value: it can be pickled, sent to another
process or machine, and read there without opening the store. What is sealed is read from its
segment, in the store's folder or else in the remote, and never changes; records that are not sealed
yet travel in the piece itself.

    piece      one run of records of one stream: in one segment, or not sealed yet
    blocks     the entries of the segment's footer (`transit.format.segment`), 64 bytes each, of the
               blocks that the run lies in; each says where its bytes are, and their BLAKE3
    data       instead of blocks: the chunks (`transit.format.record`) of records not sealed yet

A reader trusts a piece as it trusts the store that made it. The bytes that a piece names are
checked: each block against its digest, each chunk against stream and offsets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from transit.arrow import check_columns
from transit.disk import File
from transit.errors import (
    CorruptError,
    ErasedError,
    InvalidInputError,
    NotFoundError,
    RetentionGapError,
)
from transit.format.commit import SegmentRef
from transit.format.digest import digest
from transit.format.envelope import Opener, chunk_at, end_of
from transit.format.names import Places, check_layer, layer_of
from transit.format.record import Chunk, chunks_of
from transit.format.segment import ENTRY, Block, decode_block, decode_entry, encode_entry
from transit.guards import VIEW
from transit.handle.attaching import RemoteAddress, attach, check_settings
from transit.handle.encrypting import reading_keys
from transit.handle.handle import Handle
from transit.keyring import Keyring
from transit.log.catalog import StreamState
from transit.log.redactions import Bytes, local_bytes, open_left
from transit.log.rows import missing
from transit.log.segments import Segment
from transit.replay import Batch, Source, encoded, spans_between
from transit.tier.fetch import remote_bytes
from transit.tier.remote import Remote, segment_key

if TYPE_CHECKING:
    import pyarrow

_NO_COMMIT: Final = -1


class Piece(msgspec.Struct, frozen=True):
    """Consecutive records of one stream that lie together.

    stream: its name. first, stop: offsets there, from `first` to before `stop`.
    source: where they were appended (`Record.origin`). stored_bytes: what a reader fetches, or what
    the piece carries itself.
    segment: BLAKE3 of the segment's file, 64 hex digits; "" for records not sealed yet.
    commit: number of the commit that added the segment, -1 for records not sealed yet.
    folder, remote: the store's folder and its remote's address, "" where there is none.
    """

    stream: str
    first: int
    stop: int
    source: Source
    stored_bytes: int
    segment: str
    commit: int
    folder: str
    remote: str
    # The stream's id, and the number and footer entries of the blocks.
    _id: int
    _block: int
    _entries: bytes
    # Where the first chunk begins in the first block; the chunks themselves when not sealed.
    _position: int
    _data: bytes = b""
    # The footer of the segment and the root over its chunks, by which what is left of it is known.
    _footer: str = ""
    _chunks: str = ""

    def __len__(self) -> int:
        """Count of records."""
        return self.stop - self.first

    def __repr__(self) -> str:
        lies = f"segment {self.segment[:12]}" if self.segment else "not sealed"
        return f"<transit.Piece {self.stream!r} {self.first}:{self.stop}, {lies}>"

    @property
    def blocks(self) -> range:
        """The numbers of the segment's blocks that the records lie in."""
        return range(self._block, self._block + len(self._entries) // ENTRY.size)


def pieces_of(handle: Handle, state: StreamState, start: int, stop: int) -> Iterator[Piece]:
    """The pieces of a stream's history from offset `start` to before `stop`, in order."""
    catalog = handle.catalog
    for span in spans_between(catalog, state, start, stop):
        shift = span.origin - span.first
        at, end = span.origin, span.origin + span.count
        source = Source(catalog.record(span.stream).name, shift)
        make = partial(_piece, handle, state.name, source)
        for segment, rows in catalog.sealed_rows(span.stream, at, end):
            piece = make(segment, span.stream, rows, at, end)
            if piece.first + shift != at:
                raise missing(catalog.root, span.stream, at)
            yield piece
            # The next piece may be asked for in the middle of another call.
            catalog.order.check(VIEW)
            at = piece.stop + shift
        if at < end:
            data = _cut(catalog.chunks(span.stream, at, end), at, end)
            yield Piece(
                state.name, at - shift, end - shift, source, len(data), "", _NO_COMMIT,
                *_places(handle), span.stream, 0, b"", 0, data,
            )  # fmt: skip


def sealed_pieces(handle: Handle, since: int, layer: str | None) -> Iterator[Piece]:
    """The sealed records of all streams that commits after number `since` added, in their order.

    layer: the streams of this layer instead of the user's. Hidden streams are left out.
    """
    if type(since) is not int:
        raise InvalidInputError(f"since must be a commit's number, not {type(since).__name__}")
    handle.refresh()
    return _sealed_pieces(handle, since, layer if layer is None else check_layer(layer))


def _sealed_pieces(handle: Handle, since: int, layer: str | None) -> Iterator[Piece]:
    catalog = handle.catalog
    hidden, lives = catalog.known_lives()
    for segment in catalog.view.segments:
        if segment.commit <= since:
            continue
        row, index = 0, segment.index
        while row < len(index.streams):
            rows = index.rows(index.streams[row])
            stream_id, row = index.streams[row], rows.stop
            name = catalog.record(stream_id).name
            gone = lives[stream_id].gone if stream_id in lives else 0
            rows = range(bisect_right(rows, gone, key=index.stop) + rows.start, rows.stop)
            if stream_id in hidden or not rows or not _is_wanted(name, layer):
                continue
            first, stop = max(index.firsts[rows.start], gone), index.stop(rows[-1])
            yield _piece(handle, name, Source(name, 0), segment, stream_id, rows, first, stop)
            catalog.order.check(VIEW)


def _is_wanted(name: str, layer: str | None) -> bool:
    return not name.startswith("$") if layer is None else layer_of(name) == layer


def _places(handle: Handle) -> tuple[str, str]:
    """The folder and the remote where a store's segments are."""
    remote = handle.remote_url or handle.remote_noted
    return ("", remote) if handle.root == remote else (handle.root, remote)


def _piece(
    handle: Handle,
    stream: str,
    source: Source,
    segment: Segment,
    stream_id: int,
    rows: range,
    start: int,
    stop: int,
) -> Piece:
    """Of the chunks in `rows` of a segment's index the records from `start` to before `stop`."""
    index, footer = segment.index, segment.footer
    first = max(start, index.firsts[rows.start])
    stop = min(stop, index.stop(rows[-1]))
    low, high = index.blocks[rows.start], index.blocks[rows[-1]] + 1
    entries = footer.blocks[low:high]
    return Piece(
        stream, first - source.shift, stop - source.shift, source,
        sum(entry.stored_bytes for entry in entries), segment.ref.digest, segment.commit,
        *_places(handle), stream_id, low, b"".join(map(encode_entry, entries)),
        index.positions[rows.start], b"", segment.ref.footer, segment.ref.chunks,
    )  # fmt: skip


def _cut(chunks: Iterator[Chunk], start: int, stop: int) -> bytes:
    """The records from `start` to before `stop` of `chunks`, as chunks of their own."""
    parts: list[bytes] = []
    for chunk in chunks:
        low, high = max(start, chunk.first) - chunk.first, min(stop, chunk.stop) - chunk.first
        parts.append(encoded(chunk, low, high))
    return b"".join(parts)


def read_piece(
    piece: Piece,
    columns: Sequence[str] | None = None,
    *,
    remote: RemoteAddress | None = None,
    storage_options: Mapping[str, object] | None = None,
    keyring: Keyring | None = None,
) -> pyarrow.Table:
    """The records of a piece as an Arrow table, in any process that reaches its segment.

    columns: as `Batch.to_arrow`. The folder that the piece names is asked first, if it is there,
    and then `remote`, or else the remote that the piece names. remote: an address, or an open
    `ObjectStore`, which saves connecting for each piece. storage_options: credentials; a piece has
    none. keyring: that of an encrypted store.
    Raises `RetentionGapError` when the segment is in neither, `CorruptError` when it is not what
    the piece says, `SealedError` without the key of its records, `RemoteUnavailableError`,
    `InvalidInputError`; `ImportError` without pyarrow.
    """
    if not isinstance(piece, Piece):
        raise InvalidInputError(f"not a piece: {type(piece).__name__}")
    names = check_columns(columns)
    # Loaded here because pyarrow is an extra and slow to load.
    import pyarrow as pa

    opener = None if keyring is None else reading_keys(keyring)
    found = _batches(piece, remote, storage_options, opener)
    return pa.Table.from_batches([batch.to_arrow(names) for batch in found])


def _batches(
    piece: Piece,
    remote: RemoteAddress | None,
    storage_options: Mapping[str, object] | None,
    opener: Opener | None,
) -> Iterator[Batch]:
    if not piece.segment:
        chunks: Iterator[Chunk] = iter(chunks_of(piece._data, "a piece"))
    else:
        chunks = _sealed_chunks(piece, remote, storage_options, opener)
    at, stop = piece.first + piece.source.shift, piece.stop + piece.source.shift
    for chunk in chunks:
        if chunk.stream != piece._id or not chunk.first <= at < chunk.stop:
            break
        high = min(stop, chunk.stop)
        first = at - piece.source.shift
        yield Batch(chunk, at - chunk.first, high - chunk.first, first, piece.source)
        at = high
        if at == stop:
            return
    raise CorruptError(
        f"{piece!r}", expected=f"offset {at} of stream {piece._id}", found="another record, or none"
    )


def _chunks_in(
    blocks: Sequence[Block], data: bytes, position: int, place: str, opener: Opener | None
) -> Iterator[Chunk]:
    """The chunks of consecutive blocks, whose stored bytes are `data`, from `position` on."""
    for block in blocks:
        start = block.position - blocks[0].position
        stored = data[start : start + block.stored_bytes]
        if digest(stored) != block.digest:
            raise CorruptError(
                f"{place}, byte {block.position}",
                expected=block.digest.hex(),
                found="another digest",
            )
        raw = decode_block(block, stored, place)
        while position < len(raw):
            yield chunk_at(raw, position, place, opener)
            position = end_of(raw, position, place)
        position = 0


def _sealed_chunks(
    piece: Piece,
    remote: RemoteAddress | None,
    storage_options: Mapping[str, object] | None,
    opener: Opener | None,
) -> Iterator[Chunk]:
    """The chunks of a piece's segment, or of what is left of it, from the folder or the remote."""
    places, size = Places(piece.folder), len(piece._entries)
    blocks = [decode_entry(piece._entries, at) for at in range(0, size, ENTRY.size)]
    start = blocks[0].position
    size = blocks[-1].position + blocks[-1].stored_bytes - start
    found = partial(
        _chunks_in, blocks, position=piece._position, place=f"segment {piece.segment}",
        opener=opener,
    )  # fmt: skip
    if piece.folder:
        try:
            with File.open(places.segment(piece.segment)) as file:
                data = file.read_at(start, size)
        except NotFoundError:
            # Another machine's folder, or evicted since, or chunks were erased from it.
            if (left := local_bytes(places.redacted_segment(piece.segment))) is not None:
                return iter(_chunks_left(piece, left, opener))
        else:
            return found(data)
    if remote is None and not piece.remote:
        raise RetentionGapError(
            f"{piece!r}: not in {piece.folder}, and no remote is known: give remote="
        )
    settings = check_settings(None)
    store, release = attach(remote or piece.remote, storage_options, settings)
    try:
        return found(store.get_range(segment_key(piece.segment), start, size))
    except NotFoundError:
        elsewhere = remote_bytes(Remote(store, settings), piece.segment)
        if elsewhere is None:
            raise RetentionGapError(f"{piece!r}: is not in {store.url}") from None
        return iter(_chunks_left(piece, elsewhere, opener))
    finally:
        release()


def _chunks_left(piece: Piece, source: Bytes, opener: Opener | None) -> list[Chunk]:
    """The piece's chunks in what is left of its segment; `ErasedError` where one is gone."""
    ref = SegmentRef(
        digest=piece.segment, footer=piece._footer, chunks=piece._chunks, bytes=0, records=0,
        streams=0, lsn=(0, 0), time=(0, 0), written=(0, 0),
    )  # fmt: skip
    left = open_left(source, ref, None, opener)
    start, stop = piece.first + piece.source.shift, piece.stop + piece.source.shift
    rows = [
        row
        for row in left.index.rows(piece._id)
        if left.index.firsts[row] < stop and left.index.stop(row) > start
    ]
    if not all(map(left.has, rows)):
        raise ErasedError(
            f"{piece!r}: records of it were erased since it was made",
            stream=piece.stream,
            state="erased",
        )
    return [left.chunk(row) for row in rows]
