"""`transit export`: streams as JSON lines or a hash-linked chain, runs as other tools' files."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Final

import click

from transit.cli.exporting import (
    all_streams,
    export_streams,
    with_ancestors,
    with_what_is_about,
)
from transit.cli.exports import iceberg_options, iceberg_table, print_export
from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options

if TYPE_CHECKING:
    from transit.fleet import Iceberg

OWN_FORMS: Final = ("jsonl", "chain")
# Those of `transit.trace.files.EXPORTS`, which is loaded where one is asked for; a test compares.
RUN_FORMS: Final = ("otlp", "openinference", "atif", "messages", "inspect", "parquet")
_READ_BYTES: Final = 1024 * 1024


@click.command()
@click.argument("streams", metavar="[STREAM…]", nargs=-1, type=STREAM)
@click.option("--all", "everything", is_flag=True, help="Every stream, with the lineage.")
@click.option(
    "--lineage", is_flag=True, help="With their ancestors, and the notes on them, as such."
)
@click.option(
    "--as", "form", type=click.Choice([*OWN_FORMS, *RUN_FORMS]), default="jsonl",
    help="JSON lines, lines linked by their BLAKE3 hashes, or a run in another tool's format.",
)  # fmt: skip
@click.option("--parquet", "url", metavar="URL", help="All records, as Parquet files at URL.")
@iceberg_options
@store_options
def command(
    context: Session,
    streams: tuple[str, ...],
    everything: bool,
    lineage: bool,
    form: str,
    url: str | None,
    catalog: str | None,
    table: str | None,
) -> None:
    """Write streams to the standard output, for `transit import`, or a run for another tool.

    Each STREAM is written whole, with all it inherits. With --all or --lineage each has its own
    records, and branches and merges are made again when they are imported. The notes on runs come
    along. With --all the streams of layers do, such as artifacts, but for those that can be made
    again.

    For another tool one run is written, with its child runs where the format has a place for them:
    OTLP's JSON by OpenTelemetry's conventions or OpenInference's, ATIF, a list of messages, an
    Inspect log (.eval), or a Parquet table.

    --parquet writes what was sealed since the last export to URL, a folder or a bucket, as files
    there, for engines that read tables. What was deleted or hidden since goes from the files. With
    --iceberg a table of a catalog has the same files afterwards, by one commit.
    """
    iceberg = iceberg_table(catalog, table)
    if url is not None:
        if streams or everything or lineage or form != "jsonl":
            raise click.UsageError("--parquet writes all streams, and takes only --iceberg along")
        _export_store(context, url, iceberg)
        return
    if iceberg is not None:
        raise click.UsageError("--iceberg goes with --parquet URL, where the files are")
    if form in RUN_FORMS:
        if len(streams) != 1 or everything or lineage:
            raise click.UsageError(f"--as {form} writes one run: name one stream")
        _export_run(context, streams[0], form)
        return
    if everything == bool(streams):
        raise click.UsageError("name streams, or give --all")
    with context.open_read() as log:
        named = dict.fromkeys(streams)
        chosen = all_streams(log) if everything else [log.stream(name) for name in named]
        if lineage and not everything:
            chosen = with_what_is_about(log, with_ancestors(log, chosen))
        for part in export_streams(chosen, form, lineage or everything):
            context.output.raw(part)


def _export_store(context: Session, url: str, iceberg: Iceberg | None) -> None:
    # Loaded here: it is for few exports.
    from transit.fleet import of_store

    context.check_folder("export --parquet")
    place = context.store()
    store = of_store(
        place,
        storage_options=context.storage_options(place),
        settings=context.configuration.settings,
        keyring=context.keyring,
    )
    print_export(context, store, url, iceberg=iceberg)


def _export_run(context: Session, stream: str, form: str) -> None:
    # Loaded here: exports of streams need nothing of runs.
    from transit.trace.files.exporting import write_export

    # Whole before anything of it is printed: what fails leaves no half of a file.
    with context.open_read() as log, tempfile.TemporaryFile() as file:
        write_export(log, stream, file, form)
        file.seek(0)
        while part := file.read(_READ_BYTES):
            context.output.raw(part)
