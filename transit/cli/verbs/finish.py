"""`transit finish`: a stream takes no more records."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options


@click.command()
@click.argument("stream", type=STREAM)
@click.option("--expect", type=click.IntRange(min=0), help="Only if this is its next offset.")
@click.option("--reason", default="", help="Kept with it.")
@store_options
def command(context: Session, stream: str, expect: int | None, reason: str) -> None:
    """Take no more records into STREAM, ever. Reading, branching and merging it go on."""
    with context.open_write(create=False) as log:
        found = log.stream(stream)
        found.finish(expect=expect, reason=reason)
        context.output.row({"stream": stream, "finished": True, "records": found.next_offset})
