"""`sql`: a query over the records of streams, and over tables that are given.

Owns the engine, in memory, and the connection that one query has of it. It reads no file, opens no
socket, loads no extension and looks up no variable of the program; what it may use is bounded by
`Limits`. Which streams and which of their records there are was settled before, so a
query cannot ask for others.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec

from transit import InvalidInputError, Log, Stream, TransitError
from transit.views.scans.choosing import At, Streams, Time
from transit.views.scans.declaring import Columns
from transit.views.scans.fields import OFFSET, check_name
from transit.views.scans.lasts import lasts_name
from transit.views.scans.statements import QUERY_BYTES_MAX, Statement, checked

if TYPE_CHECKING:
    import pyarrow

    from transit.views.scans.results import Result
    from transit.views.scans.scanning import Scan

MIB: Final = 1024 * 1024
EVENTS: Final = "events"
Table: TypeAlias = "pyarrow.Table | Scan | Callable[[], pyarrow.Table]"
"""An Arrow table, what gives one when it is asked for, or a scan: records once more."""

# Engines kept, one for each pair of memory and threads.
_ENGINES: Final = 4
_SETTINGS: Final = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    # What does not fit into memory is refused, and goes to no disk.
    "temp_directory": "",
    "lock_configuration": "true",
}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one query may use; `InvalidInputError` for a query that needs more.

    memory_bytes_max: of the engine, for sorting, joining and grouping; queries of one process that
    run at the same time with the same limits have it together, and the threads. threads: None: one
    for each processor. seconds_max: how long it may run; None: as long as it takes. rows_max,
    bytes_max: of the result, its bytes as Arrow holds them; None: any number.
    """

    memory_bytes_max: int = 1024 * MIB
    threads: int | None = None
    seconds_max: float | None = None
    rows_max: int | None = None
    bytes_max: int | None = None

    def __post_init__(self) -> None:
        if self.memory_bytes_max < 16 * MIB:
            raise InvalidInputError("limits: memory_bytes_max must be at least 16 MiB")
        for name in ("threads", "seconds_max", "rows_max", "bytes_max"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidInputError(f"limits: {name} must be more than 0, not {value!r}")


NO_LIMITS: Final = Limits()


class Viewed(Protocol):
    """A view, as far as a query reads it: tables of what streams come to."""

    def of(self, stream: Stream | str, *, at: Any = None) -> Any:
        """Its state for a stream: an attribute for each of `tables`, with `to_arrow()`."""


def sql(  # noqa: PLR0913 - as many things are chosen
    log: Log,
    query: str,
    *,
    streams: Streams = None,
    at: At = None,
    since: Time | None = None,
    until: Time | None = None,
    columns: Columns | None = None,
    tables: Mapping[str, Table] | None = None,
    view: Viewed | None = None,
    stream: Stream | str | None = None,
    limits: Limits = NO_LIMITS,
) -> Result:
    """The rows that a SELECT gives, by DuckDB, over records and tables.

    query: one SELECT. Records are the table `events`, or as `columns` names it. `LAST(x)` is x of
    the record with the highest offset; over several streams, group by `_stream`.
    streams, at, since, until: which records there are; see `scan`. columns: made by
    `views.columns`; None: `_kind` and `payload`. tables: others by name. view, stream: the tables
    of a view's state for that stream, at `at`, by their names; then `at` is for these alone.
    Over `transit.connect` the server runs the query, under its own limits too, unless it needs
    what is here: tables, or columns or a view that only this program knows.
    Raises `InvalidInputError` for a query that is wrong, not allowed or over a limit; what reading
    raises; `ImportError` without the extra `sql`.
    """
    elsewhere = getattr(log, "views", None)
    if elsewhere is not None and not tables:
        served: Result | None = elsewhere.sql_or_none(
            query, streams=streams, at=at, since=since, until=until, columns=columns, view=view,
            stream=stream, limits=limits,
        )  # fmt: skip
        if served is not None:
            return served
    # Loaded here because pyarrow is an extra and slow to load.
    from transit.views.scans.scanning import scan

    given = dict(tables or {}) | _tables_of(view, stream, at)
    events = scan(
        log, columns, streams=streams, at=None if view is not None else at, since=since, until=until
    )
    name = EVENTS if columns is None else columns.name
    check_tables(name, given)
    found = Query(limits).run(query, *_fed({name: events, **given}))
    # Loaded here because pyarrow is an extra and slow to load.
    from transit.views.scans.results import Result

    return Result(found.table)


def check_tables(name: str, others: Iterable[str]) -> None:
    """`InvalidInputError` where the table of records, `name`, is named as another, or wrongly."""
    if name.lower() in {check_name(each, "a table's name").lower() for each in others}:
        raise InvalidInputError(f"two tables are named {name!r}")


def _fed(tables: Mapping[str, Table]) -> tuple[dict[str, Source], dict[str, Table]]:
    """Tables of records, read as a query needs them, and the others."""
    # Loaded here because pyarrow is an extra and slow to load.
    from transit.views.scans.feeding import feeds
    from transit.views.scans.scanning import Scan  # and here for the same reason

    scans = {name: each for name, each in tables.items() if isinstance(each, Scan)}
    others = {name: each for name, each in tables.items() if name not in scans}
    return dict(feeds(scans)), others


def _tables_of(view: Viewed | None, stream: Stream | str | None, at: At) -> dict[str, Table]:
    if view is None:
        if stream is not None:
            raise InvalidInputError("stream= is for a view: name the streams with streams=")
        return {}
    if stream is None:
        raise InvalidInputError("a view has a state for each stream: say which with stream=")
    state = view.of(stream) if at is None else view.of(stream, at=at)
    names = getattr(view, "tables", ())
    return {name: getattr(state, name).to_arrow for name in names}


class Source(Protocol):
    """A table whose rows come as they are read, as an Arrow stream, as often as one is asked for.

    failed: what ended one of them early.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""

    @property
    def failed(self) -> TransitError | None:
        """What went wrong below the engine."""

    def select(self, names: Iterable[str]) -> Source:
        """The same rows with some of the columns."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


class Found(NamedTuple):
    """What a query gives. is_cut: there are more rows than were wanted."""

    table: pyarrow.Table
    is_cut: bool


class Query:
    """One connection, for one query."""

    def __init__(self, limits: Limits) -> None:
        # Loaded here because duckdb is an extra and slow to load.
        import duckdb

        self._errors: Any = duckdb
        self._limits = limits
        # What a connection registers, others do not see; an engine takes long to make.
        self._connection = _engine(os.getpid(), limits.memory_bytes_max, limits.threads).cursor()

    def run(
        self,
        query: str,
        sources: Mapping[str, Source],
        tables: Mapping[str, Table],
        *,
        numbered: Collection[str] | None = None,
        wanted: int | None = None,
    ) -> Found:
        """What `query` gives over these tables.

        numbered: those that have records, whose LAST goes by `_offset`; None: all of the sources.
        wanted: so many rows are enough. A source that is named as `lasts_name` does has the last
        record of each stream of another.
        """
        lasts = {name: lasts_name(name) for name in sources if lasts_name(name) in sources}
        named = [name for name in sources if name not in lasts.values()]
        try:
            statement = self._statement(
                query, named if numbered is None else numbered, [*named, *tables], lasts
            )
            for name, table in tables.items():
                self._connection.register(name, table() if callable(table) else table)
            return self._limited(partial(self._read, statement, sources, wanted))
        except self._errors.Error as error:
            # What went wrong below the engine is told as it is.
            failed = [each.failed for each in sources.values() if each.failed is not None]
            raise failed[0] if failed else self._told(error) from None
        finally:
            self._connection.close()

    def _told(self, error: Exception) -> InvalidInputError:
        if isinstance(error, self._errors.InterruptException):
            return too_slow(self._limits)
        if isinstance(error, self._errors.OutOfMemoryException):
            return too_hungry(self._limits)
        return InvalidInputError(f"the query: {str(error).strip()}")

    def _statement(
        self,
        query: str,
        numbered: Collection[str],
        tables: Collection[str],
        lasts: Mapping[str, str],
    ) -> Statement:
        if not isinstance(query, str) or not query.strip():
            raise InvalidInputError(f"a query is text, not {query!r}")
        if len(query.encode("utf-8", "surrogatepass")) > QUERY_BYTES_MAX:
            raise InvalidInputError(f"the query: is longer than {QUERY_BYTES_MAX} bytes")
        serialized = self._parsed("SELECT json_serialize_sql(?::VARCHAR)", query)
        return checked(query, serialized, numbered, tables, OFFSET, lasts)

    def _parsed(self, call: str, given: str) -> str:
        # All rows, though there is one: a connection does one thing at a time.
        ((found,),) = self._connection.execute(call, [given]).fetchall()
        return str(found)

    def _read(
        self, statement: Statement, sources: Mapping[str, Source], wanted: int | None
    ) -> Found:
        text = self._parsed("SELECT json_deserialize_sql(?::JSON)", statement.tree)
        # The engine asks what columns a table has when it is named, and that may take long.
        sources = {name: each for name, each in sources.items() if name.lower() in statement.tables}
        if statement.names is not None:
            for name, source in sources.items():
                named = [each for each in source.columns if each.lower() in statement.names]
                one = OFFSET if OFFSET in source.columns else source.columns[0]
                self._connection.register(name, source.select(named or [one]))
            # Columns that are not there are told with all that are.
            with suppress(self._errors.BinderException):
                return self._rows(text, wanted)
        for name, source in sources.items():
            self._connection.register(name, source)
        return self._rows(text, wanted)

    def _limited(self, read: Callable[[], Found]) -> Found:
        seconds = self._limits.seconds_max
        if seconds is None:
            return read()
        timer = threading.Timer(seconds, self._connection.interrupt)
        timer.daemon = True
        timer.start()
        try:
            return read()
        finally:
            timer.cancel()

    def _rows(self, text: str, wanted: int | None) -> Found:
        # Loaded here because pyarrow is an extra and slow to load.
        import pyarrow as pa

        reader = pa.RecordBatchReader.from_stream(self._connection.sql(text))
        batches, count, size = [], 0, 0
        rows_max, bytes_max = self._limits.rows_max, self._limits.bytes_max
        is_cut = False
        for read in reader:
            batch = read
            count += batch.num_rows
            if wanted is not None and count > wanted:
                batch, is_cut = batch.slice(0, batch.num_rows - (count - wanted)), True
            elif rows_max is not None and count > rows_max:
                raise InvalidInputError(f"the query: gives more than {rows_max} rows: add LIMIT")
            size += batch.nbytes
            if bytes_max is not None and size > bytes_max:
                raise InvalidInputError(f"the query: gives more than {bytes_max} bytes: add LIMIT")
            batches.append(batch)
            if is_cut:
                break
        return Found(pa.Table.from_batches(batches, reader.schema), is_cut)


def too_slow(limits: Limits) -> InvalidInputError:
    """The error for a query that takes too long."""
    return InvalidInputError(f"the query: takes more than {limits.seconds_max} s")


def too_hungry(limits: Limits) -> InvalidInputError:
    """The error for a query that needs too much memory."""
    most = limits.memory_bytes_max // MIB
    return InvalidInputError(f"the query: needs more than {most} MiB of memory")


@lru_cache(_ENGINES)
def _engine(process: int, memory_bytes_max: int, threads: int | None) -> Any:
    """An engine of this process, in memory, that nothing is ever kept in."""
    # Loaded here because duckdb is an extra and slow to load.
    import duckdb

    settings = dict(_SETTINGS) | {"memory_limit": f"{memory_bytes_max // MIB}MiB"}
    if threads is not None:
        settings["threads"] = str(threads)
    return duckdb.connect(":memory:", config=settings)
