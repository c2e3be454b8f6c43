"""`transit chat override`: what a person says of a message, or of its thread."""

from __future__ import annotations

from collections.abc import Mapping

import click

from transit import Position, chat
from transit.cli.chats.places import (
    by_option,
    message_argument,
    message_of,
    position_in,
    reason_option,
    told,
    who,
)
from transit.cli.chats.rows import Row
from transit.cli.opening import Session
from transit.cli.options import store_options
from transit.cli.values import Place

_STATES = {"suppress": "suppress", "reopen": "reopen", "resolve": "resolve"}


@click.command()
@message_argument
@click.option("--answers", type=int, metavar="OFFSET", help="It answers this message.")
@click.option("--starts", "action", flag_value="starts", help="It starts a thread.")
@click.option("--confirm", "action", flag_value="confirm", help="The classifier is right.")
@click.option("--merge", type=int, metavar="OFFSET",
              help="Its thread, and that of this message, are one.")  # fmt: skip
@click.option("--split", "action", flag_value="split",
              help="It starts a thread, with all that answers it.")  # fmt: skip
@click.option("--with", "others", type=int, multiple=True, metavar="OFFSET",
              help="Of --split: this message goes with it.")  # fmt: skip
@click.option("--resolve", "action", flag_value="resolve", help="Its thread is done.")
@click.option("--suppress", "action", flag_value="suppress",
              help="Its thread is left out of lists.")  # fmt: skip
@click.option("--reopen", "action", flag_value="reopen", help="Its thread is open again.")
@by_option
@reason_option
@store_options
def override(
    context: Session,
    place: Place,
    *,
    answers: int | None,
    merge: int | None,
    action: str | None,
    others: tuple[int, ...],
    by: str | None,
    reason: str,
) -> None:
    """Say what a message answers, or how its thread stands. That beats every classifier.

    One of the options says what. Nothing is moved: the last that was said counts.
    """
    what = _one_of({"answers": answers is not None, "merge": merge is not None}, action)
    if others and what != "split":
        raise click.UsageError("--with is for --split")
    speaker = who(by)
    with context.open_write(create=False) as log:
        channel, message = message_of(log, place)
        other = answers if answers is not None else merge
        target = None if other is None else position_in(channel, channel.name, other)
        taken = [position_in(channel, channel.name, each) for each in others]
        with told(channel):
            _say(channel, message, what, target, taken, speaker, reason)
        context.output.row(_row(channel, message, what, target, speaker, reason))


def _one_of(given: Mapping[str, bool], action: str | None) -> str:
    chosen = [name for name, there in given.items() if there]
    chosen += [action] if action is not None else []
    if len(chosen) != 1:
        raise click.UsageError(
            "say one thing: --answers OFFSET, --starts, --confirm, --merge OFFSET, --split, "
            "--resolve, --suppress or --reopen"
        )
    return chosen[0]


def _say(
    channel: chat.Channel,
    message: Position,
    what: str,
    target: Position | None,
    others: list[Position],
    by: str,
    reason: str,
) -> None:
    threads = channel.threads()
    if what in ("answers", "starts"):
        threads.override(message, parent=target, by=by, reason=reason)
    elif what == "confirm":
        threads.confirm(message, by=by, reason=reason)
    elif what == "merge":
        assert target is not None
        threads.merge([threads.of(message), threads.of(target)], by=by, reason=reason)
    elif what == "split":
        threads.split(message, by=by, messages=others, reason=reason)
    else:
        getattr(threads.of(message), _STATES[what])(by=by, reason=reason)


def _row(
    channel: chat.Channel,
    message: Position,
    what: str,
    target: Position | None,
    by: str,
    reason: str,
) -> Row:
    thread = channel.threads().of(message)
    return {
        "message": f"{message.stream}@{message.offset}",
        "said": what,
        "other": None if target is None else target.offset,
        "by": by,
        "reason": reason,
        "thread": thread.anchor_ref,
        "state": thread.state,
        "messages": len(thread),
    }
