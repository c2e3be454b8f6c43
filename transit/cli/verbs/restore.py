"""`transit restore`: a store's folder from its remote alone."""

from __future__ import annotations

import re

import click

import transit
from transit import NotFoundError
from transit.cli.configuration import reachable, shown_address
from transit.cli.failures import hinted
from transit.cli.keeping import checkpoint_option
from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options

_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)


@click.command()
@click.argument("address", metavar="REMOTE")
@click.argument("path", type=click.Path(file_okay=False))
@click.option("--lazy", is_flag=True, help="Commits and index only; records when they are read.")
@click.option(
    "--stream",
    "streams",
    type=STREAM,
    multiple=True,
    help="Only what this stream, or layer ($trace/), needs, the rest lazy; may be repeated.",
)
@click.option("--at", metavar="COMMIT", help="As it was after this commit: a number or a root.")
@checkpoint_option
@store_options
def command(
    context: Session,
    address: str,
    path: str,
    lazy: bool,
    streams: tuple[str, ...],
    at: str | None,
    checkpoint: bytes | None,
) -> None:
    """Make PATH the store that is in REMOTE, every byte of it verified.

    Interrupted and called again, it goes on where it stopped. The configured store has no part in
    it.
    """
    hint = f"`transit audit {shown_address(address)}` says what is there"
    with context.output.progress("restore") as report, hinted(NotFoundError, hint):
        restored = transit.restore(
            reachable(address),
            reachable(path),
            lazy=lazy,
            streams=streams or None,
            at=int(at) if at is not None and _NUMBER.fullmatch(at) else at,
            storage_options=context.storage_options(address),
            settings=context.configuration.settings,
            progress=report,
            checkpoint=checkpoint,
            # Names of streams are looked for by its keys; all else is copied as it is.
            keyring=context.keyring if streams else None,
        )
    context.output.row(restored)
