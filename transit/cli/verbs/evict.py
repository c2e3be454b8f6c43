"""`transit evict`: local segments that are published make room."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import DURATION, SIZE, place_argument, store_options


@click.command()
@place_argument
@click.option("--bytes-max", type=SIZE, help="Until local segments take no more; oldest first.")
@click.option("--older-than", type=DURATION, help="Those whose records are all older.")
@store_options
def command(context: Session, bytes_max: int | None, older_than: float | None) -> None:
    """Drop local segments that are published; reads fetch them from the remote from then on."""
    if bytes_max is None and older_than is None:
        raise click.UsageError("give --bytes-max, --older-than, or both")
    context.check_folder("evict")
    context.required_remote(join=True)
    with context.open_write(create=False, remote=True) as log:
        evicted = log.evict(bytes_max=bytes_max, older_than=older_than)
    context.output.row(evicted)
