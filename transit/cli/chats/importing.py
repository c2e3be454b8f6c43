"""`transit chat import`: what another chat system exports, into channels."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import click

from transit import chat
from transit.cli.chats.conversations import counted, one_line
from transit.cli.chats.places import TEXT
from transit.cli.chats.rows import Row
from transit.cli.opening import Session
from transit.cli.options import ParsedType, store_options
from transit.cli.output import Output

FORMATS: Final = ("auto", "irc", "slack", "discord", "mbox", "matrix")
COLUMNS: Final = ("channel", "added")
_PROBLEM_COLUMNS: Final = ("place", "reason", "raw")
_RAW_COLUMNS: Final = 40
Report = Callable[[chat.Imported], None]


def _parse_day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a day like 2026-01-31") from None


@click.command(name="import")
@click.argument("path", metavar="PATH", type=TEXT)
@click.option("--from", "form", type=click.Choice(FORMATS), default="auto",
              help="The format of the export; else it is found out.")  # fmt: skip
@click.option("--channel", "name", type=TEXT, metavar="NAME",
              help="Of a log that names none; else the only one that is wanted.")  # fmt: skip
@click.option("--date", "day", type=ParsedType("day", _parse_day), metavar="DAY",
              help="Of the first line of a log of IRC.")  # fmt: skip
@click.option("--prefix", "--into", "prefix", type=TEXT, default="", metavar="PREFIX",
              help="Put before every channel's name.")  # fmt: skip
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
    done: list[chat.Imported] = []
    try:
        with context.open_write() as log, _progress(output) as show:

            def report(so_far: chat.Imported) -> None:
                done[:] = [so_far]
                show(so_far)

            found = chat.import_chat(
                log, path, format=form, channel=name, date=day, prefix=prefix, skip_bad=skip_bad,
                progress=report,
            )  # fmt: skip
            done[:] = [found]
    finally:
        # What was imported is told even when the rest failed.
        for each in done:
            _tell(output, path, each)


def _tell(output: Output, path: str, done: chat.Imported) -> None:
    if not output.tables:
        for row in _rows(path, done):
            output.row(row)
        return
    if done.channels:
        output.rows("", COLUMNS, done.channels.items())
    problems = [
        (str(each.place), each.reason, one_line(each.raw, _RAW_COLUMNS)) for each in done.bad
    ]
    problems += [
        (str(each.place), f"names {each.message}, which is not there", "")
        for each in done.unresolved
    ]
    if problems:
        output.rows("", _PROBLEM_COLUMNS, problems)
    output.text(_summary(done))


def _rows(path: str, done: chat.Imported) -> Iterator[Row]:
    """A line for each channel and each problem, and one for all."""
    for name, added in done.channels.items():
        yield {"kind": "channel", "channel": name, "added": added}
    for bad in done.bad:
        yield {"kind": "bad", "place": str(bad.place), "reason": bad.reason, "raw": bad.raw}
    for each in done.unresolved:
        yield {"kind": "unresolved", "place": str(each.place), "message": each.message}
    yield {
        "kind": "imported",
        "path": path,
        "new": done.new,
        "edited": done.edited,
        "known": done.known,
        "bad": done.bad_count,
        "unresolved": done.unresolved_count,
    }


def _summary(done: chat.Imported) -> str:
    facts = [f"{counted(done.new, 'record')} new"]
    facts += [f"{done.edited} of them edits"] if done.edited else []
    facts += [f"{done.known} there already"] if done.known else []
    facts += [f"{done.bad_count} bad"] if done.bad_count else []
    facts += [f"{done.unresolved_count} name what is not there"] if done.unresolved_count else []
    if done.new and len(done.channels) == 1:
        facts.append(f"`transit chat run {next(iter(done.channels))}` finds the threads")
    return ", ".join(facts)


@contextmanager
def _progress(output: Output) -> Iterator[Report]:
    """A report of how far it is, at a terminal."""
    if not (sys.stderr.isatty() and output.tables):
        yield lambda _: None
        return
    # Imported here: only a terminal needs it.
    from rich import console, status

    screen = console.Console(stderr=True, no_color=not output.color)
    with status.Status("importing", console=screen) as shown:
        yield lambda done: shown.update(
            f"importing: {counted(done.new, 'record')} new, {done.known} there already"
        )
