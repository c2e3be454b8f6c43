"""`transit chat import`: what another chat system exports, into channels."""

from __future__ import annotations

import datetime
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from transit import Log, chat
from transit.cli.chats.places import TEXT
from transit.cli.opening import Session
from transit.cli.options import ParsedType, store_options
from transit.cli.output import Output, plain

FORMATS: Final = ("auto", "irc", "slack", "discord", "mbox", "matrix")
COLUMNS: Final = ("channel", "new", "there", "edited")
_LOOK_S: Final = 0.25


def _parse_day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a day like 2026-01-31") from None


@click.command(name="import")
@click.argument("path", metavar="PATH", type=click.Path(exists=True))
@click.option("--format", "form", type=click.Choice(FORMATS), default="auto",
              help="Of the export; else it is found out.")  # fmt: skip
@click.option("--channel", "name", type=TEXT, metavar="NAME",
              help="Of a log that names none; else the only one that is wanted.")  # fmt: skip
@click.option("--date", "day", type=ParsedType("day", _parse_day), metavar="DAY",
              help="Of the first line of a log of IRC.")  # fmt: skip
@click.option("--prefix", type=TEXT, default="", help="Put before every channel's name.")
@click.option("--skip-bad", is_flag=True, help="Leave out what cannot be read, and tell of it.")
@store_options
def import_(
    context: Session,
    path: str,
    *,
    form: str,
    name: str | None,
    day: datetime.date | None,
    prefix: str,
    skip_bad: bool,
) -> None:
    """Append what another chat system exported.

    PATH is a file, a folder or an archive: logs of IRC, exports of Slack, Discord and Matrix,
    mailboxes. What was imported before adds nothing, or what it has grown by. What is bad ends it
    with its place; with --skip-bad it is left out and listed.
    """
    output = context.output
    with context.open_write() as log, _progress(output, log, prefix):
        done = chat.import_chat(
            log, path, format=form, channel=name, date=day, skip_bad=skip_bad, prefix=prefix
        )
    output.rows("", COLUMNS, plain(done))


@contextmanager
def _progress(output: Output, log: Log, prefix: str) -> Iterator[None]:
    """At a terminal, how many records the channels have more while it runs."""
    if not (sys.stderr.isatty() and output.tables):
        yield
        return
    # Imported here: only a terminal needs it.
    from rich import console, status

    before, ended = _records(log, prefix), threading.Event()
    screen = console.Console(stderr=True, no_color=not output.color)
    with status.Status("importing", console=screen) as shown:

        def look() -> None:
            while not ended.wait(_LOOK_S):
                shown.update(f"importing: {_records(log, prefix) - before} records")

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _records(log: Log, prefix: str) -> int:
    return sum(each.stream.next_offset for each in chat.channels(log, prefix))
