"""`transit mcp`: the store as tools of an agent, on standard input and output."""

from __future__ import annotations

from importlib.util import find_spec

import click

from transit.cli.failures import CommandError
from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options


@click.command()
@click.option("--write", "writes", is_flag=True, help="Tools that append, fork and merge too.")
@click.option("--prefix", type=STREAM, default="", help="Only streams whose names begin so.")
@click.option(
    "--views", "places", multiple=True, metavar="MODULE[:NAME]",
    help="Tables of the views, too, that this module or FILE.py declares.",
)  # fmt: skip
@store_options
def command(context: Session, writes: bool, prefix: str, places: tuple[str, ...]) -> None:
    """Serve the store to one agent by the Model Context Protocol.

    A host of agents starts this command and talks to it on its standard input and output. Nothing
    is written without --write.
    """
    if find_spec("mcp") is None:
        raise CommandError("this needs the package mcp", hint="pip install 'transit[mcp]'")
    opened = context.open_write(create=False) if writes else context.open_read()
    with opened as log:
        # Loaded here: it is an extra, and takes longer to load than all of transit.
        from transit.server.mcp.standard import serve
        from transit.views.loading import load_all  # for the same reason

        declared = load_all(places or context.configuration.views)
        serve(log, prefix, writes=writes, declared=declared)
