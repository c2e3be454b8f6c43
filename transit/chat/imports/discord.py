"""Exports of DiscordChatExporter in JSON: a file, or a folder or an archive of such files.

Owns what a message of Discord becomes. Ids are `discord:<channel id>/<message id>`. A reply answers
the message that it refers to, there or not. `timestampEdited` gives an `Edited` with the text of
the message: the export has only the last one. Each user of a reaction gives a `Reacted` with the
time of the message; exports without users have counts alone, and those stay in `source`. Who comes
and goes gives a `Member`; what else Discord says itself is `Said` with `system`.

Files are read in the order of their names, and parts in the order of their numbers. Exports of one
channel may overlap: a message that is in a later file again, with another text, is an `Edited`;
with other details, a system message that has the record and answers it. A message whose `timestamp`
is no time has the time that its id holds. Not read: what the file says of the server and the
channel beyond their ids and names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from transit import InvalidInputError, NotFoundError
from transit.chat.imports.documents import Document, Unreadable, document
from transit.chat.imports.faults import bad
from transit.chat.imports.items import Edited, Item, Member, Place, Reacted, Said
from transit.chat.imports.records import (
    Record,
    first_text,
    is_record,
    record,
    records_in,
    text,
    without,
)
from transit.chat.imports.repeats import Repeats
from transit.chat.imports.times import of_iso, of_milliseconds
from transit.chat.imports.trees import files_of, is_alone, tree

# Milliseconds from 1970 to the beginning of 2015, where Discord's ids begin.
_EPOCH_MS = 1_420_070_400_000
# What people say, by the exporter's names and by the numbers of those it has no name for.
_SAID = frozenset(
    [
        "Default",
        "Reply",
        "ChatInputCommand",
        "ApplicationCommand",
        "ContextMenuCommand",
        "ThreadStarterMessage",
        "0",
        "19",
        "20",
        "21",
        "23",
    ]
)
_ANSWERS = frozenset(("Reply", "19", "Default", "0"))
_STARTS = frozenset(("ThreadCreated", "18", "ThreadStarterMessage", "21"))
_OWN = {"GuildMemberJoin": "joined", "UserJoin": "joined", "7": "joined"}
_OTHERS = {"RecipientAdd": "joined", "1": "joined", "RecipientRemove": "left", "2": "left"}


class _Channel(NamedTuple):
    name: str
    id: str


class _About(NamedTuple):
    """What all items of a message have."""

    place: Place
    channel: str
    id: str
    time: int


def read(path: str | Path, *, channel: str | None = None) -> Iterator[Item]:
    """All messages of the files at `path`, or those of one channel, by its name or id."""
    files = tree(path)
    reader = _Reader()
    found = False
    for name in files_of(files):
        try:
            with files.open(name) as stream:
                part = document(stream, name, "messages")
                head = reader.channel(part, name)
                found = found or channel in (None, *head)
                if channel in (None, *head):
                    yield from reader.messages(part, name, head)
        except InvalidInputError as error:
            if is_alone(files):
                raise InvalidInputError(f"{files.path}: {error}") from error
            yield bad(Place(name, 1), str(error), b"")
    if channel is not None and not found:
        raise NotFoundError(f"{path}: there is no channel {channel!r}")


class _Reader:
    """What is known of all files up to a message."""

    def __init__(self) -> None:
        self._repeats: dict[str, Repeats] = {}
        # Two channels may have one name, in two categories.
        self._ids: dict[str, str] = {}

    def channel(self, part: Document, name: str) -> _Channel:
        if part.entries is None or not is_record(part.head.get("channel")):
            raise InvalidInputError(f"{name}: is no export of DiscordChatExporter in JSON")
        head = record(part.head["channel"])
        called = first_text(head.get("name"), PurePosixPath(name).stem)
        channel = _Channel(called, first_text(head.get("id"), called))
        if self._ids.setdefault(called, channel.id) != channel.id:
            return channel._replace(name=f"{called} ({channel.id})")
        return channel

    def messages(self, part: Document, name: str, channel: _Channel) -> Iterator[Item]:
        repeats = self._repeats.setdefault(channel.id, Repeats())
        for number, raw, value in part.entries or ():
            place = Place(name, number)
            message = record(value)
            if isinstance(value, Unreadable):
                yield bad(place, value.reason, raw)
                continue
            found = text(message.get("id"))
            time = of_iso(text(message.get("timestamp"))) or _time_of_id(found)
            if not found or time is None:
                yield bad(place, "it is no message: it has no id or no time", raw)
                continue
            about = _About(place, channel.name, f"discord:{channel.id}/{found}", time)
            again = repeats.note(found, raw)
            if again == "":
                repeats.note(found + "/text", text(message.get("content")).encode())
                yield from _items(about, channel, message)
            elif again:
                changed = repeats.note(found + "/text", text(message.get("content")).encode())
                yield _again(about, message, again, bool(changed))
                yield from _reactions(about, message)


def _items(about: _About, channel: _Channel, message: Record) -> Iterator[Item]:
    kind = text(message.get("type"))
    author = record(message.get("author"))
    others = records_in(message.get("mentions"))
    if kind in _OWN:
        yield _member(about, author, _OWN[kind], message)
    elif kind in _OTHERS and others:
        yield _member(about, others[0], _OTHERS[kind], message)
    else:
        yield Said(
            **about._asdict(),
            author=text(author.get("id")),
            name=_name(author),
            text=text(message.get("content")),
            system=kind not in _SAID and kind != "",
            answers=_answered(channel, kind, message),
            starts=kind in _STARTS,
            source=_source(message),
        )
    edited = text(message.get("timestampEdited"))
    if edited:
        edit = about._replace(id=f"{about.id}/edited/{edited}", time=of_iso(edited) or about.time)
        yield _edited(edit, about.id, message, {})
    yield from _reactions(about, message)


def _again(about: _About, message: Record, again: str, changed: bool) -> Item:
    """The record of a message that was in an earlier file with other content."""
    edited = of_iso(text(message.get("timestampEdited")))
    other = about._replace(id=about.id + again, time=edited or about.time)
    if changed:
        return _edited(other, about.id, message, _source(message))
    return Said(
        **other._asdict(),
        author="",
        name="",
        text="",
        system=True,
        answers=about.id,
        source=dict(message),
    )


def _edited(about: _About, edited: str, message: Record, source: Record) -> Edited:
    return Edited(
        **about._asdict(),
        message=edited,
        author=text(record(message.get("author")).get("id")),
        text=text(message.get("content")),
        source=source,
    )


def _member(about: _About, who: Record, change: str, message: Record) -> Member:
    author, name = text(who.get("id")), _name(who)
    source = without(message, "id")
    return Member(**about._asdict(), author=author, name=name, change=change, source=source)


def _answered(channel: _Channel, kind: str, message: Record) -> str | None:
    reference = record(message.get("reference"))
    found = text(reference.get("messageId"))
    forwarded = text(reference.get("type")) == "Forward" or message.get("forwardedMessage")
    if not found or forwarded or kind not in _ANSWERS:
        return None
    return f"discord:{first_text(reference.get('channelId'), channel.id)}/{found}"


def _reactions(about: _About, message: Record) -> Iterator[Item]:
    for reaction in records_in(message.get("reactions")):
        emoji = record(reaction.get("emoji"))
        name = first_text(emoji.get("name"), emoji.get("code"), emoji.get("id"))
        key = first_text(emoji.get("id"), name)
        for user in records_in(reaction.get("users")):
            author = text(user.get("id"))
            if name and author:
                one = about._replace(id=f"{about.id}/{key}/{author}")
                yield Reacted(**one._asdict(), message=about.id, author=author, reaction=name)


def _name(user: Record) -> str:
    return first_text(user.get("nickname"), user.get("name"), user.get("id"))


def _source(message: Record) -> dict[str, object]:
    return without(message, "id", "content")


def _time_of_id(found: str) -> int | None:
    """The time in an id of Discord: its upper bits are milliseconds."""
    if not (found.isascii() and found.isdigit() and 15 <= len(found) <= 20):
        return None
    return of_milliseconds((int(found) >> 22) + _EPOCH_MS)
