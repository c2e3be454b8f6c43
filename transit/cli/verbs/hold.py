"""`transit hold`: nobody may delete a stream."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options


@click.command()
@click.argument("stream", type=STREAM)
@click.option("--reason", help="Place a hold; without, the holds are listed.")
@click.option("--release", metavar="REASON", help="End the hold with this reason.")
@store_options
def command(context: Session, stream: str, reason: str | None, release: str | None) -> None:
    """Let nobody delete or trim STREAM, whatever they ask, until the hold is released."""
    if reason is not None and release is not None:
        raise click.UsageError("give --reason or --release")
    if reason is None and release is None:
        with context.open_read() as log:
            context.output.row({"stream": stream, "holds": log.stream(stream).holds})
        return
    with context.open_write(create=False) as log:
        found = log.stream(stream)
        if reason is not None:
            found.hold(reason)
        else:
            found.release_hold(release or "")
        context.output.row({"stream": stream, "holds": found.holds})
