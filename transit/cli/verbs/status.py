"""`transit status`: what the store holds."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import store_options


@click.command()
@store_options
def command(context: Session) -> None:
    """Print what the store holds. Its remote is only asked when --remote is given."""
    with context.open_read() as log:
        context.output.document("", log.status())
