"""`transit takeovers`: what a store's history says of takeovers."""

from __future__ import annotations

import click

import transit
from transit.cli.opening import Session
from transit.cli.options import place_argument, store_options
from transit.cli.standbys import takeover_row

COLUMNS = ("commit", "at", "by", "reason", "records", "written", "missed_records")


@click.command()
@place_argument
@store_options
def command(context: Session) -> None:
    """List the takeovers, oldest first: from where, by whom, why, and what each missed.

    What one missed is counted when the writer that it fenced off is rebased; empty until then.
    """
    with context.open_read() as log:
        context.output.rows("takeovers", COLUMNS, map(takeover_row, transit.takeovers(log)))
