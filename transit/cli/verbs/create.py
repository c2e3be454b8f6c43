"""`transit create`: new, empty streams, all of them or none."""

from __future__ import annotations

import click

from transit.cli.opening import Session
from transit.cli.options import HEADER, STREAM, pairs, store_options

COLUMNS = ("stream", "kind", "codec", "metadata")


@click.command()
@click.argument("streams", metavar="STREAM…", nargs=-1, required=True, type=STREAM)
@click.option("--meta", "metadata", multiple=True, type=HEADER, help="Metadata, kept as text.")
@click.option("--codec", type=click.Choice(["json"]), help="How programs encode typed values.")
@click.option(
    "--protect", metavar="stream|subject:TEXT",
    help="In an encrypted store: a key that is destroyed with these streams' records.",
)  # fmt: skip
@store_options
def command(
    context: Session,
    streams: tuple[str, ...],
    metadata: tuple[tuple[str, str], ...],
    codec: str | None,
    protect: str | None,
) -> None:
    """Make each STREAM, and the store if there is none; all in one atomic frame, or none."""
    facts = pairs(metadata)
    with context.open_write() as log, log.batch() as batch:
        for name in streams:
            batch.create(name, facts, codec=codec, protect=protect)
    context.output.rows(
        "",
        COLUMNS,
        ({"stream": name, "kind": "root", "codec": codec, "metadata": facts} for name in streams),
    )
