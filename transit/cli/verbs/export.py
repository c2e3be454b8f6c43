"""`transit export`: streams as JSON lines, or as a hash-linked chain."""

from __future__ import annotations

import click

from transit.cli.exporting import all_streams, export_streams, with_ancestors
from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options


@click.command()
@click.argument("streams", metavar="[STREAM…]", nargs=-1, type=STREAM)
@click.option("--all", "everything", is_flag=True, help="Every stream, with the lineage.")
@click.option("--lineage", is_flag=True, help="The streams and their ancestors, as such.")
@click.option(
    "--as", "form", type=click.Choice(["jsonl", "chain"]), default="jsonl",
    help="JSON lines, or lines linked by their BLAKE3 hashes.",
)  # fmt: skip
@store_options
def command(
    context: Session, streams: tuple[str, ...], everything: bool, lineage: bool, form: str
) -> None:
    """Write streams to the standard output, for `transit import`.

    Each STREAM is written whole, with all it inherits. With --all or --lineage each has its own
    records, and branches and merges are made again when they are imported. With --all the streams
    of layers come along, such as artifacts, but for those that can be made again.
    """
    if everything == bool(streams):
        raise click.UsageError("name streams, or give --all")
    with context.open_read() as log:
        named = dict.fromkeys(streams)
        chosen = all_streams(log) if everything else [log.stream(name) for name in named]
        if lineage and not everything:
            chosen = with_ancestors(log, chosen)
        for part in export_streams(chosen, form, lineage or everything):
            context.output.raw(part)
