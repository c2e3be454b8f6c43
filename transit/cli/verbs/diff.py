"""`transit diff`: what two histories have and have not in common."""

from __future__ import annotations

from collections.abc import Iterator

import click

from transit import Difference, HistorySpan, Log, Position, Stream
from transit.cli.opening import Session
from transit.cli.options import POSITION, store_options
from transit.cli.output import Output
from transit.cli.positions import position_of
from transit.cli.records import print_batches
from transit.cli.values import Place

COLUMNS = ("only in", "first", "count", "origin")


@click.command()
@click.argument("left", type=POSITION, metavar="STREAM[@OFFSET]")
@click.argument("right", type=POSITION, metavar="STREAM[@OFFSET]")
@click.option("--records", is_flag=True, help="Print the records too that only one of them has.")
@store_options
def command(context: Session, left: Place, right: Place, records: bool) -> None:
    """Compare two histories, up to and including OFFSET where one is given.

    Records are the same when they were appended at the same place; what they hold is not compared.
    """
    if left.stop is not None or right.stop is not None:
        raise click.UsageError("two streams or positions are compared, not ranges")
    with context.open_read() as log:
        found = log.lineage.diff(_head(log, left), _head(log, right))
        if context.output.tables:
            _explain(context.output, left, right, found)
        else:
            context.output.row(found)
        if records:
            _print(context.output, log.stream(left.stream), found.left)
            _print(context.output, log.stream(right.stream), found.right)


def _head(log: Log, place: Place) -> Stream | Position:
    return log.stream(place.stream) if place.offset is None else position_of(log, place)


def _print(output: Output, stream: Stream, spans: tuple[HistorySpan, ...]) -> None:
    for span in spans:
        print_batches(output, stream.name, stream.batches(span.first, span.first + span.count))


def _explain(output: Output, left: Place, right: Place, found: Difference) -> None:
    output.document(
        "",
        {
            "common records": found.common,
            "nearest common": ", ".join(f"{name}@{offset}" for name, offset in found.bases),
            f"only in {_typed(left)}": sum(span.count for span in found.left),
            f"only in {_typed(right)}": sum(span.count for span in found.right),
        },
    )
    if found.left or found.right:
        rows = [*_rows(_typed(left), found.left), *_rows(_typed(right), found.right)]
        output.rows("", COLUMNS, rows)


def _typed(place: Place) -> str:
    return place.stream if place.offset is None else f"{place.stream}@{place.offset}"


def _rows(name: str, spans: tuple[HistorySpan, ...]) -> Iterator[tuple[object, ...]]:
    for span in spans:
        yield name, span.first, span.count, f"{span.origin.stream}@{span.origin.offset}"
