"""What is posted to a channel, and what is said of it later.

A channel is a root stream. Each post, edit, reaction and removal is one record of it, in one order
for all who write; nothing moves or rewrites a message. Decisions about threads are kept beside it
(`transit.chat.threads`), so a post never waits for a classifier.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from transit import (
    InvalidInputError,
    Log,
    NotFoundError,
    Position,
    Receipt,
    Stream,
)
from transit.chat.index import Index
from transit.chat.messages import Message, message_at, messages
from transit.chat.once import post_once
from transit.chat.records import (
    CHANNEL_MESSAGE,
    CHANNEL_ROOT,
    EDIT,
    KIND,
    PARTICIPANT,
    REACTION,
    REMOVAL,
    EditBody,
    MessageBody,
    ParticipantBody,
    ReactionBody,
    RemovalBody,
    check_text,
    encode,
    headers_of,
)

_AUTHORS_KEPT: Final = 1000
Said = Receipt | Position | Message | int
"""A message: what posting it gave, its position, as it was read, or its offset in the channel."""


class Posts:
    """What is posted to a channel; see `transit.chat.Channel`. Safe for threads."""

    def __init__(self, log: Log, stream: Stream) -> None:
        if not _is_channel(log, stream):
            raise InvalidInputError(f"{stream.name} is no channel: `chat.channel` makes one")
        self.log, self.stream = log, stream
        self._lock = threading.Lock()
        self._index: Index | None = None
        self._branches: dict[str, Index] = {}
        self._told: dict[str, dict[str, str]] = {}

    def __repr__(self) -> str:
        return f"<transit.chat.{type(self).__name__} {self.stream.name!r}>"

    @property
    def name(self) -> str:
        """Its name."""
        return self.stream.name

    @property
    def purpose(self) -> str:
        """What it is for."""
        return str(self.stream.metadata.get("purpose", ""))

    # Saying something

    def post(  # noqa: PLR0913 - as many things may be said of a message
        self,
        author: str,
        text: str,
        *,
        id: str | None = None,
        name: str = "",
        answers: Said | None = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timestamp: int | None = None,
        durability: str | None = None,
        writer: str = "",
    ) -> Receipt:
        """Say something; return when it is as durable as asked.

        author: an id that stays the same; name: what the author is called now. id: what the sender
        calls the message: posting it again is harmless, and gives the first receipt. answers: a
        message of this channel that it answers by the sender's own word. data: anything that JSON
        has. headers: such as an agent's task and turn, for `Stream.read(where=)`.
        writer: as `Stream.append` has it.
        `AlreadyExistsError` where the id is that of another message.
        """
        if type(text) is not str or not text:
            check_text(text, "a message")
        body = MessageBody(text, name, data=data)
        if answers is not None:
            body.answers = self.offset_of(answers)
        if type(author) is not str or not author:
            check_text(author, "an author")
        payload = encode(body)
        if id is None:
            told = self._told.get(author) if headers is None else None
            if told is None:
                told = self._headers(author, headers)
            return self.stream.append(
                payload, headers=told, timestamp=timestamp, durability=durability, writer=writer
            )
        told = headers_of(CHANNEL_MESSAGE, author, id, headers)
        return post_once(
            self.log,
            self.stream,
            self._index or self.index,
            payload,
            told,
            timestamp,
            durability,
            writer,
        )

    def _headers(self, author: str, more: Mapping[str, str] | None) -> dict[str, str]:
        """Headers of a message without an id: those of an author are the same each time."""
        told = headers_of(CHANNEL_MESSAGE, author, None, more)
        if not more:
            if len(self._told) >= _AUTHORS_KEPT:
                self._told.clear()
            self._told[author] = told
        return told

    def edit(self, message: Said, text: str, *, by: str, durability: str | None = None) -> Receipt:
        """Give a message another text. The first, and all between, stay in the log."""
        check_text(text, "a message")
        return self._change(message, EDIT, by, lambda of: EditBody(of, text), durability)

    def react(
        self, message: Said, reaction: str, *, by: str, durability: str | None = None
    ) -> Receipt:
        """React to a message."""
        check_text(reaction, "a reaction")
        return self._change(
            message, REACTION, by, lambda of: ReactionBody(of, reaction), durability
        )

    def withdraw(
        self, message: Said, reaction: str, *, by: str, durability: str | None = None
    ) -> Receipt:
        """Take a reaction back."""
        return self._change(
            message, REACTION, by, lambda of: ReactionBody(of, reaction, withdrawn=True), durability
        )

    def remove(
        self, message: Said, *, by: str, reason: str = "", durability: str | None = None
    ) -> Receipt:
        """Leave a message out of sight, with all its edits.

        Its bytes stay in the log, as everything that was acknowledged: `Log.delete` and `Log.erase`
        are for those.
        """
        return self._change(message, REMOVAL, by, lambda of: RemovalBody(of, reason), durability)

    def join(self, who: str, name: str = "") -> Receipt:
        """Somebody is there from now on."""
        return self._participant(who, "joined", name)

    def leave(self, who: str) -> Receipt:
        """Somebody is not there any more."""
        return self._participant(who, "left", "")

    def rename(self, who: str, name: str) -> Receipt:
        """Somebody is called otherwise from now on; what they said keeps the name of then."""
        return self._participant(who, "renamed", check_text(name, "a name"))

    # Looking at it

    @property
    def index(self) -> Index:
        """What is known of the records, up to now."""
        if self._index is None:
            with self._lock:
                if self._index is None:
                    self._index = Index(self.stream, self.stream.first_offset)
        return self._index.refresh()

    @property
    def participants(self) -> dict[str, str]:
        """Who is there: ids, and what each is called."""
        members = self.index.members.items()
        return {who: name or who for who, (name, there) in members if there == "joined"}

    def messages(self, start: int = 0, stop: int | None = None) -> Iterator[Message]:
        """The messages from offset `start` to before `stop`, as they are shown now.

        Replies in threads are in branches: `threads().of(message).read()`.
        """
        index = self.index
        return messages(self.stream, index, start, index.stop if stop is None else stop)

    def __iter__(self) -> Iterator[Message]:
        return self.messages()

    def message(self, message: Said) -> Message:
        """One message as it is shown now; `NotFoundError` where there is no message."""
        stream, index, offset = self.find(message)
        return message_at(stream, index, offset)

    def by_id(self, message_id: str) -> Message:
        """The message of this id; `NotFoundError` where there is none."""
        index = self.index
        found = index.find(message_id)
        if found is None or not index.kind(found):
            raise NotFoundError(f"{self.name}: no message has the id {message_id!r}")
        return message_at(self.stream, index, found)

    # For the rest of the room

    def offset_of(self, message: Said) -> int:
        """The offset in this channel of a message that is there; or `NotFoundError`."""
        stream, _, offset = self.find(message)
        if stream != self.stream:
            raise InvalidInputError(f"{stream.name}@{offset} is a reply in a thread's branch")
        return offset

    def find(self, message: Said) -> tuple[Stream, Index, int]:
        """The stream that a message was posted to, what is known of that, and its offset there."""
        name, offset = _position(message, self.name)
        if name == self.name:
            stream, index = self.stream, self.index
        else:
            stream, index = self.branch(name)
            if offset < index.start:
                stream, index = self.stream, self.index
        if not index.kind(offset):
            raise NotFoundError(f"{name} has no message at offset {offset}")
        return stream, index, offset

    def branch(self, name: str) -> tuple[Stream, Index]:
        """The branch of a thread's replies, and what is known of it."""
        stream = self.log.stream(name)
        if self.stream.uid not in stream.parent_uids:
            raise InvalidInputError(f"{name} is no branch of {self.name}")
        index = self._branches.get(stream.uid)
        if index is None:
            index = self._branches.setdefault(stream.uid, Index(stream, stream.own_start))
        return stream, index.refresh()

    def _change(
        self, message: Said, kind: str, by: str, body: Any, durability: str | None
    ) -> Receipt:
        stream, _, offset = self.find(message)
        told = headers_of(kind, check_text(by, "by"))
        return stream.append(encode(body(offset)), headers=told, durability=durability)

    def _participant(self, who: str, change: str, name: str) -> Receipt:
        told = headers_of(PARTICIPANT, check_text(who, "a participant"))
        return self.stream.append(encode(ParticipantBody(change, name)), headers=told)


def _is_channel(log: Log, stream: Stream) -> bool:
    """Whether it was made as a channel, or is a branch of one that is no thread's."""
    while KIND not in stream.metadata and stream.kind == "branch":
        stream = log.stream(uid=stream.parent_uids[0])
    return stream.metadata.get(KIND) == CHANNEL_ROOT


def _position(message: Said, name: str) -> Position:
    if isinstance(message, Receipt):
        return Position(message.stream, message.offset)
    if isinstance(message, Message):
        return message.origin
    if isinstance(message, Position):
        return message
    if type(message) is int:
        return Position(name, message)
    if isinstance(message, tuple) and len(message) == 2:
        return Position(*message)
    raise InvalidInputError(f"no message: {message!r}")
