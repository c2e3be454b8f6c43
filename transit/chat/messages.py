"""Messages as they are shown: a record, and what was said of it later.

Leaves to `transit.chat.index` which changes a message has. A removed message shows neither its text
nor an edited one, nor what an import kept of it: the records stay in the log until they are erased.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from transit import Position, Record, Stream
from transit.chat.index import TOLD, Index
from transit.chat.records import (
    AUTHOR,
    EDIT,
    KIND,
    MALFORMED,
    MESSAGE_ID,
    PARTICIPANT,
    REACTION,
    REMOVAL,
    RESERVED,
    EditBody,
    MessageBody,
    ReactionBody,
    RemovalBody,
    decode_edit,
    decode_message,
    decode_participant,
    decode_reaction,
    decode_removal,
)

_GAP: Final = 32
"""So many records between two messages are read with them."""


class Edit(msgspec.Struct, frozen=True):
    """One text that a message got later. time: UTC nanoseconds. position: of its record."""

    author: str
    text: str
    time: int
    position: Position


class Message(msgspec.Struct, frozen=True):
    """One message as it is shown now.

    position: stream and offset that it was read at; origin: where it was posted. time: UTC
    nanoseconds. text: the newest; edits: the texts it got later, the newest last. removed: out of
    sight, with who did it and why. reactions: who gave each, in order. answers: the offset of the
    message that its sender, or its platform, says it answers. id: what its sender or platform calls
    it, or its origin as STREAM@OFFSET. writer: who wrote the record, "" for a process that had the
    store open; over a network the name of the token, whatever author that claims to be. system: a
    line of the platform itself.
    """

    position: Position
    origin: Position
    author: str
    name: str
    text: str
    time: int
    id: str
    writer: str = ""
    system: bool = False
    edits: tuple[Edit, ...] = ()
    removed: bool = False
    removed_by: str = ""
    removed_reason: str = ""
    reactions: Mapping[str, tuple[str, ...]] = {}
    answers: int | None = None
    starts: bool = False
    headers: Mapping[str, str] = {}
    data: Any = None
    source: Mapping[str, Any] | None = None

    @property
    def edited(self) -> bool:
        """Whether its text is not the first."""
        return bool(self.edits)

    @property
    def offset(self) -> int:
        """Its offset in the stream that it was read from."""
        return self.position.offset


def messages(stream: Stream, index: Index, start: int, stop: int) -> Iterator[Message]:
    """The messages from `start` to before `stop`."""
    for record in stream.read(max(start, index.start), min(stop, index.stop)):
        if index.kind(record.offset):
            yield shown(stream, index, record)


def messages_at(stream: Stream, index: Index, offsets: Sequence[int]) -> Iterator[Message]:
    """The messages at ascending offsets; those that lie close together are read at once."""
    place = 0
    while place < len(offsets):
        first = place
        while place + 1 < len(offsets) and offsets[place + 1] - offsets[place] <= _GAP:
            place += 1
        place += 1
        wanted = set(offsets[first:place])
        for record in stream.read(offsets[first], offsets[place - 1] + 1):
            if record.offset in wanted:
                yield shown(stream, index, record)


def message_at(stream: Stream, index: Index, offset: int) -> Message:
    """The message at an offset that the index knows to be one."""
    return shown(stream, index, stream[offset])


def shown(stream: Stream, index: Index, record: Record) -> Message:
    """A message's record, with the changes that the index names."""
    changes = [stream[offset] for offset in index.changes.get(record.offset, ())]
    return fold(stream.name, record, changes, is_system=index.kind(record.offset) == TOLD)


def fold(name: str, record: Record, changes: list[Record], *, is_system: bool) -> Message:
    """A message and its changes, in their order, as they are shown."""
    body = body_of(record)
    author, origin = record.headers.get(AUTHOR, ""), record.origin
    edits, reactions, removal = _changed(changes)
    message = Message(
        position=Position(name, record.offset),
        origin=origin,
        author=author,
        name=body.name or author,
        text=edits[-1].text if edits else body.text,
        time=record.timestamp,
        id=record.headers.get(MESSAGE_ID) or f"{origin.stream}@{origin.offset}",
        writer=record.writer,
        system=is_system,
        edits=edits,
        reactions=reactions,
        answers=body.answers,
        starts=body.starts,
        headers={key: each for key, each in record.headers.items() if key not in RESERVED},
        data=body.data,
        source=body.source,
    )
    if removal is None:
        return message
    return msgspec.structs.replace(
        message,
        text="",
        edits=(),
        data=None,
        source=None,
        removed=True,
        removed_by=removal[0],
        removed_reason=removal[1].reason,
    )


def body_of(record: Record) -> MessageBody:
    """What a record of a message, or of a participant, says."""
    try:
        if record.headers.get(KIND) != PARTICIPANT:
            return decode_message(record.payload)
        told = decode_participant(record.payload)
    except MALFORMED:
        # What another program wrote under this kind: shown as it is.
        return MessageBody(record.payload.decode("utf-8", "replace"))
    if told.change == "renamed":
        # Said of who is called otherwise from here on: by the id.
        return MessageBody(f"is now called {told.name}", source=told.source)
    return MessageBody(told.change, told.name, source=told.source)


def _changed(
    changes: list[Record],
) -> tuple[tuple[Edit, ...], dict[str, tuple[str, ...]], tuple[str, RemovalBody] | None]:
    edits: list[Edit] = []
    reactions: dict[str, list[str]] = {}
    removal: tuple[str, RemovalBody] | None = None
    for record in changes:
        author = record.headers.get(AUTHOR, "")
        try:
            found = _DECODERS[record.headers[KIND]](record.payload)
        except MALFORMED:
            continue
        if isinstance(found, EditBody):
            edits.append(Edit(author, found.text, record.timestamp, record.origin))
        elif isinstance(found, ReactionBody):
            _react(reactions.setdefault(found.reaction, []), author, found)
        else:
            removal = author, found
    return tuple(edits), {key: tuple(who) for key, who in reactions.items() if who}, removal


def _react(who: list[str], author: str, body: ReactionBody) -> None:
    if author in who:
        if body.withdrawn:
            who.remove(author)
    elif not body.withdrawn:
        who.append(author)


_DECODERS: Mapping[str, Any] = {
    EDIT: decode_edit,
    REACTION: decode_reaction,
    REMOVAL: decode_removal,
}
