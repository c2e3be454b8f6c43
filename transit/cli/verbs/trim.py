"""`transit trim`: a stream begins at a later offset."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import STREAM, TIME, store_options
from transit.cli.removals import BASIS, tell_deletion


@click.command()
@click.argument("stream", type=STREAM)
@click.option("--before", type=click.IntRange(min=0), help="The offset that is its first then.")
@click.option("--older-than", type=TIME, help="Records written before; a duration, or a time.")
@click.option("--reason", default="", help="Kept with it.")
@BASIS
@click.option("--dry-run", is_flag=True, help="Say what would go and what is in the way.")
@store_options
def command(
    context: Session,
    stream: str,
    before: int | None,
    older_than: int | None,
    reason: str,
    basis: str,
    dry_run: bool,
) -> None:
    """Let STREAM begin later: records before are gone for readers. Offsets stay what they are.

    `transit erase` frees the bytes, of whole chunks.
    """
    if (before is None) == (older_than is None):
        raise click.UsageError("give --before or --older-than")
    with context.open_write(create=False) as log:
        found = log.stream(stream)
        place = found.offset_at(older_than) if older_than is not None else before or 0
        done = found.trim(before=place, reason=reason, basis=basis, dry_run=dry_run)
    tell_deletion(context.output, done, dry_run)
