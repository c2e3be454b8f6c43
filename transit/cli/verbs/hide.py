"""`transit hide`: a stream is left out of listings, and its name is free."""

from __future__ import annotations

import click

from transit import NotFoundError
from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options


@click.command()
@click.argument("stream", type=STREAM)
@click.option("--undo", is_flag=True, help="Show the stream of this name that was hidden last.")
@click.option("--reason", default="", help="Kept with it.")
@store_options
def command(context: Session, stream: str, undo: bool, reason: str) -> None:
    """Leave STREAM out of listings and lookups; its name is free for another.

    What descends from it is untouched. `transit streams --hidden` lists what is hidden.
    """
    with context.open_write(create=False) as log:
        if undo:
            named = [found for found in log.hidden(stream) if found.name == stream]
            if not named:
                raise NotFoundError(f"no hidden stream is named {stream!r}")
            found = named[-1]
            log.show(found, reason=reason)
        else:
            found = log.stream(stream)
            log.hide(found, reason=reason)
        context.output.row({"stream": stream, "id": found.id, "hidden": not undo})
