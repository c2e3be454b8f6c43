"""Records as a server sends them, page by page, made the engine's again.

Owns how a page becomes `Record`s and `Batch`es. The end of a range is settled by the first page:
what is appended while the others are read is not in it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from transit.client.connection import Connection, Encoded, page_of
from transit.engine.checks import encode_all
from transit.format.headers import NO_HEADERS
from transit.format.record import Chunk, Columns, encode_chunk, measure
from transit.protocol.calls import CLOSED_HEADER, HEAD_HEADER, RecordData
from transit.protocol.paths import encode_name
from transit.replay import Batch, Record, Source

Where = Mapping[str, Collection[str]]


class Page(NamedTuple):
    """Records, and where they stand in their stream.

    next: what the next page starts with, empty after the last. head: the stream's next offset.
    """

    records: list[RecordData]
    next: str
    head: int
    finished: bool


class Pages:
    """The records of one stream."""

    def __init__(self, connection: Connection, name: str, reference: str) -> None:
        self._connection = connection
        self._name = name
        self._path = "/v1/records/" + encode_name(reference)
        self._sources: dict[tuple[str, int, str], Source] = {}

    def page(
        self,
        start: int | str,
        stop: int | None = None,
        *,
        limit: int | None = None,
        where: Where | None = None,
        wait_s: float = 0.0,
    ) -> Page:
        """The records from `start` on, about as many as fit into an answer.

        wait_s: how long the server waits for the first.
        """
        query: dict[str, object] = {
            "start": Encoded(start) if isinstance(start, str) else start,
            "stop": stop,
            "limit": limit,
            "where": None
            if where is None
            else json.dumps({k: sorted(v) for k, v in where.items()}),
            "wait": f"{wait_s:.3f}" if wait_s else None,
        }
        reply = self._connection.get(self._path, query, wait_s)
        records, following = page_of(reply, RecordData)
        head = int(reply.headers.get(HEAD_HEADER, "0"))
        return Page(records, following, head, CLOSED_HEADER in reply.headers)

    def ranged(self, start: int, stop: int | None, where: Where | None) -> Iterator[Page]:
        """The pages of a range; the first is asked for at the call, and settles the end."""
        first = self.page(start, stop, where=where)
        return chain([first], self._rest(first, stop, where))

    def _rest(self, page: Page, stop: int | None, where: Where | None) -> Iterator[Page]:
        end = page.head if stop is None else min(stop, page.head)
        while page.next and int(page.next) < end:
            page = self.page(page.next, end, where=where)
            yield page

    def records(self, page: Page) -> list[Record]:
        """The records of a page."""
        return [
            Record(
                each.offset, each.timestamp, each.payload,
                MappingProxyType(each.headers) if each.headers else NO_HEADERS,
                self._source(each), each.written,
            )
            for each in page.records
        ]  # fmt: skip

    def batches(self, page: Page) -> Iterator[Batch]:
        """The same as columns: one batch for records that follow one another, of one source."""
        run: list[RecordData] = []
        source: Source | None = None
        for each in page.records:
            its = self._source(each)
            if run and (its is not source or each.offset != run[-1].offset + 1):
                yield _batch(run, source)
                run = []
            run.append(each)
            source = its
        if run:
            yield _batch(run, source)

    def _source(self, record: RecordData) -> Source:
        origin = record.origin
        if origin is None:
            key = (self._name, 0, record.writer)
        else:
            key = (origin.stream, origin.offset - record.offset, record.writer)
        found = self._sources.get(key)
        if found is None:
            if len(self._sources) > 1000:
                self._sources.clear()
            found = self._sources[key] = Source(*key)
        return found


def _batch(run: list[RecordData], source: Source | None) -> Batch:
    assert source is not None
    payloads = [each.payload for each in run]
    headers = encode_all([each.headers or None for each in run], len(run))
    if not any(each.headers for each in run):
        headers = None
    times = [each.timestamp for each in run]
    written = [each.written for each in run]
    columns = Columns(payloads, measure(payloads), times, headers, written, source.writer)
    first = run[0].offset
    data = b"".join(encode_chunk(0, first + source.shift, columns))
    chunk = Chunk(data, 0, "records of a server")
    return Batch(chunk, 0, chunk.count, first, source)
