"""`transit streams`: which streams there are."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options

COLUMNS = ("stream", "kind", "records", "parents", "metadata")


@click.command()
@click.argument("prefix", default="", type=STREAM)
@store_options
def command(context: Session, prefix: str) -> None:
    """List the streams whose names begin with PREFIX, in order of creation."""
    with context.open_read() as log:
        count = context.output.rows(
            "",
            COLUMNS,
            (
                {
                    "stream": stream.name,
                    "kind": stream.kind,
                    "records": stream.next_offset,
                    "parents": stream.parents,
                    "metadata": stream.metadata,
                }
                for stream in log.streams(prefix)
            ),
        )
    context.output.text(f"{count} streams")
