"""`transit seal`: from the write-ahead log to an immutable segment and a commit."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import place_argument, store_options


@click.command()
@place_argument
@store_options
def command(context: Session) -> None:
    """Turn what was written into an immutable segment and a commit, now."""
    with context.open_write(create=False) as log:
        before = log.status().commits
        log.seal()
        after = log.status()
    context.output.row(
        {
            "commits": after.commits - before,
            "commits_total": after.commits,
            "segments_total": after.segments,
            "head": after.head,
        }
    )
