"""Chunks and their records as parts, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from transit.format.envelope import STORED, Envelope, end_of, envelope_at, is_envelope
from transit.format.record import Chunk
from transit.inspection.report import FieldValue, FilePart


class Where(NamedTuple):
    """Where a chunk is: byte `place` of the file.

    inside: whether the chunk is in the block that starts there; otherwise it starts there itself.
    lsn: of its first record; None where records are not in the order of the log.
    """

    place: int
    inside: bool
    lsn: int | None


def chunk_parts(chunk: Chunk, start: int, where: Where, records: bool) -> Iterator[FilePart]:
    """The chunk that starts at `chunk.data[start:]`, and each of its records if asked for."""
    fields: dict[str, FieldValue] = {
        "stream": chunk.stream,
        "first": chunk.first,
        "count": chunk.count,
        "payload_bytes": chunk.payload_bytes,
        "time_first": chunk.timestamp(0),
        "time_last": chunk.last_timestamp,
        "written": (chunk.written_at(0), chunk.last_written),
    }
    if chunk.writer:
        fields["writer"] = chunk.writer
    if where.inside:
        fields["within"] = start
    if where.lsn is not None:
        fields["lsn"] = where.lsn
    yield FilePart(where.place, chunk.end - start, "chunk", fields)
    if records:
        yield from _records(chunk, start, where)


def parts_of(
    raw: bytes,
    start: int,
    stop: int,
    path: str,
    where: Where,
    records: bool,
    written: int | None = None,
) -> Iterator[FilePart]:
    """All chunks, and envelopes, of `raw` from `start` to `stop`; records where asked for.

    written: when the frame that they are in was written. What an envelope holds, only its keyring
    shows: it is told by what stands outside.
    """
    while start < stop:
        end = end_of(raw, start, path, stop)
        if is_envelope(raw, start):
            envelope = envelope_at(raw, start, path, stop)
            count = envelope.count
            yield _envelope_part(envelope, start, end, where)
        else:
            chunk = Chunk(raw, start, path, stop)
            if written is not None:
                chunk.date(written, path)
            count = chunk.count
            yield from chunk_parts(chunk, start, where, records)
        if not where.inside:
            lsn = None if where.lsn is None else where.lsn + count
            where = Where(where.place + end - start, False, lsn)
        start = end


def _envelope_part(envelope: Envelope, start: int, end: int, where: Where) -> FilePart:
    fields: dict[str, FieldValue] = {
        "stream": envelope.stream,
        "first": envelope.first,
        "count": envelope.count,
        "key": envelope.key_id.hex(),
        "codec": "stored" if envelope.codec == STORED else "zstd",
        "chunk_bytes": envelope.chunk_bytes,
    }
    if where.inside:
        fields["written_last"] = envelope.last_written
        fields["within"] = start
    if where.lsn is not None:
        fields["lsn"] = where.lsn
    return FilePart(where.place, end - start, "envelope", fields)


def _records(chunk: Chunk, start: int, where: Where) -> Iterator[FilePart]:
    position = chunk.payloads_at
    for number in range(chunk.count):
        payload = chunk.payload(number)
        fields: dict[str, FieldValue] = {
            "stream": chunk.stream,
            "offset": chunk.first + number,
            "timestamp": chunk.timestamp(number),
            "written": chunk.written_at(number),
            "headers": chunk.header(number),
            "payload": payload,
        }
        if chunk.writer:
            fields["writer"] = chunk.writer
        if where.inside:
            fields["within"] = position
        if where.lsn is not None:
            fields["lsn"] = where.lsn + number
        place = where.place if where.inside else where.place + position - start
        yield FilePart(place, len(payload), "record", fields)
        position += len(payload)
