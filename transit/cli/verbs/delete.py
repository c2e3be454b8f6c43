"""`transit delete`: a stream's records are gone for readers."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options
from transit.cli.removals import BASIS, tell_deletion


@click.command()
@click.argument("stream", type=STREAM)
@click.option("--reason", required=True, help="Kept with it.")
@BASIS
@click.option("--cascade", is_flag=True, help="What needs its records too, children first.")
@click.option("--dry-run", is_flag=True, help="Say what would go and what is in the way.")
@store_options
def command(
    context: Session, stream: str, reason: str, basis: str, cascade: bool, dry_run: bool
) -> None:
    """Delete STREAM: nobody reads it, and nothing can be made from it any more.

    Its name and metadata stay in the lineage. `transit erase` frees the bytes.
    """
    with context.open_write(create=False) as log:
        done = log.delete(stream, reason=reason, basis=basis, cascade=cascade, dry_run=dry_run)
    tell_deletion(context.output, done, dry_run)
