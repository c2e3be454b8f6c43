"""`transit gc`: what a store does not need."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import place_argument, store_options

COLUMNS = ("kind", "place", "bytes")


@click.command()
@place_argument
@click.option("--dry-run/--apply", "dry_run", default=True, help="Only list it, or remove it.")
@store_options
def command(context: Session, dry_run: bool) -> None:
    """List files and objects that no commit names, old snapshots, and diverged folders.

    With a remote, what is not published is published first.
    """
    context.check_folder("gc")
    remote = context.remote is not None
    with context.open_write(create=False, remote=remote) as log:
        found = log.gc(dry_run=dry_run)
    context.output.rows("removed" if not dry_run else "not needed", COLUMNS, found)
