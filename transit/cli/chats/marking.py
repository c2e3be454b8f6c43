"""`transit chat unread` and `seen`: what a reader has seen, for each thread apart."""

from __future__ import annotations

from collections.abc import Iterator

import click

from transit import chat
from transit.cli.chats.conversations import counted, one_line
from transit.cli.chats.places import (
    TEXT,
    channel_argument,
    channel_of,
    message_argument,
    message_of,
)
from transit.cli.chats.rows import Row, ref
from transit.cli.opening import Session
from transit.cli.options import store_options
from transit.cli.values import Place

COLUMNS = ("thread", "unread", "next", "author", "text")
_who = click.argument("reader", metavar="WHO", type=TEXT)
_TEXT_COLUMNS = 48


@click.command()
@channel_argument
@_who
@store_options
def unread(context: Session, name: str, reader: str) -> None:
    """List the threads with messages that WHO has not seen.

    Each with the first of these. What WHO wrote is not counted, nor what was removed.
    """
    output = context.output
    total = 0
    with context.open_read() as log:
        channel = channel_of(log, name)
        rows = list(_unread(channel, channel.reader(reader), tables=output.tables))
    total = sum(int(str(row["unread"])) for row in rows)
    output.rows("", COLUMNS, rows)
    output.text(f"{counted(total, 'message')} in {counted(len(rows), 'thread')}")


@click.command()
@message_argument
@_who
@click.option("--thread", "whole", is_flag=True, help="The whole thread, with its replies.")
@store_options
def seen(context: Session, place: Place, reader: str, whole: bool) -> None:
    """Mark a thread as seen by WHO, up to a message."""
    with context.open_write(create=False) as log:
        channel, message = message_of(log, place)
        thread = channel.threads().of(message)
        mark = channel.reader(reader)
        mark.seen(thread if whole else message)
        row = {
            "who": reader,
            "message": ref(message),
            "thread": thread.anchor_ref,
            "unread": mark.unread(thread),
            "unread_all": mark.unread(),
        }
    context.output.row(row)


def _unread(channel: chat.Channel, reader: chat.Reader, *, tables: bool) -> Iterator[Row]:
    threads = channel.threads()
    for root, count in reader.counts().items():
        thread = chat.Thread(threads, root)
        first = next(reader.messages(thread))
        text = one_line(first.text, _TEXT_COLUMNS) if tables else first.text
        yield {
            "thread": thread.anchor_ref,
            "unread": count,
            "next": ref(first.position),
            "author": first.author,
            "text": text,
        }
