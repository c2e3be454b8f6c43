"""`transit doctor`: what is wrong with a store's surroundings, and what mends it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click
import msgspec

import transit
from transit import Log, NotFoundError, TransitError
from transit.cli.configuration import is_url, reachable
from transit.cli.escapes import printable
from transit.cli.failures import INTERNAL
from transit.cli.health import Found, folder_findings
from transit.cli.opening import FORMAT_FILE, Options, Session
from transit.cli.options import place_argument, store_options
from transit.cli.output import Output
from transit.cli.remote_health import remote_findings, unpublished

COLUMNS = ("about", "state", "said", "mend")
COLORS = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "cyan"}


@click.command()
@place_argument
@click.option("--write", is_flag=True, help="Try syncs, and writing to the remote, too.")
@store_options
def command(context: Session, write: bool) -> None:
    """Look at a store's folder, disk, lock and remote, and say what mends each finding.

    Changes nothing; with --write it makes small files and objects of its own and removes them.
    Ends with 1 when something has to be mended; warnings alone are no failure.
    """
    found = list(_findings(context, write))
    output = context.output
    if output.tables:
        _print(output, found)
    else:
        output.rows("", COLUMNS, found)
    if any(each.state == "fail" for each in found):
        raise click.exceptions.Exit(INTERNAL)


def _findings(context: Session, write: bool) -> Iterator[Found]:
    context.check_folder("doctor")
    path = context.store()
    if is_url(path):
        yield from _remote(context, path, "", write, context.storage_options(path))
        return
    if not os.path.isdir(path):
        yield Found("folder", "fail", f"{path} is not there", "transit config")
        return
    log: Log | None = None
    try:
        if os.path.exists(os.path.join(path, FORMAT_FILE)):
            log = context.open_place(path)
            yield Found("folder", "ok", f"store {log.status().store_id} in {path}")
        else:
            yield Found("folder", "warn", f"{path} holds no store", "transit create --store PATH")
    except TransitError as error:
        yield Found("folder", "fail", str(error), f"transit verify {path}")
    try:
        yield from folder_findings(path, log, write)
        if context.remote() is None:
            yield Found("remote", "unknown", "none is configured: one disk has it all", "--remote")
        else:
            address = context.required_remote()
            yield from _remote(context, address, path, write, context.storage_options(address))
            yield from _replicas(context, path, write)
    finally:
        if log is not None:
            log.close()


def _replicas(context: Session, path: str, write: bool) -> Iterator[Found]:
    """The same of each configured replica, by its number."""
    for number, replica in enumerate(context.configuration.replicas, 1):
        url = reachable(replica.url)
        for each in _remote(context, url, path, write, context.options_of(replica)):
            yield msgspec.structs.replace(each, about=f"replica {number}: {each.about}")


def _remote(
    context: Session, address: str, path: str, write: bool, options: Options | None
) -> Iterator[Found]:
    """Everything about one remote. options: what fsspec is given."""
    settings = context.configuration.settings
    try:
        store = transit.open_store(address, options, settings.remote_timeout_s)
    except TransitError as error:
        yield Found("remote", "fail", str(error), "transit config")
        return
    try:
        yield from remote_findings(store, path, write)
        if path:
            yield from _published(context, store.url, path, options)
    finally:
        store.close()


def _published(
    context: Session, address: str, path: str, options: Options | None
) -> Iterator[Found]:
    try:
        # By its address alone: what the folder holds is no answer to what the remote holds.
        with context.open_remote(address, options) as there, context.open_place(path) as here:
            yield unpublished(here.status(), there.status().commits, path)
    except NotFoundError:
        yield Found("published", "warn", "nothing is published there yet", "transit publish")
    except TransitError as error:
        yield Found("published", "fail", str(error), "transit config")


def _print(output: Output, found: list[Found]) -> None:
    width = max(len(each.about) for each in found)
    for each in found:
        state = output.style(f"{each.state:<7}", fg=COLORS[each.state])
        output.line(f"{each.about:<{width}}  {state}  {printable(each.said)}")
        if each.mend and each.state != "ok":
            output.line(f"{'':<{width}}  {'':<7}  → {printable(each.mend)}")
