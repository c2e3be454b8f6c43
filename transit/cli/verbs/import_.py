"""`transit import`: streams from what `transit export` wrote, and runs from other tools' files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import click

from transit import InvalidInputError
from transit.cli.export_lines import opened
from transit.cli.importing import Importer, Plan
from transit.cli.opening import Session
from transit.cli.options import store_options
from transit.cli.standard import STDIN
from transit.trace.files.importing import FORMATS, detect_format, import_file
from transit.trace.files.source import Source

COLUMNS = ("stream", "kind", "records", "own", "frames")
FILE_COLUMNS = ("file", "format", "runs", "added", "there", "records", "raw", "skipped")
EXPORT = "transit"


@click.command()
@click.argument("files", metavar="[FILE…|-]", nargs=-1)
@click.option(
    "--from",
    "form",
    type=click.Choice([EXPORT, *FORMATS]),
    help="The format of the files; else it is found out.",
)
@click.option("--into", "prefix", default="", metavar="PREFIX", help="Put before every name.")
@click.option("--new-uids", is_flag=True, help="Make streams of their own: copies.")
@click.option("--skip-bad", is_flag=True, help="Of other tools' files: leave out what is bad.")
@store_options
def command(
    context: Session,
    files: tuple[str, ...],
    form: str | None,
    prefix: str,
    new_uids: bool,
    skip_bad: bool,
) -> None:
    """Append the streams of FILE, or of the standard input; its format is found out.

    Everything is checked before anything is appended: the links of a chain, offsets, counts, and
    that no stream is there already, under this name or another: a stream keeps the uid that it
    was exported with.

    Files of other tools become runs, named after the file. One that was imported before adds
    nothing, or what it has grown by. What is bad in one is told with its place; with --skip-bad it
    is left out and counted.
    """
    formats = {path: _format_of(path, form) for path in dict.fromkeys(files or (STDIN,))}
    exports = [path for path, found in formats.items() if found == EXPORT]
    others = {path: found for path, found in formats.items() if found != EXPORT}
    if new_uids and others:
        raise click.UsageError(f"--new-uids is for exports; {min(others)} is none")
    if skip_bad and exports:
        raise click.UsageError(f"--skip-bad is for other tools' files; {min(exports)} is none")
    if exports:
        _import_exports(context, exports, prefix, new_uids)
    if others:
        _import_files(context, others, prefix, skip_bad)


def _format_of(path: str, form: str | None) -> str:
    """The format of a file; what is of no other tool's is taken for an export."""
    if form is not None:
        if path == STDIN and form != EXPORT:
            raise click.UsageError(f"{form} is read from a file, not from the standard input")
        return form
    if path == STDIN or not os.path.isfile(path):
        return EXPORT
    try:
        return detect_format(Source(path))
    except InvalidInputError:
        # The import of exports says what is wrong with it.
        return EXPORT


def _import_exports(context: Session, files: Sequence[str], prefix: str, new_uids: bool) -> None:
    limit = context.configuration.settings.record_bytes_max
    plan = Plan(prefix, new_uids=new_uids)
    rows: list[dict[str, object]] = []
    with ExitStack() as stack:
        sources = [stack.enter_context(opened(path)) for path in files]
        plan.read(sources, limit)
        log = stack.enter_context(context.open_write())
        plan.check_against(log)
        try:
            rows.extend(Importer(log, plan).run(sources))
        finally:
            if rows:
                # One sync for all of them; without it none is acknowledged.
                log.sync(log.durability if log.durability in ("tiered", "replicated") else "local")
                context.output.rows("", COLUMNS, rows)


def _import_files(context: Session, files: dict[str, str], prefix: str, skip_bad: bool) -> None:
    """Import other tools' files one after the other; those before a bad one stay."""
    rows: list[dict[str, object]] = []
    with context.open_write() as log:

        def imported() -> Iterator[dict[str, object]]:
            for path, form in files.items():
                done = import_file(log, path, format=form, prefix=prefix, skip_bad=skip_bad)
                yield {
                    "file": done.path, "format": done.format, "runs": len(done.runs),
                    "added": done.added, "there": done.there, "records": done.records,
                    "raw": done.raw, "skipped": done.skipped, "streams": list(done.runs),
                    "problems": list(done.problems),
                }  # fmt: skip

        try:
            rows.extend(imported())
        finally:
            if rows:
                log.sync(log.durability if log.durability in ("tiered", "replicated") else "local")
                context.output.rows("", FILE_COLUMNS, rows)
