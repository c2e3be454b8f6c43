"""`transit status`: what the store holds."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import place_argument, store_options
from transit.cli.output import plain


@click.command()
@click.option("--replicas", is_flag=True, help="Ask the configured replicas how far they are.")
@place_argument
@store_options
def command(context: Session, replicas: bool) -> None:
    """Print what the store holds.

    Its remote is only asked when --remote is given; without it what is published is unknown. Its
    replicas are only asked with --replicas.
    """
    if replicas and context.is_served:
        context.check_folder("status --replicas")
    with context.open_read() as log:
        found = log.status()
    status = plain(found)
    if replicas:
        status["replicas"] = [plain(each) for each in context.replicas_now(found.commits)]
    if not status["remote"]:
        status["published"] = None
    context.output.document("", status)
