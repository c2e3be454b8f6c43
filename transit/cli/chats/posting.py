"""`transit chat post`, `reply` and `channels`."""

from __future__ import annotations

import click

from transit import Log, NotFoundError, Receipt, chat
from transit.chat.index import SAID
from transit.cli.chats.places import (
    CHANNEL,
    TEXT,
    channel_argument,
    channel_of,
    message_argument,
    message_of,
    position_in,
    text_of,
)
from transit.cli.chats.rows import Row, minute, moment
from transit.cli.failures import hinted
from transit.cli.opening import Session
from transit.cli.options import HEADER, pairs, store_options
from transit.cli.values import Place

COLUMNS = ("channel", "messages", "threads", "open", "people", "last", "purpose")
Headers = tuple[tuple[str, str], ...]

_author = click.argument("author", type=TEXT)
_text = click.argument("text", metavar="TEXT|-", type=TEXT)
_id = click.option(
    "--id", "message_id", type=TEXT, metavar="ID",
    help="What you call it: posting it again is harmless.",
)  # fmt: skip
_name = click.option(
    "--name", "called", type=TEXT, default="", help="What the author is called now."
)
_headers = click.option(
    "--header", "headers", multiple=True, type=HEADER, help="A header of the message."
)


@click.command()
@channel_argument
@_author
@_text
@_id
@_name
@click.option("--answers", type=int, metavar="OFFSET", help="The message that it answers.")
@_headers
@click.option(
    "--purpose", type=TEXT, metavar="P", help="Make the channel if there is none, for this."
)
@store_options
def post(  # noqa: PLR0913 - as many things may be said of a message
    context: Session,
    name: str,
    author: str,
    text: str,
    *,
    message_id: str | None,
    called: str,
    answers: int | None,
    headers: Headers,
    purpose: str | None,
) -> None:
    """Say TEXT in CHANNEL; - is the standard input.

    AUTHOR is an id that stays the same; --name is what people call them now.
    """
    told = pairs(headers)
    with context.open_write(create=purpose is not None) as log:
        channel = _made(log, name, purpose)
        said = text_of(text, log.settings.record_bytes_max)
        anchor = None if answers is None else position_in(channel, name, answers)
        receipt = channel.post(
            author, said, id=message_id, name=called, answers=anchor, headers=told
        )
    context.output.row(_receipt_row(receipt))


@click.command()
@message_argument
@_author
@_text
@_id
@_name
@_headers
@store_options
def reply(
    context: Session,
    place: Place,
    author: str,
    text: str,
    *,
    message_id: str | None,
    called: str,
    headers: Headers,
) -> None:
    """Reply in the thread of a message.

    Replies are in a branch of the channel, which the first one makes.
    """
    told = pairs(headers)
    with context.open_write(create=False) as log:
        channel, message = message_of(log, place)
        said = text_of(text, log.settings.record_bytes_max)
        thread = channel.threads().of(message)
        receipt = thread.reply(author, said, id=message_id, name=called, headers=told)
    context.output.row({**_receipt_row(receipt), "thread": thread.anchor_ref})


@click.command()
@click.argument("prefix", default="", type=CHANNEL)
@store_options
def channels(context: Session, prefix: str) -> None:
    """List the channels, or those whose names begin with PREFIX."""
    output = context.output
    with context.open_read() as log:
        rows = (_channel_row(each, tables=output.tables) for each in chat.channels(log, prefix))
        count = output.rows("", COLUMNS, rows)
    if not count:
        output.text("no channel: `transit chat post CHANNEL YOU TEXT --purpose P` makes one")


def _made(log: Log, name: str, purpose: str | None) -> chat.Channel:
    if purpose is not None:
        return chat.channel(log, name, purpose=purpose)
    with hinted(NotFoundError, f"give --purpose P to make it: what {name} is for"):
        log.stream(name)
    return channel_of(log, name)


def _receipt_row(receipt: Receipt) -> Row:
    return {
        "message": f"{receipt.stream}@{receipt.offset}",
        "offset": receipt.offset,
        "time": moment(receipt.timestamp),
        "durability": receipt.durability,
    }


def _channel_row(channel: chat.Channel, *, tables: bool) -> Row:
    index = channel.index
    states = [thread.state for thread in channel.threads()]
    offsets = [each for each in index.messages(0) if index.kind(each) == SAID]
    last = channel.stream[offsets[-1]].timestamp if offsets else None
    when = minute if tables else moment
    return {
        "channel": channel.name,
        "messages": len(offsets),
        "threads": len(states),
        "open": states.count("open"),
        "people": len({index.author(offset) for offset in offsets}),
        "last": None if last is None else when(last),
        "purpose": channel.purpose,
    }
