"""`transit sql`: a SELECT over the records of streams."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import click

from transit import Log
from transit.cli.failures import CommandError
from transit.cli.opening import Session
from transit.cli.options import DURATION, SIZE, STREAM, TIME, ParsedType, store_options
from transit.cli.values import parse_moment, parse_place

if TYPE_CHECKING:
    from transit.views.scans.declaring import Columns
    from transit.views.scans.results import Result

QUERY_BYTES_MAX = 1024 * 1024
TYPES = {
    "text": str, "int": int, "float": float, "bool": bool, "time": datetime, "json": object,
}  # fmt: skip


class Moment(NamedTuple):
    """Where to stop: an offset, a commit, a time, or an offset of one stream."""

    offset: int | None = None
    commit: str = ""
    time: int | None = None
    stream: str = ""


def parse_at(text: str) -> Moment:
    """`120`, `commit:7`, `STREAM@120`, or a time as other options take it."""
    if text.isdecimal():
        return Moment(offset=int(text))
    if text.startswith("commit:"):
        return Moment(commit=text)
    try:
        return Moment(time=parse_moment(text))
    except ValueError:
        place = parse_place(text)
        if place.offset is None or place.stop is not None:
            raise ValueError(f"{text!r} is no offset, commit:N, STREAM@OFFSET or time") from None
        return Moment(offset=place.offset, stream=place.stream)


def parse_column(text: str) -> tuple[str, tuple[str, type]]:
    """`NAME`, `NAME=PATH`, `NAME:TYPE` or `NAME=PATH:TYPE`."""
    name, given, path = text.partition("=")
    rest = path if given else name
    before, colon, kind = rest.rpartition(":")
    if not colon or kind not in TYPES:
        before, kind = rest, "text"
    if not given:
        name = before
    return name, (before, TYPES[kind])


AT = ParsedType("at", parse_at)
COLUMN = ParsedType("column", parse_column)


@click.command()
@click.argument("query")
@click.option(
    "--streams", multiple=True, type=STREAM, metavar="NAME",
    help="These alone; run-*: those whose names match. All, unless given.",
)  # fmt: skip
@click.option(
    "--at", "at", multiple=True, type=AT, metavar="WHEN",
    help="As they were: the first N records, commit:N, a time, or STREAM@N (repeatable).",
)  # fmt: skip
@click.option("--since", type=TIME, metavar="TIME", help="Records of then or later; 2h: ago.")
@click.option("--until", type=TIME, metavar="TIME", help="Records before then.")
@click.option(
    "--column", "columns", multiple=True, type=COLUMN, metavar="NAME[=PATH][:TYPE]",
    help="A column of events, instead of those of runs: tokens=usage.input:int.",
)  # fmt: skip
@click.option(
    "--as", "form", type=click.Choice(("csv", "parquet")), help="Write this instead of rows."
)
@click.option("-o", "--output", metavar="FILE", help="Write it there.")
@click.option("--limit", type=click.IntRange(min=1), help="Fail when there are more than N rows.")
@click.option("--timeout", type=DURATION, help="Fail when it takes longer.")
@click.option("--memory", type=SIZE, metavar="BYTES", help="What it may use; else 1GiB.")
@store_options
def command(  # noqa: PLR0913, PLR0917 - each is an option
    context: Session,
    query: str,
    streams: tuple[str, ...],
    at: tuple[Moment, ...],
    since: int | None,
    until: int | None,
    columns: tuple[tuple[str, tuple[str, type]], ...],
    form: str | None,
    output: str | None,
    limit: int | None,
    timeout: float | None,
    memory: int | None,
) -> None:
    """Print the rows that QUERY, one SELECT, gives; - reads it from the standard input.

    Table events has a row a record: _stream, _offset, _time, the columns of recorded runs (event,
    name, status, tokens_in, duration_ns, error_message, …) and _error; DESCRIBE events lists them.
    Table records has the payload as text instead. LAST(x) is x of the record with the highest
    offset. What was decoded of sealed records is kept beside the store.
    """
    if find_spec("duckdb") is None or find_spec("pyarrow") is None:
        raise CommandError("duckdb or pyarrow is missing", hint="pip install 'transit[sql]'")
    if (form == "parquet" and output is None) or (output is not None and form is None):
        raise click.UsageError("--as parquet and -o FILE go together, and -o needs --as")
    if query == "-":
        query = sys.stdin.buffer.read(QUERY_BYTES_MAX + 1).decode("utf-8", "replace")
    # Imported here: `--help` needs no engine.
    from transit.views.scans.querying import Limits, sql
    from transit.views.scans.scanning import scan  # nor this

    limits = Limits(rows_max=limit, seconds_max=timeout)
    if memory is not None:
        limits = Limits(rows_max=limit, seconds_max=timeout, memory_bytes_max=memory)
    chosen = list(streams) or None
    moment, before = _at(at)
    last = before if until is None or (before is not None and before < until) else until
    with _open(context) as log:
        wanted = _columns(dict(columns))
        found = None
        if (served := getattr(log, "views", None)) is not None:
            # The server has the table of payloads too.
            found = served.sql_or_none(
                query, streams=chosen, at=moment, since=since, until=last, columns=wanted,
                view=None, stream=None, limits=limits,
            )  # fmt: skip
        if found is None:
            records = scan(log, streams=chosen, at=moment, since=since, until=last)
            found = sql(
                log, query, streams=chosen, at=moment, since=since, until=last,
                columns=wanted, tables={"records": records}, limits=limits,
            )  # fmt: skip
    _print(context, found, form, output)


def _open(context: Session) -> Log:
    """The store, or where none is configured its remote alone."""
    remote = context.remote()
    if context.configuration.store is None and remote is not None:
        return context.open_place(remote)
    return context.open_read()


def _at(given: tuple[Moment, ...]) -> tuple[int | str | dict[str, int] | None, int | None]:
    """What `at` and `until` are in Python."""
    if len(given) > 1 and not all(each.stream for each in given):
        raise click.UsageError("--at is given twice: only STREAM@OFFSET may be, once a stream")
    offsets = {each.stream: each.offset for each in given if each.offset is not None}
    if len(offsets) == len(given) and all(offsets):
        return offsets or None, None
    (one,) = given
    return one.commit or one.offset, one.time


def _columns(given: Mapping[str, tuple[str, type]]) -> Columns:
    # Imported here: `--help` needs no engine.
    from transit.views.scans.declaring import columns
    from transit.views.scans.runs import runs_columns  # nor this

    return columns("events", given) if given else runs_columns()


def _print(context: Session, found: Result, form: str | None, output: str | None) -> None:
    if form is None:
        context.output.rows("", found.columns, found)
        return
    # Imported here: pyarrow is an extra, and only files need these.
    import pyarrow.csv
    import pyarrow.parquet  # nor this

    if output is None:
        with click.open_file("-", "wb") as file:
            pyarrow.csv.write_csv(found.to_arrow(), file)
    elif form == "csv":
        pyarrow.csv.write_csv(found.to_arrow(), output)
    else:
        pyarrow.parquet.write_table(found.to_arrow(), output)
