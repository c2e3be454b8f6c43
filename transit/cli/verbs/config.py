"""`transit config`: the configuration in effect, key by key, and where each value comes from."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import store_options

COLUMNS = ("key", "value", "source")


@click.command()
@store_options
def command(context: Session) -> None:
    """Print every setting with its value, and where the value comes from.

    Defaults are overridden by the nearest transit.toml, that by TRANSIT_… variables, and those by
    options. Addresses are printed without what may be a secret.
    """
    context.output.rows("", COLUMNS, context.configuration.rows())
