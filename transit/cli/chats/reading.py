"""`transit chat read`: the messages of a channel, each with its thread; and those that come."""

from __future__ import annotations

from collections import deque

import click

from transit import Stream, chat
from transit.cli.chats.conversations import (
    ALONE,
    GOES_ON,
    HIDDEN,
    NO_MARK,
    STARTS,
    UNKNOWN,
    Conversation,
    Mark,
    counted,
)
from transit.cli.chats.following import Following
from transit.cli.chats.places import BOUND, channel_argument, channel_of, full_option
from transit.cli.chats.recorded import of_option, threads_of
from transit.cli.chats.rows import message_row
from transit.cli.opening import Session
from transit.cli.options import DURATION, store_options
from transit.cli.output import Output

Bound = tuple[str, int]


@click.command()
@channel_argument
@click.option("--from", "start", type=BOUND, help="From this offset, or time; 2h: ago.")
@click.option("--to", "stop", type=BOUND, help="To before this offset, or time.")
@click.option("-n", "--last", type=click.IntRange(min=0), help="The last N of them only.")
@click.option("-f", "--follow", is_flag=True, help="Wait for more, and for decisions.")
@click.option("--timeout", type=DURATION, help="Give up after so long without one: exit 124.")
@of_option
@full_option
@store_options
def read(  # noqa: PLR0913 - as many things are asked for
    context: Session,
    name: str,
    *,
    start: Bound | None,
    stop: Bound | None,
    last: int | None,
    follow: bool,
    timeout: float | None,
    run_name: str | None,
    full: bool,
) -> None:
    """Print the messages of CHANNEL, and their threads.

    At a terminal: ● starts a thread, │ goes on with it, ○ is alone; the number is the offset of the
    thread's first message. ? is in no thread yet, with the one that a classifier proposes.
    """
    if timeout is not None and not follow:
        raise click.UsageError("--timeout is for --follow")
    if follow and stop is not None:
        raise click.UsageError("--follow goes on, and --to ends: give one of them")
    if follow and run_name is not None:
        raise click.UsageError("--follow shows what is in force, and --of a run that is not")
    output = context.output
    with context.open_read() as log:
        channel = channel_of(log, name)
        head = channel.index.stop
        first = 0 if start is None else _offset(channel.stream, start)
        end = head if stop is None else min(_offset(channel.stream, stop), head)
        if last is not None:
            first = _first_of_last(channel, first, end, last)
        first = min(first, end)
        printer = Printer(output, channel, threads_of(channel, run_name), full=full)
        # Before anything is printed: what comes meanwhile is told.
        following = Following(output, channel, printer.message, printer.told) if follow else None
        for message in channel.messages(first, end):
            printer.message(message)
        if following is not None:
            following.run(head, timeout)
        printer.close()


class Printer:
    """Prints messages of a channel with their threads, as rows or for a person."""

    def __init__(
        self, output: Output, channel: chat.Channel, threads: chat.Threads, *, full: bool
    ) -> None:
        self._output, self._channel, self._threads = output, channel, threads
        self._conversation = Conversation(output, full=full)
        # Of each thread the last message that was printed.
        self._before: dict[int, int] = {}
        self._count = 0

    def message(self, message: chat.Message) -> None:
        """One message."""
        self._count += 1
        fold, offset = self._threads.fold, message.offset
        root, parent = fold.root(offset), fold.parent(offset)
        decided = fold.is_decided(offset)
        if not self._output.tables:
            more = {"parent": parent, "decided": decided, "state": self._state(root)}
            self._output.row(message_row(message, root if self._is_known(offset) else None, **more))
            return
        before = self._before.get(root, parent)
        self._before[root] = offset
        odd = parent is not None and parent != before
        self._conversation.message(
            message, self.mark(message), answers=f"→ {parent}" if odd else ""
        )
        links = self._channel.index.branches
        if offset in links:
            count = sum(1 for _ in self._channel.branch(links[offset])[1].messages(0))
            self._conversation.note(f"↳ {counted(count, 'reply').replace('replys', 'replies')}")

    def told(self, row: dict[str, object], text: str) -> None:
        """What is said of a message while it is followed."""
        if self._output.tables:
            self._conversation.note(text)
        else:
            self._output.row(row)

    def mark(self, message: chat.Message) -> Mark:
        """How a message is to its thread."""
        fold, offset = self._threads.fold, message.offset
        if message.system:
            return NO_MARK
        root = fold.root(offset)
        state = self._state(root)
        if state == "suppressed":
            return Mark(HIDDEN, root)
        if not self._is_known(offset):
            why = self._threads.why(offset)
            proposed = why.parent if isinstance(why, chat.Decision) else None
            return Mark(UNKNOWN, None if proposed is None else fold.root(proposed))
        if root != offset:
            return Mark(GOES_ON, root, quiet=state == "resolved")
        alone = len(fold.members(root)) < 2
        return Mark(ALONE if alone else STARTS, root, quiet=state == "resolved")

    def close(self) -> None:
        """A word at the end, for people."""
        name = self._channel.name
        if not self._count:
            self._output.text(f"nothing was said: `transit chat post {name} YOU TEXT`")
        elif self._threads.stream is None:
            self._output.text(f"no message has a thread yet: `transit chat run {name}`")

    def _is_known(self, offset: int) -> bool:
        """Whether anything puts a message into a thread, or another one into its own."""
        fold = self._threads.fold
        root = fold.root(offset)
        return (
            fold.is_decided(offset)
            or len(fold.members(root)) > 1
            or root in self._channel.index.branches
        )

    def _state(self, root: int) -> str:
        return chat.Thread(self._threads, root).state


def _offset(stream: Stream, bound: Bound) -> int:
    kind, value = bound
    return value if kind == "offset" else min(stream.offset_at(value), stream.next_offset)


def _first_of_last(channel: chat.Channel, start: int, stop: int, count: int) -> int:
    """The offset from which on there are `count` messages."""
    offsets = deque(channel.index.messages(start, stop), maxlen=count)
    return offsets[0] if offsets else stop
