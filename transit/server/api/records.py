"""Records of one stream: a page of them, with headers, times, writer and origin; or wait for more.

A page ends at `limit` records, or where its lines would take more than `max_bytes`, but holds one
record at least if there is one. With `where` it also ends after `SCAN` records that were looked at,
so that it may be empty and still say where to go on.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from transit import InvalidInputError, Stream
from transit.protocol.calls import OffsetAnswer, Time, record_data
from transit.protocol.lines import RecordLine, encode_record
from transit.server.access import READ
from transit.server.api.naming import find
from transit.server.api.serving import (
    Call,
    look,
    page_answer,
    query_of,
    value_answer,
    wants_msgpack,
    where_of,
)
from transit.server.asgi import Answer, Request
from transit.server.reading import NEAR
from transit.server.refusals import Header
from transit.server.service import Service
from transit.server.streams import Streams

MIB: Final = 1024 * 1024
SCAN: Final = 65_536
BYTES_MAX: Final = 16 * MIB
Where = dict[str, str | list[str]]
# Where a stream can end, at the most.
Place = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class RecordsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What to read.

    start, stop: offsets; stop is not read, and null is the head. limit: records at the most.
    max_bytes: of the page. where: headers they have, a JSON object of text with text, or several.
    wait: seconds to wait where there is nothing yet; the server may answer earlier. times: only the
    first offset written at this time or later.
    """

    start: Place = 0
    stop: Place | None = None
    limit: Annotated[int, Meta(ge=1)] = SCAN
    max_bytes: Annotated[int, Meta(ge=1)] = MIB
    where: str | None = None
    wait: Annotated[float, Meta(ge=0, le=3600)] = 0
    times: Time | None = None


class Page(NamedTuple):
    """Lines, one a record, and where to go on."""

    lines: list[bytes]
    stop: int


class Reading:
    """The route of records."""

    def __init__(self, service: Service, streams: Streams) -> None:
        self._service = service
        self._streams = streams
        self._log = service.log

    def calls(self) -> list[Call]:
        """Its table."""
        headers = ("Transit-Next", "Stream-Next-Offset", "Stream-Closed")
        return [
            Call("GET", "/v1/records/{name}", self._read,
                 "Records in order; with times, an offset (`OffsetAnswer`).",
                 RecordLine, RecordsQuery, kind="page", headers=headers),
        ]  # fmt: skip

    async def _read(self, request: Request) -> Answer:
        query, service = query_of(request, RecordsQuery), self._service
        where = where_of(query.where, Where)
        if query.wait != query.wait:
            raise InvalidInputError("wait must be a number of seconds")
        stream = await look(service, lambda: find(self._log, request.grant, READ, request.name))
        if query.times is not None:
            time = query.times
            return value_answer(
                request, OffsetAnswer(await service.read(lambda: stream.offset_at(time)))
            )
        if query.wait and query.stop is None and len(stream) == query.start:
            await self._streams.wait(stream, query.start, query.wait)
        # In this order: nothing is appended after a stream was finished.
        finished, count = stream.finished, len(stream)
        stop = count if query.stop is None else min(query.stop, count)
        as_msgpack = wants_msgpack(request)

        def work() -> Page:
            return read_page(stream, query, where, stop, as_msgpack=as_msgpack)

        is_near = 0 <= stop - query.start <= NEAR and not service.has_remote
        page = work() if is_near else await service.read(work)
        headers: list[Header] = [(b"stream-next-offset", b"%d" % count)]
        if finished and page.stop == count:
            headers.append((b"stream-closed", b"true"))
        return page_answer(request, b"".join(page.lines), len(page.lines), str(page.stop), headers)


def read_page(
    stream: Stream, query: RecordsQuery, where: Where | None, stop: int, *, as_msgpack: bool
) -> Page:
    """The records from `query.start` to before `stop`, as far as they fit."""
    name, size = stream.name, 0
    lines: list[bytes] = []
    limit, bytes_max = min(query.limit, SCAN), min(query.max_bytes, BYTES_MAX)
    stop = max(query.start, min(stop, query.start + SCAN))
    wanted: dict[str, str | Collection[str]] | None = None if where is None else dict(where)
    for batch in stream.batches(query.start, stop, where=wanted):
        for record in batch.records():
            if len(lines) == limit:
                return Page(lines, record.offset)
            if as_msgpack:
                line = msgspec.msgpack.encode(record_data(name, record))
            else:
                line = encode_record(name, record)
            size += len(line)
            if lines and size > bytes_max:
                return Page(lines, record.offset)
            lines.append(line)
    return Page(lines, stop)
