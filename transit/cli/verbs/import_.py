"""`transit import`: streams from what `transit export` wrote."""

from __future__ import annotations

from contextlib import ExitStack

import click

from transit.cli.importing import Importer, Plan, opened
from transit.cli.opening import Session
from transit.cli.options import store_options
from transit.cli.standard import STDIN

COLUMNS = ("stream", "kind", "records", "own", "frames")


@click.command()
@click.argument("files", metavar="[FILE…|-]", nargs=-1)
@click.option("--into", "prefix", default="", metavar="PREFIX", help="Put before every name.")
@click.option("--new-uids", is_flag=True, help="Make streams of their own: copies.")
@store_options
def command(context: Session, files: tuple[str, ...], prefix: str, new_uids: bool) -> None:
    """Append the streams of FILE, or of the standard input; its format is found out.

    Everything is checked before anything is appended: the links of a chain, offsets, counts, and
    that no stream is there already, under this name or another: a stream keeps the uid that it
    was exported with.
    """
    limit = context.configuration.settings.record_bytes_max
    plan = Plan(prefix, new_uids=new_uids)
    rows: list[dict[str, object]] = []
    with ExitStack() as stack:
        sources = [stack.enter_context(opened(path)) for path in files or (STDIN,)]
        plan.read(sources, limit)
        log = stack.enter_context(context.open_write())
        plan.check_against(log)
        try:
            rows.extend(Importer(log, plan).run(sources))
        finally:
            if rows:
                # One sync for all of them; without it none is acknowledged.
                log.sync("tiered" if log.durability == "tiered" else "local")
                context.output.rows("", COLUMNS, rows)
