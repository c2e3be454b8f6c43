"""`transit publish`: what the remote lacks, brought there."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import place_argument, store_options


@click.command()
@place_argument
@store_options
def command(context: Session) -> None:
    """Seal what was written, and bring to the remote what it lacks.

    Interrupted and called again, it goes on where it stopped.
    """
    if context.is_served:
        with context.open_write() as log:
            context.output.row(log.publish())
        return
    context.required_remote()
    with (
        context.open_write(create=False, remote=True) as log,
        context.output.progress("publish") as report,
    ):
        published = log.publish(report)
    context.output.row(published)
