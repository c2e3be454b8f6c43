"""`transit chat freeze` and `frozen`: a thread as a stream that any auditor can check."""

from __future__ import annotations

import click

from transit import NotFoundError, Stream, chat
from transit.chat.records import KIND, THREAD_FROZEN
from transit.cli.chats.conversations import Conversation, counted
from transit.cli.chats.places import (
    by_option,
    full_option,
    message_argument,
    message_of,
    reason_option,
    who,
)
from transit.cli.chats.reasons import Reason, reasons_in
from transit.cli.chats.rows import Row, message_row, verdict_row
from transit.cli.chats.threads import show_reason
from transit.cli.escapes import printable
from transit.cli.failures import CommandError, hinted
from transit.cli.opening import Session
from transit.cli.options import STREAM, store_options
from transit.cli.output import Output
from transit.cli.values import Place


@click.command()
@message_argument
@by_option
@reason_option
@store_options
def freeze(context: Session, place: Place, by: str | None, reason: str) -> None:
    """Keep the thread of a message as it is now.

    It becomes a stream of its own. Nobody can change it, it copies nothing, and any auditor can
    check that these and only these messages are the thread.
    """
    speaker = who(by)
    with context.open_write(create=False) as log:
        channel, message = message_of(log, place)
        thread = channel.threads().of(message)
        stream = thread.freeze(reason=reason, by=speaker)
        row = _head(stream)
    context.output.row(row)
    context.output.text(f"`transit chat frozen {stream.name}` shows it")


@click.command()
@click.argument("name", metavar="STREAM", type=STREAM)
@full_option
@store_options
def frozen(context: Session, name: str, full: bool) -> None:
    """Print a thread as it was frozen."""
    hint = "`transit streams` lists the streams; frozen threads are CHANNEL/frozen/OFFSET"
    with context.open_read() as log:
        with hinted(NotFoundError, hint):
            stream = log.stream(name)
        if stream.metadata.get(KIND) != THREAD_FROZEN:
            raise CommandError(f"{name} is no frozen thread", hint=hint)
        if context.output.tables:
            _show(context.output, stream, full=full)
        else:
            for row in [_head(stream), *_rows(stream)]:
                context.output.row(row)


def _head(stream: Stream) -> Row:
    told = stream.metadata
    return {
        "kind": "frozen",
        "stream": stream.name,
        "thread": told.get("anchor_ref"),
        "by": told.get("frozen_by", ""),
        "reason": told.get("reason", ""),
        "messages": sum(1 for _ in chat.read_frozen(stream)),
        "records": stream.next_offset,
    }


def _rows(stream: Stream) -> list[Row]:
    reasons = reasons_in(stream)
    anchor = str(stream.metadata.get("anchor_ref", ""))
    channel, _, root = anchor.rpartition("@")
    rows = []
    for message in chat.read_frozen(stream):
        in_channel = message.origin.stream == channel
        reason = reasons.get(message.origin.offset, Reason()) if in_channel else Reason()
        rows.append(
            message_row(
                message,
                int(root),
                origin=f"{message.origin.stream}@{message.origin.offset}",
                reply=not in_channel,
                why=verdict_row(reason.counts),
                evidence=verdict_row(reason.evidence),
            )
        )
    return rows


def _show(output: Output, stream: Stream, *, full: bool) -> None:
    row = _head(stream)
    name = output.style(printable(stream.name), bold=True)
    word = output.style("frozen", fg="cyan")
    facts = [f"{row['thread']}", counted(int(str(row["messages"])), "message")]
    facts += [f"by {row['by']}"] if row["by"] else []
    facts += [str(row["reason"])] if row["reason"] else []
    output.line(f"{name}  {word}  {printable(' · '.join(facts))}")
    reasons, channel = reasons_in(stream), str(row["thread"]).rpartition("@")[0]
    conversation = Conversation(output, full=full, marks=False)
    for message in chat.read_frozen(stream):
        offset = message.origin.offset
        if message.origin.stream != channel:
            conversation.message(message, label=f"↳{offset}")
            continue
        conversation.message(message, label=str(offset))
        if offset in reasons:
            show_reason(conversation, reasons[offset])
