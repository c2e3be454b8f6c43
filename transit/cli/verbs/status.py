"""`transit status`: what the store holds."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import place_argument, store_options
from transit.cli.output import plain


@click.command()
@place_argument
@store_options
def command(context: Session) -> None:
    """Print what the store holds.

    Its remote is only asked when --remote is given; without it what is published is unknown.
    """
    with context.open_read() as log:
        status = plain(log.status())
    if not status["remote"]:
        status["published"] = None
    context.output.document("", status)
