"""`transit chat compare`: a run beside the one in force, or beside what people annotated."""

from __future__ import annotations

import os
from typing import Final

import click
import msgspec

from transit import chat
from transit.cli.chats.places import TEXT, channel_argument, channel_of
from transit.cli.chats.recorded import threads_of
from transit.cli.chats.rows import Row
from transit.cli.failures import NOT_FOUND, CommandError
from transit.cli.opening import Session
from transit.cli.options import store_options

_MEANINGS: Final = {
    "link": "of the answers",
    "exact": "of whole threads",
    "vi": "how much the two say of each other",
    "one_to_one": "messages in threads that pair",
}


@click.command()
@channel_argument
@click.argument("run_name", metavar="[RUN]", required=False, type=TEXT)
@click.option(
    "--gold",
    metavar="FILE",
    type=click.Path(),
    help="What people annotated: compare with that.",
)
@store_options
def compare(context: Session, name: str, run_name: str | None, gold: str | None) -> None:
    """Compare RUN with what is in force, or with --gold.

    With --gold and no RUN what is in force is compared with the annotation. Precision, recall and
    F1 of answers (link) and of whole threads (exact), variation of information (vi) and messages in
    threads that pair (one_to_one): 0 to 1, 1 where both agree.
    """
    if run_name is None and gold is None:
        raise CommandError(
            "compare it with what?",
            hint=f"give RUN (`transit chat runs {name}` lists them) or --gold FILE.annotation.txt",
        )
    if gold is not None and not os.path.isfile(gold):
        raise CommandError(
            f"{gold}: there is no such file",
            kind="not_found",
            exit_code=NOT_FOUND,
            hint="an annotation has a line `ANSWERED ANSWER -` for each message",
        )
    with context.open_read() as log:
        channel = channel_of(log, name)
        threads = threads_of(channel, run_name)
        found = chat.compare(channel, threads, gold=gold)
        row = {"channel": name, "run": run_name, "gold": gold, **_measures(found)}
    output = context.output
    output.row({key: _shown(key, value) for key, value in row.items()} if output.tables else row)


def _measures(found: chat.Comparison) -> Row:
    made: Row = msgspec.to_builtins(found)
    scored = made.pop("score")
    assert isinstance(scored, dict)
    # Of the measures, how many were scored is of less use than how many were compared.
    return {**scored, **made}


def _shown(key: str, value: object) -> object:
    """A measure as a person reads it: in percent, with what it means."""
    if isinstance(value, dict):
        said = ", ".join(f"{name} {_percent(each)}" for name, each in value.items())
    elif isinstance(value, float):
        said = _percent(value)
    else:
        return value
    return f"{said}  {_MEANINGS.get(key, '')}".rstrip()


def _percent(value: object) -> str:
    return f"{100 * value:.1f} %" if isinstance(value, float) else str(value)
