"""`transit read`: the records of streams, whole or in part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import click

from transit import Batch, Log, OffsetError
from transit.cli.opening import Session
from transit.cli.options import POSITION, store_options
from transit.cli.positions import has_records, offset_in
from transit.cli.records import payload_bytes, print_batches, record_lines
from transit.cli.values import Place

Form = Callable[[str, Batch], Iterator[bytes]]


@click.command()
@click.argument("places", metavar="STREAM[@OFFSET[:STOP]]…", nargs=-1, required=True, type=POSITION)
@click.option("--raw", "form", flag_value="raw", help="Payloads alone, a newline after each.")
@click.option("--null", "form", flag_value="null", help="Payloads alone, a NUL after each.")
@click.option("--values", "form", flag_value="values", help="Payloads that are JSON as `value`.")
@click.option("--limit", type=click.IntRange(min=0), help="At most so many records in all.")
@store_options
def command(
    context: Session, places: tuple[Place, ...], form: str | None, limit: int | None
) -> None:
    """Print records: all of STREAM, from OFFSET on, or from OFFSET to before STOP.

    An OFFSET below 0 counts from the end. A stream whose name itself ends in @ and digits is named
    whole with @0 behind it.
    """
    printed = _form(form)
    with context.open_read() as log:
        for place in places:
            start, stop = _range(log, place, limit)
            batches = log.stream(place.stream).batches(start, stop)
            print_batches(context.output, place.stream, batches, printed)
            if limit is not None:
                limit -= max(stop - start, 0)


def _form(form: str | None) -> Form | None:
    if form == "values":
        return partial(record_lines, values=True)
    if form is None:
        return None
    end = b"\n" if form == "raw" else b"\0"
    return lambda _, batch: payload_bytes(batch, end)


def _range(log: Log, place: Place, limit: int | None) -> tuple[int, int]:
    stream = log.stream(place.stream)
    start = stream.first_offset if place.offset is None else offset_in(stream, place.offset)
    head = stream.next_offset
    if start > head:
        raise OffsetError(f"{stream.name} has no offset {start}; {has_records(head)}")
    if place.stop is not None and place.stop < start:
        raise click.UsageError(f"a range ends before it begins: {start}:{place.stop}")
    stop = head if place.stop is None else min(place.stop, head)
    return start, stop if limit is None else min(stop, start + limit)
