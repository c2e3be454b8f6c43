"""Exports of other systems become channels. Importing again adds only what is new.

Owns which record an item becomes, and that each is there once. Leaves to `transit.chat.imports`
what a file says. Records come in frames of up to `FRAME` of one channel, in the order of the file;
each has the id that the platform gave it, so what is there is passed over. A message that has
another text than at the last import is edited by this one. What names a message that is not there
is kept all the same, as `channel-unresolved`, and told.

Memory: `FRAME` records a channel that is being filled, the records that `transit.chat.known` looks
at, and what `transit.chat.index` has of each record: about 30 to 53 bytes, and half as much again
while its table of ids grows.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
from blake3 import blake3

from transit import ConflictError, InvalidInputError, Log, Stream
from transit.chat.imports import read
from transit.chat.imports.items import Bad, Edited, Item, Member, Place, Reacted, Removed, Said
from transit.chat.known import Known
from transit.chat.messages import message_at
from transit.chat.opening import Channel, channel
from transit.chat.records import (
    AUTHOR,
    CHANNEL_MESSAGE,
    EDIT,
    KIND,
    MESSAGE_ID,
    PARTICIPANT,
    REACTION,
    REMOVAL,
    SYSTEM,
    UNRESOLVED,
    EditBody,
    MessageBody,
    ParticipantBody,
    ReactionBody,
    RemovalBody,
    decode_message,
    encode,
    headers_of,
)

FRAME: Final = 500
"""Records in one frame, at most: their headers mostly stay below 64 KiB, and so are read faster."""
_CHANNELS_OPEN: Final = 8
"""Channels with records that are not written yet; more, and all are written."""
_TOLD_MAX: Final = 1000
"""Bad records, and places without the message they name, that are told one by one."""
_MADE: Final = "#import-"
"""In the id of an edit that an import found by comparing texts."""
_TEXT: Final = b'{"text":'
"""What payloads of messages begin with; the text follows."""
TIME_MAX: Final = (1 << 63) - 1

Kept = Said | Edited | Reacted | Removed | Member


class Unresolved(NamedTuple):
    """An item that names a message which is not there."""

    place: Place
    message: str


class Imported(msgspec.Struct):
    """What an import did.

    channels: records that were added, by channel. new: all of these; edited: of them, texts that
    differed from the last import's. known: items that were there. bad_count, unresolved_count: how
    many there were; bad, unresolved: the first 1,000 of each.
    """

    channels: dict[str, int] = {}
    new: int = 0
    edited: int = 0
    known: int = 0
    bad_count: int = 0
    bad: list[Bad] = []
    unresolved_count: int = 0
    unresolved: list[Unresolved] = []


def import_chat(
    log: Log,
    path: str | Path,
    *,
    format: str = "auto",
    channel: str | None = None,
    date: datetime.date | None = None,
    prefix: str = "",
    skip_bad: bool = False,
    progress: Callable[[Imported], None] | None = None,
) -> Imported:
    """Bring an export of IRC, Slack, Discord, Matrix or mail into channels of a store.

    path, format, channel, date: as `transit.chat.imports.read` takes them. prefix: of the names of
    the channels. skip_bad: go on after a record that cannot be read, and tell it; without,
    `InvalidInputError` with its place, and what came before it is imported. progress: called after
    each frame. Importing again, or a longer export of the same, adds what is new.
    """
    items = read(path, format, channel=channel, date=date)
    return import_items(log, items, prefix=prefix, skip_bad=skip_bad, progress=progress)


def import_items(
    log: Log,
    items: Iterable[Item],
    *,
    prefix: str = "",
    skip_bad: bool = False,
    progress: Callable[[Imported], None] | None = None,
) -> Imported:
    """`import_chat` of items that come from elsewhere, such as a reader of one's own."""
    return _Importer(log, prefix, skip_bad=skip_bad, progress=progress).run(items)


class _Importer:
    """One import."""

    def __init__(
        self,
        log: Log,
        prefix: str,
        *,
        skip_bad: bool,
        progress: Callable[[Imported], None] | None,
    ) -> None:
        self._log, self._prefix, self._skip_bad = log, prefix, skip_bad
        self._progress = progress
        self._done = Imported()
        self._channels: dict[str, tuple[Channel, Known]] = {}
        self._pending: dict[str, list[Kept]] = {}

    def run(self, items: Iterable[Item]) -> Imported:
        """Take all items."""
        pending = self._pending
        try:
            for item in items:
                if isinstance(item, Bad):
                    self._bad(item)
                elif not 0 <= item.time <= TIME_MAX:
                    self._bad(Bad(item.place, f"time {item.time} cannot be kept", item.id))
                else:
                    waiting = pending.get(item.channel)
                    if waiting is None:
                        waiting = self._begin(item.channel)
                    waiting.append(item)
                    if len(waiting) >= FRAME:
                        self._flush(item.channel)
        finally:
            # What came before a bad record is kept: another import goes on behind it.
            self._flush_all()
        return self._done

    def _begin(self, name: str) -> list[Kept]:
        if len(self._pending) >= _CHANNELS_OPEN:
            self._flush_all()
        waiting = self._pending[name] = []
        return waiting

    def _bad(self, item: Bad) -> None:
        if not self._skip_bad:
            raise InvalidInputError(
                f"{item.place}: {item.reason}; skip_bad (--skip-bad) goes on behind such records"
            )
        self._done.bad_count += 1
        if len(self._done.bad) < _TOLD_MAX:
            self._done.bad.append(item)

    def _flush_all(self) -> None:
        for name in list(self._pending):
            self._flush(name)

    def _flush(self, name: str) -> None:
        items = self._pending.pop(name, [])
        if not items:
            return
        found = self._channels.get(name)
        if found is None:
            made = channel(self._log, channel_name(self._prefix + name))
            found = self._channels[name] = made, Known(made.stream, made.index)
        while True:
            frame = _Frame(found[0], found[1])
            for item in items:
                frame.take(item)
            if self._write(found[0].stream, frame):
                found[1].keep(frame.ids)
                break
        self._count(found[0].name, frame)
        if self._progress is not None:
            self._progress(self._done)

    def _write(self, stream: Stream, frame: _Frame) -> bool:
        """Write a frame; False where others appended meanwhile."""
        if not frame.payloads:
            return True
        try:
            receipt = stream.append_many(
                frame.payloads,
                headers=frame.headers,
                timestamps=frame.times,
                expect=frame.first,
            )
        except ConflictError:
            return False
        frame.index.note_all(receipt.offset, frame.headers, frame.payloads)
        return True

    def _count(self, name: str, frame: _Frame) -> None:
        done = self._done
        done.channels[name] = done.channels.get(name, 0) + len(frame.payloads)
        done.new += len(frame.payloads)
        done.known += frame.known
        done.edited += frame.edited
        done.unresolved_count += len(frame.unresolved)
        done.unresolved += frame.unresolved[: _TOLD_MAX - len(done.unresolved)]


class _Frame:
    """Records of one channel that are written together, with the offsets they will have."""

    def __init__(self, channel: Channel, known: Known) -> None:
        self._channel, self._known, self.index = channel, known, channel.index
        self.first = self.index.stop
        self.payloads: list[bytes] = []
        self.headers: list[Mapping[str, str]] = []
        self.times: list[int] = []
        self.known = self.edited = 0
        self.unresolved: list[Unresolved] = []
        self.ids: dict[str, int] = {}
        """Offsets of what is in this frame, by id."""

    def take(self, item: Kept) -> None:
        """One more item, unless it is there."""
        if item.id in self.ids:
            self.known += 1
            return
        offset = self._known.find(item.id)
        if offset is not None:
            self.known += 1
            if isinstance(item, Said):
                self._look_again(item, offset)
        elif isinstance(item, Said):
            self._said(item)
        elif isinstance(item, Member):
            body = ParticipantBody(item.change, item.name, _source(item))
            self._add(item, headers_of(PARTICIPANT, item.author, item.id), encode(body))
        else:
            self._change(item)

    def _said(self, item: Said) -> None:
        answers, source = None, _source(item)
        if item.answers is not None:
            answers = self._answered(item.answers)
            if answers is None:
                self.unresolved.append(Unresolved(item.place, item.answers))
                source = {**(source or {}), "answers": item.answers}
        headers = {KIND: CHANNEL_MESSAGE, AUTHOR: item.author, MESSAGE_ID: item.id}
        if item.system:
            headers[SYSTEM] = "true"
        name = "" if item.name == item.author else item.name
        body = MessageBody(item.text, name, answers, item.starts, None, source)
        self._add(item, headers, encode(body))

    def _change(self, item: Edited | Reacted | Removed) -> None:
        of, source = self._answered(item.message), _source(item)
        if of is None:
            self.unresolved.append(Unresolved(item.place, item.message))
            headers = headers_of(UNRESOLVED, item.author, item.id)
            told = {"item": type(item).__name__.lower(), **msgspec.to_builtins(item)}
            self._add(item, headers, encode(told))
            return
        body: Any
        if isinstance(item, Edited):
            kind, body = EDIT, EditBody(of, item.text, source)
        elif isinstance(item, Reacted):
            kind, body = REACTION, ReactionBody(of, item.reaction, source=source)
        else:
            kind, body = REMOVAL, RemovalBody(of, item.reason, source)
        self._add(item, headers_of(kind, item.author, item.id), encode(body))

    def _look_again(self, item: Said, offset: int) -> None:
        """A message that is there: whether it has the text that it has in the file by now."""
        if offset not in self.index.changes and self._known.payload(offset).startswith(
            _TEXT + encode(item.text)
        ):
            return
        if not self.index.kind(offset):
            return
        shown = message_at(self._channel.stream, self.index, offset)
        if shown.removed or shown.text == item.text or self._is_first_text(item, offset):
            return
        digest = blake3(item.text.encode("utf-8", "surrogatepass")).hexdigest(8)
        made = f"{item.id}{_MADE}{len(shown.edits)}-{digest}"
        if self._answered(made) is None:
            headers = headers_of(EDIT, item.author, made)
            self._add(item, headers, encode(EditBody(offset, item.text)), made)
            self.edited += 1

    def _is_first_text(self, item: Said, offset: int) -> bool:
        """Whether the file has the first text, and the later ones as items of their own."""
        stream = self._channel.stream
        for change in self.index.changes.get(offset, ()):
            headers = stream[change].headers
            if headers[KIND] == EDIT and _MADE not in headers.get(MESSAGE_ID, _MADE):
                return decode_message(stream[offset].payload).text == item.text
        return False

    def _answered(self, message_id: str) -> int | None:
        found = self.ids.get(message_id)
        return self._known.answered(message_id) if found is None else found

    def _add(
        self, item: Kept, headers: Mapping[str, str], payload: bytes, made: str | None = None
    ) -> None:
        self.ids[item.id if made is None else made] = self.first + len(self.payloads)
        self.payloads.append(payload)
        self.headers.append(headers)
        self.times.append(item.time)


def _source(item: Kept) -> dict[str, Any] | None:
    source = item.source
    return (source if type(source) is dict else dict(source)) or None


def channel_name(name: str) -> str:
    """A name that a stream can have, for what a platform calls a channel."""
    if not name or name[0] == "$" or name != name.strip() or not name.isprintable():
        return quote(name, safe="/#") or "channel"
    return name


def unresolved(known: Channel) -> Iterator[dict[str, Any]]:
    """What was imported about messages that were not there."""
    for record in known.stream.read(where={KIND: UNRESOLVED}):
        yield msgspec.json.decode(record.payload)
