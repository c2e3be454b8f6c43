"""One thread: its messages where they were said, and replies in a branch at its first message."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from heapq import merge
from typing import Any, NamedTuple

import msgspec

from transit import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    Position,
    Receipt,
    StorePermissionError,
    Stream,
)
from transit.chat.folding import Folding
from transit.chat.index import Index
from transit.chat.messages import Message, message_at, messages, messages_at
from transit.chat.naming import CHANNEL_ID, branch_name
from transit.chat.once import post_once
from transit.chat.posts import Posts
from transit.chat.records import (
    AUTHOR,
    BACKLINK,
    KIND,
    SUMMARY,
    THREAD_BRANCH,
    THREAD_REPLY,
    BacklinkBody,
    MessageBody,
    SummaryBody,
    check_text,
    decode_summary,
    encode,
    headers_of,
)

_STATES = {"": "open", "reopen": "open", "resolve": "resolved", "suppress": "suppressed"}


class Head(NamedTuple):
    """How far a thread has come:

    the next offset after its last message, and after its last reply.
    """

    channel: int
    replies: int


class Summary(msgspec.Struct, frozen=True):
    """What somebody wrote of a thread.

    covers: what it knows of. stale: whether there is more now.
    """

    text: str
    by: str
    time: int
    covers: Head
    stale: bool
    position: Position


class Talk:
    """The messages of a thread, by its first, `root`: an offset in the channel."""

    def __init__(self, channel: Posts, fold: Folding, root: int) -> None:
        self._channel, self._fold = channel, fold
        self.root = root

    def __repr__(self) -> str:
        return f"<transit.chat.Thread at {self.anchor_ref}, {len(self)} messages>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Talk):
            return NotImplemented
        return self.root == other.root and self._channel.stream == other._channel.stream

    def __hash__(self) -> int:
        return hash((self._channel.stream, self.root))

    @property
    def anchor(self) -> Position:
        """The position of its first message."""
        return Position(self._channel.name, self.root)

    @property
    def anchor_ref(self) -> str:
        """The same as STREAM@OFFSET."""
        return f"{self._channel.name}@{self.root}"

    @property
    def members(self) -> array[int]:
        """The offsets of its messages in the channel, in order;

        replies in branches not among them.
        """
        return self._fold.members(self.root)

    @property
    def state(self) -> str:
        """ "open", "resolved" or "suppressed"."""
        return _STATES[self._fold.state(self.root)[0]]

    @property
    def branches(self) -> tuple[Stream, ...]:
        """The branches that replies are in: one, or several where threads were merged."""
        return tuple(stream for stream, _ in self.replies())

    def __len__(self) -> int:
        """Count of messages, replies among them."""
        replies = sum(sum(1 for _ in index.messages(0)) for _, index in self.replies())
        return len(self.members) + replies

    def __bool__(self) -> bool:
        return True

    @property
    def head(self) -> Head:
        """How far it has come."""
        replies = [index.stop for _, index in self.replies()]
        return Head(self.members[-1] + 1, max(replies, default=0))

    @property
    def participants(self) -> tuple[str, ...]:
        """Who wrote in it, in the order of their first messages."""
        return tuple(dict.fromkeys(message.author for message in self.read()))

    # Reading

    def first(self) -> Message:
        """Its first message."""
        return message_at(self._channel.stream, self._channel.index, self.root)

    def read(self) -> Iterator[Message]:
        """Its messages, as they are shown now, by the time of each."""
        channel, index = self._channel, self._channel.index
        # What others wrote may decide of records that are no messages.
        offsets = [offset for offset in self.members if index.kind(offset)]
        said = messages_at(channel.stream, index, offsets)
        replies = [
            messages(stream, known, known.start, known.stop) for stream, known in self.replies()
        ]
        return merge(said, *replies, key=lambda message: message.time)

    def __iter__(self) -> Iterator[Message]:
        return self.read()

    # Writing

    def reply(  # noqa: PLR0913 - as many things may be said of a message
        self,
        author: str,
        text: str,
        *,
        id: str | None = None,
        name: str = "",
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timestamp: int | None = None,
        durability: str | None = None,
        writer: str = "",
    ) -> Receipt:
        """Reply in the thread: in a branch of the channel at its first message.

        The first reply makes the branch, and a record in the channel that says so, in one frame.
        Otherwise as `Channel.post`.
        """
        body = MessageBody(check_text(text, "a message"), name, data=data)
        told = headers_of(THREAD_REPLY, check_text(author, "an author"), id, headers)
        payload = encode(body)
        while True:
            found = self.replies()
            if not found:
                receipt = self._first_reply(payload, told, timestamp, durability, writer)
                if receipt is not None:
                    return receipt
                continue
            stream, index = found[0]
            if id is not None:
                log = self._channel.log
                return post_once(log, stream, index, payload, told, timestamp, durability, writer)
            return stream.append(
                payload, headers=told, timestamp=timestamp, durability=durability, writer=writer
            )

    def _first_reply(
        self,
        payload: bytes,
        told: Mapping[str, str],
        timestamp: int | None,
        durability: str | None,
        writer: str,
    ) -> Receipt | None:
        """Make the branch with its first reply; None where others made it meanwhile."""
        channel, root = self._channel, self.root
        name = branch_name(channel.name, root)
        about: dict[str, str | int] = {
            KIND: THREAD_BRANCH,
            CHANNEL_ID: channel.name,
            "anchor_ref": self.anchor_ref,
            "thread_kind": "reply",
            "fork_offset": root,
        }
        link = BacklinkBody(name, channel.name, self.anchor_ref, "reply", root)
        told_of_link = headers_of(BACKLINK, told[AUTHOR])
        try:
            with channel.log.batch(durability=durability, writer=writer) as batch:
                branch = batch.branch(channel.stream, name, root, about)
                batch.append(branch, payload, headers=dict(told), timestamp=timestamp)
                batch.append(channel.stream, encode(link), headers=told_of_link)
        except AlreadyExistsError:
            if root in channel.index.branches:
                return None
            raise
        return batch.receipts[0]

    def summarise(self, text: str, *, by: str, covers: Head | None = None) -> Receipt:
        """Keep a summary, and how much of the thread it knows; covers: as `head` was, None: now."""
        known = self.head if covers is None else covers
        body = SummaryBody(self.root, check_text(text, "a summary"), *known)
        return self._channel.stream.append(
            encode(body), headers=headers_of(SUMMARY, check_text(by, "by"))
        )

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """What was written of it, the oldest first."""
        channel, head = self._channel, self.head
        found = []
        for offset in channel.index.summaries.get(self.root, ()):
            record = channel.stream[offset]
            body = decode_summary(record.payload)
            covers = Head(body.covers, body.covers_replies)
            stale = head.channel > covers.channel or head.replies > covers.replies
            author = record.headers.get(AUTHOR, "")
            found.append(Summary(body.text, author, record.timestamp, covers, stale, record.origin))
        return tuple(found)

    def replies(self) -> list[tuple[Stream, Index]]:
        """The branches, and what is known of each."""
        channel = self._channel
        links = channel.index.branches
        if not links:
            return []
        anchors = [member for member in self.members if member in links]
        found = []
        for anchor in anchors:
            # One that was deleted is gone, and its replies with it. A record of others may name
            # what is no branch, or one that the token does not allow to read.
            with suppress(NotFoundError, InvalidInputError, StorePermissionError):
                found.append(channel.branch(links[anchor]))
        return found
