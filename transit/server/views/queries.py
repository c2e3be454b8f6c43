"""SQL of clients: which records it is about, within which limits, and what it gives.

A client names streams, or patterns. A stream that it names and may not read refuses the query, as
everywhere; a pattern, or none, means those of them that it may read. What is chosen is settled
before the engine sees the query, which runs in a process that has nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from transit import InvalidInputError, Stream, TransitError
from transit.protocol.calls import UID_PREFIX
from transit.protocol.views import SqlRequest
from transit.server.access import READ, Grant
from transit.server.api.naming import check_reader, find
from transit.server.asgi import Request
from transit.server.refusals import NO_STORE, RefusedError
from transit.server.views.serving import Views
from transit.views.scans.choosing import COMMIT_PREFIX, At
from transit.views.scans.declaring import Columns, columns_of
from transit.views.scans.querying import EVENTS, Found, Limits, check_tables
from transit.views.scans.runs import runs_columns
from transit.views.state import State
from transit.views.stopping import Stop
from transit.views.tables import TableState
from transit.views.view import View

if TYPE_CHECKING:
    from transit.views.scans.apart import Apart
    from transit.views.scans.querying import Source
    from transit.views.scans.scanning import Scan

RECORDS: Final = "records"
THREADS: Final = 2
"""Of the engine, for one query."""
_SPECIAL: Final = re.compile(r"[*?\[]")


class Queries:
    """Queries of one served store; for one event loop."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._settings = views.service.settings
        count = self._settings.sql_queries_max
        self._pool = ThreadPoolExecutor(count, "transit-server-sql")
        self._apart: Apart | None = None
        self._waiting = 0

    @property
    def is_served(self) -> bool:
        """Whether queries are answered."""
        return self._settings.sql and not _lacks_engine()

    def close(self) -> None:
        """End the threads and processes."""
        if self._apart is not None:
            self._apart.close()
        self._pool.shutdown()
        if self._apart is not None:
            self._apart.close()

    async def run(self, request: Request | None, grant: Grant, asked: SqlRequest) -> Found:
        """What a query gives; `RefusedError` and `TransitError` where it gives nothing."""
        self._check(grant)
        view = None if asked.view is None else self._views.find(grant, asked.view)
        if (view is None) is not (asked.stream is None):
            raise InvalidInputError("view and stream go together: whose state of which view")
        seconds = self._settings.sql_s
        if asked.seconds_max is not None:
            seconds = min(seconds, asked.seconds_max)
        if self._waiting >= self._settings.sql_waiting_max:
            raise RefusedError(503, "too many queries wait", ((b"retry-after", b"1"), NO_STORE))
        self._waiting += 1
        try:
            if self._apart is None:
                self._apart = await self._views.service.read(_apart)
            apart = self._apart
            return await self._views.work(
                request,
                lambda stop: self._run(apart, grant, asked, view, stop),
                seconds,
                self._pool,
            )
        finally:
            self._waiting -= 1

    def _check(self, grant: Grant) -> None:
        if not self._settings.sql:
            raise RefusedError(501, "this server answers no SQL", (NO_STORE,))
        if _lacks_engine():
            raise RefusedError(501, "the server needs: pip install 'transit[sql]'", (NO_STORE,))
        check_reader(grant)

    def _run(
        self, apart: Apart, grant: Grant, asked: SqlRequest, view: View | None, stop: Stop
    ) -> Found:
        if stop.is_late:
            raise RefusedError(503, "too many queries run", ((b"retry-after", b"1"), NO_STORE))
        limits = self._limits(asked)
        scans = self._records(grant, asked, view)
        numbered, sources = tuple(scans), _sources(scans)
        if view is not None and asked.stream is not None:
            tables = self._tables(grant, view, asked, stop)
            for name in numbered:
                check_tables(name, tables)
            sources |= tables
        return apart.run(asked.query, sources, numbered, limits, stop, asked.limit)

    def _limits(self, asked: SqlRequest) -> Limits:
        settings = self._settings
        rows_max = settings.sql_rows_max
        return Limits(
            memory_bytes_max=settings.sql_memory_bytes_max,
            threads=THREADS,
            seconds_max=settings.sql_s if asked.seconds_max is None else asked.seconds_max,
            rows_max=rows_max if asked.rows_max is None else min(rows_max, asked.rows_max),
            bytes_max=settings.sql_bytes_max,
        )

    # Which records

    def _records(self, grant: Grant, asked: SqlRequest, view: View | None) -> dict[str, Scan]:
        # Loaded here: pyarrow is an extra and slow to load.
        from transit.views.scans.scanning import scan

        columns = _columns(asked)
        name = EVENTS if columns is None else columns.name
        at = None if view is not None else _at(asked.at)
        streams = list(self._streams(grant, asked.streams))
        log = self._views.log

        def scanned(columns: Columns | None) -> Scan:
            return scan(log, columns, streams=streams, at=at, since=asked.since, until=asked.until)

        found = {name: scanned(columns)}
        if name.lower() != RECORDS:
            found[RECORDS] = found[name] if columns is None else scanned(None)
        return found

    def _streams(self, grant: Grant, names: Iterable[str] | None) -> Iterator[Stream]:
        log = self._views.log
        if names is None:
            yield from (each for each in log.streams() if grant.allows(READ, each.name))
            return
        for name in names:
            special = None if name.startswith(UID_PREFIX) else _SPECIAL.search(name)
            if special is None:
                yield find(log, grant, READ, name)
            elif grant.allows(READ, name) and name in log:
                # A name may hold what a pattern is told by.
                yield log.stream(name)
            else:
                for each in log.streams(name[: special.start()]):
                    if fnmatchcase(each.name, name) and grant.allows(READ, each.name):
                        yield each

    # Tables of a view

    def _tables(self, grant: Grant, view: View, asked: SqlRequest, stop: Stop) -> dict[str, Source]:
        assert asked.stream is not None
        stream = self._views.stream(grant, asked.stream)
        at = _at(asked.at)
        if isinstance(at, datetime):
            at = stream.offset_at(round(at.timestamp() * 1_000_000) * 1_000)
        if not (at is None or isinstance(at, int)):
            raise InvalidInputError("at: of a view, an offset or a time")
        count = len(stream) if at is None else at
        state = self._views.state(view, stream, count, stop)
        return {name: StateTable(table, state) for name, table in state.tables.items()}


def _lacks_engine() -> bool:
    return find_spec("duckdb") is None or find_spec("pyarrow") is None


def _apart() -> Apart:
    # Loaded here: pyarrow is an extra and slow to load.
    from transit.views.scans.apart import Apart

    return Apart()


def _sources(scans: Mapping[str, Scan]) -> dict[str, Source]:
    # Loaded here: pyarrow is an extra and slow to load.
    from transit.views.scans.feeding import feeds

    return dict(feeds(scans))


def _columns(asked: SqlRequest) -> Columns | None:
    if asked.columns is None:
        if asked.table != EVENTS:
            raise InvalidInputError(f"table: without columns it is {EVENTS}")
        return None
    if asked.columns == "runs":
        return runs_columns()
    return columns_of(asked.table, asked.columns)


def _at(asked: int | str | Mapping[str, int] | None) -> At:
    if not isinstance(asked, str) or asked.startswith(COMMIT_PREFIX):
        return asked
    try:
        at = datetime.fromisoformat(asked)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidInputError(
            f"at: an offset, {COMMIT_PREFIX}12, a time such as 2026-12-01T02:00:00Z, or offsets by"
            " stream"
        )
    return at


class StateTable:
    """A table of a state, read as a query asks for its rows."""

    def __init__(
        self, table: TableState, state: State, names: tuple[str, ...] | None = None
    ) -> None:
        self._table, self._state, self._names = table, state, names
        self._failures: list[TransitError] = []

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return self._table.declared.row.fields if self._names is None else self._names

    @property
    def failed(self) -> TransitError | None:
        """What went wrong when rows were read."""
        return self._failures[0] if self._failures else None

    def select(self, names: Iterable[str]) -> StateTable:
        """The same rows with some of the columns."""
        wanted = set(names)
        kept = tuple(each for each in self.columns if each in wanted)
        found = StateTable(self._table, self._state, kept)
        found._failures = self._failures
        return found

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        # Loaded here: pyarrow is an extra and slow to load.
        import pyarrow as pa

        from transit.views.tabular import batches_of  # and here for the same reason

        schema, batches = batches_of(self._table.declared.row, self._table, self.columns)
        reader = pa.RecordBatchReader.from_batches(schema, self._noting(batches))
        return reader.__arrow_c_stream__(requested_schema)

    def _noting(self, batches: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from batches
        except TransitError as error:
            self._failures.append(error)
            raise
