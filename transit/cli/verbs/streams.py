"""`transit streams`: which streams there are."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options

COLUMNS = ("stream", "kind", "records", "finished", "parents", "metadata")


@click.command()
@click.argument("prefix", default="", type=STREAM)
@click.option("--hidden", is_flag=True, help="Those that are hidden, instead of the others.")
@store_options
def command(context: Session, prefix: str, hidden: bool) -> None:
    """List the streams whose names begin with PREFIX, in order of creation.

    With a PREFIX of $ those of layers, such as artifacts.
    """
    with context.open_read() as log:
        count = context.output.rows(
            "",
            COLUMNS,
            (
                {
                    "stream": stream.name,
                    "uid": stream.uid,
                    "kind": stream.kind,
                    "records": stream.next_offset,
                    "finished": stream.finished,
                    "parents": stream.parents,
                    "metadata": stream.metadata,
                }
                for stream in (log.hidden(prefix) if hidden else log.streams(prefix))
            ),
        )
    context.output.text(f"{count} streams")
