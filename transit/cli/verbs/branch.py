"""`transit branch`: a stream that inherits another up to an offset."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import HEADER, POSITION, STREAM, pairs, store_options
from transit.cli.positions import position_of
from transit.cli.values import Place


@click.command()
@click.argument("place", metavar="STREAM[@OFFSET]", type=POSITION)
@click.argument("new", type=STREAM)
@click.option("--meta", "metadata", multiple=True, type=HEADER, help="Metadata, kept as text.")
@store_options
def command(
    context: Session, place: Place, new: str, metadata: tuple[tuple[str, str], ...]
) -> None:
    """Make stream NEW, which inherits STREAM up to and including OFFSET, or all of it.

    Nothing is copied. An OFFSET below 0 counts from the end.
    """
    if place.stop is not None:
        raise click.UsageError(f"{place.stream}: a branch begins at one offset, not at a range")
    facts = pairs(metadata)
    with context.open_write(create=False) as log:
        parent = log.stream(place.stream)
        at = None if place.offset is None else position_of(log, place).offset
        made = parent.branch(new, at, facts)
        context.output.row(
            {
                "stream": made.name,
                "kind": made.kind,
                "parent": parent.name,
                "fork_offset": made.fork_offset,
                "records": made.next_offset,
                "metadata": made.metadata,
            }
        )
