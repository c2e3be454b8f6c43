"""What threads come to: how many messages each has, of whom, and when; in one reading of a channel.

Over a connection a message that is asked for alone costs a request, so none is.
"""

from __future__ import annotations

from collections.abc import Iterable

from transit import chat
from transit.chat.messages import messages
from transit.cli.chats.rows import Row, moment, summary_row


class Survey:
    """What one thread comes to, as far as its messages were given, those of the channel first."""

    def __init__(self) -> None:
        self.count, self.last = 0, 0
        self.first: chat.Message | None = None
        self.people: dict[str, None] = {}

    def take(self, message: chat.Message) -> None:
        """One more message."""
        self.first = message if self.first is None else self.first
        self.count, self.last = self.count + 1, max(self.last, message.time)
        self.people.setdefault(message.author)

    def row(self, thread: chat.Thread, *, summarised: bool) -> Row:
        """The thread as a row."""
        summary = summary_row(thread.summaries[-1]) if summarised else {}
        first = self.first
        return {
            "kind": "thread",
            "thread": thread.anchor_ref,
            "offset": thread.root,
            "state": thread.state,
            "messages": self.count,
            "replies": self.count - len(thread.members),
            "people": list(self.people),
            "started": None if first is None else moment(first.time),
            "last": moment(self.last),
            "text": "" if first is None else first.text,
            "branches": [stream.name for stream in thread.branches],
            "summary": summary.get("text"),
            "summary_stale": summary.get("stale"),
        }


def thread_rows(channel: chat.Channel, threads: Iterable[chat.Thread]) -> list[Row]:
    """A row for each of the threads, in their order."""
    chosen = list(threads)
    surveys = {thread.root: Survey() for thread in chosen}
    root_of = {member: thread.root for thread in chosen for member in thread.members}
    if root_of:
        for message in channel.messages(min(root_of), max(root_of) + 1):
            root = root_of.get(message.offset)
            if root is not None:
                surveys[root].take(message)
    rows = []
    for thread in chosen:
        survey = surveys[thread.root]
        for stream, known in thread.replies():
            for message in messages(stream, known, known.start, known.stop):
                survey.take(message)
        summarised = bool(channel.index.summaries.get(thread.root))
        rows.append(survey.row(thread, summarised=summarised))
    return rows
