"""`transit note`: a score, a label or a comment on a run."""

from __future__ import annotations

import getpass

import click
import msgspec

from transit.cli.opening import Session
from transit.cli.options import POSITION, ParsedType, store_options
from transit.cli.positions import offset_in
from transit.cli.values import Place, moment_text
from transit.trace.noting import annotate, notes_name


def _parse_score(text: str) -> bool | int | float:
    known = {"true": True, "yes": True, "false": False, "no": False}
    if text.lower() in known:
        return known[text.lower()]
    try:
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a number nor true or false") from None


@click.command()
@click.argument("place", type=POSITION, metavar="RUN[@OFFSET]")
@click.argument("name")
@click.option("--score", type=ParsedType("number", _parse_score), help="A number, true or false.")
@click.option("--label", metavar="L", help="One of few words, such as good.")
@click.option("--comment", default="", metavar="C", help="A text.")
@click.option("--author", metavar="A", help="Who says it; else the name you are logged in with.")
@store_options
def command(
    context: Session,
    place: Place,
    name: str,
    score: bool | int | float | None,
    label: str | None,
    comment: str,
    author: str | None,
) -> None:
    """Write a note NAME on RUN, which may have ended, or on one of its records.

    A later note by the same author under the same name supersedes it. The run's own stream stays as
    it is. At least one of --score, --label and --comment is wanted.
    """
    if place.stop is not None:
        raise click.UsageError("one record is wanted: RUN@OFFSET")
    if score is None and label is None and not comment:
        raise click.UsageError("give --score, --label or --comment")
    with context.open_write(create=False) as log:
        stream = log.stream(place.stream)
        note = annotate(
            log,
            stream,
            name,
            score=score,
            label=label,
            comment=comment,
            author=_login() if author is None else author,
            at=None if place.offset is None else offset_in(stream, place.offset),
        )
        written = notes_name(stream)
    row = msgspec.to_builtins(note)
    row["noted_at"] = moment_text(note.noted_at)
    row.pop("event")
    context.output.row({"run": stream.name, **row, "stream": written})


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # The user has no name on this machine.
        return ""
