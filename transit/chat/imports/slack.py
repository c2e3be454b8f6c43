"""Exports of Slack workspaces: a folder or a zip archive with a folder a channel and a file a day.

Owns what a message of Slack becomes:

- ids are `slack:<channel id>/<ts>`, with the channel's name where the export does not say its id;
- a message with another `thread_ts` answers that one, there or not, also when it was sent to the
  channel too (`thread_broadcast`); one with its own `thread_ts`, or with `replies`, starts a
  thread;
- `edited` gives an `Edited` with the text of the message: the export has only the last one. So do
  records of subtype `message_changed`; `message_deleted` and `tombstone` give a `Removed`;
- each user of a reaction gives a `Reacted` with the time of the message: the export has no other;
- joining and leaving gives a `Member`; what else Slack says itself is `Said` with `system`.

Mentions like `<@U123>` stay in the text. Names are those of users.json, or of the message where the
user is not in it. A file is read in the order of time; of more than `documents.WHOLE_BYTES_MAX`, as
it is. Not read: what is said of channels and users beyond their names, integration_logs.json,
canvases, and files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from operator import gt
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import msgspec

from transit import InvalidInputError, NotFoundError
from transit.chat.imports.documents import WHOLE_BYTES_MAX, Entry, Unreadable, decode
from transit.chat.imports.faults import bad
from transit.chat.imports.items import Edited, Item, Member, Place, Reacted, Removed, Said
from transit.chat.imports.records import (
    Record,
    first_text,
    is_record,
    items,
    record,
    records_in,
    text,
    without,
)
from transit.chat.imports.repeats import InTime
from transit.chat.imports.times import of_decimal
from transit.chat.imports.trees import Tree, is_alone, records, tree, whole

_LISTS = ("channels.json", "groups.json", "dms.json", "mpims.json")
_NOT_OF_CHANNELS = ("canvas_in_the_conversation.json",)
_MEMBERS = {
    "channel_join": "joined",
    "group_join": "joined",
    "channel_leave": "left",
    "group_leave": "left",
}
# What somebody said, among the subtypes; all others are Slack's own words.
_SAID = frozenset(
    (
        "bot_message",
        "me_message",
        "thread_broadcast",
        "reply_broadcast",
        "file_share",
        "file_comment",
        "file_mention",
        "slackbot_response",
        "assistant_app_thread",
        "document_mention",
    )
)


# What a message may have that makes it another thing, or several.
_MORE = frozenset(("subtype", "edited", "reactions", "replies"))


class _Channel(NamedTuple):
    name: str
    id: str


def read(path: str | Path, *, channel: str | None = None) -> Iterator[Item]:
    """All messages of the export at `path`, or those of one channel, by its name or id."""
    files = tree(path)
    root = root_of(files)
    if root is None:
        raise InvalidInputError(
            f"{path}: is no export of Slack: "
            "it has neither channels.json nor folders with a file a day"
        )
    days = _days(files, root)
    yield from _reading(files, root, days, channel)


def root_of(files: Tree) -> str | None:
    """Where in `files` the export begins: "" or a folder, `export/`; None if it is none."""
    names = () if is_alone(files) else files.names()
    for name in sorted(names, key=lambda each: each.count("/")):
        if PurePosixPath(name).name in _LISTS:
            return name[: name.rfind("/") + 1]
    for name in names:
        stem = PurePosixPath(name).stem
        if len(stem) == 10 and stem[4] + stem[7] == "--" and stem.replace("-", "").isdigit():
            return "/".join([*PurePosixPath(name).parts[:-2], ""]) if "/" in name else None
    return None


def _days(files: Tree, root: str) -> dict[str, list[str]]:
    """The files of each folder right below the root."""
    days: dict[str, list[str]] = {}
    for name in files.names():
        folder, slash, day = name.removeprefix(root).partition("/")
        if name.startswith(root) and slash and "/" not in day and day not in _NOT_OF_CHANNELS:
            days.setdefault(folder, []).append(name)
    return days


def _reading(
    files: Tree, root: str, days: Mapping[str, list[str]], wanted: str | None
) -> Iterator[Item]:
    channels: dict[str, _Channel] = {}
    users: dict[str, str] = {}
    there = set(files.names())
    for list_name in [*_LISTS, "users.json"]:
        for entry in records(files, root + list_name) if root + list_name in there else ():
            if isinstance(entry.value, Unreadable):
                yield bad(Place(root + list_name, entry.number), entry.value.reason, entry.raw)
            elif list_name == "users.json":
                users[text(record(entry.value).get("id"))] = _name(record(entry.value))
            else:
                _add(channels, record(entry.value))
    chosen = {
        folder: channels.get(folder, _Channel(folder, folder))
        for folder in days
        if wanted is None or wanted in (folder, *channels.get(folder, ()))
    }
    if wanted is not None and not chosen:
        raise NotFoundError(f"{files.path}: no channel {wanted!r}; there are {', '.join(days)}")
    for folder, channel in chosen.items():
        reader = _ChannelReader(channel, users)
        for day in days[folder]:
            found = _split(whole(files, day))
            if found is None:
                yield from reader.day(day, records(files, day))
            else:
                yield from reader.whole_day(day, *found)


def _add(channels: dict[str, _Channel], entry: Record) -> None:
    name, found = text(entry.get("name")), text(entry.get("id"))
    if name or found:
        channel = _Channel(name or found, found or name)
        # A folder has the name of its channel, or the id of a direct conversation.
        channels.setdefault(channel.name, channel)
        channels.setdefault(channel.id, channel)


def _name(user: Record) -> str:
    profile = record(user.get("profile"))
    return first_text(
        profile.get("display_name"),
        user.get("display_name"),
        profile.get("real_name"),
        user.get("real_name"),
        user.get("name"),
        user.get("id"),
    )


class _Stamped(msgspec.Struct, gc=False):
    """When a record is of; msgspec passes over the rest."""

    ts: str = ""


_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_stamped_decoder = msgspec.json.Decoder(list[_Stamped])


def _split(data: bytes | None) -> tuple[list[msgspec.Raw], list[_Stamped]] | None:
    """A list of records with their times; None where not all are objects with such a text."""
    if data is None:
        return None
    try:
        return _list_decoder.decode(data), _stamped_decoder.decode(data)
    except (ValueError, RecursionError):
        return None


class _ChannelReader:
    """Reads the days of one channel, one after the other."""

    def __init__(self, channel: _Channel, users: Mapping[str, str]) -> None:
        self._channel = channel
        self._users = users
        self._ids = f"slack:{channel.id}/"
        self._repeats = InTime()
        # Old exports name the replies in the root alone.
        self._roots: dict[str, str] = {}

    def day(self, name: str, entries: Iterator[Entry]) -> Iterator[Item]:
        """The records of a file in the order of time, as far as memory allows."""
        first, size = [], 0
        for entry in entries:
            first.append(entry)
            size += len(entry.raw)
            if size > WHOLE_BYTES_MAX:
                break
        else:
            first.sort(key=_when)
        for entry in chain(first, entries):
            place = Place(name, entry.number)
            yield from self._any(place, entry.value, entry.raw)

    def whole_day(
        self, name: str, raws: list[msgspec.Raw], stamps: list[_Stamped]
    ) -> Iterator[Item]:
        """The same of a file that is in memory: a record is decoded when it is wanted."""
        times = [of_decimal(each.ts) or 0 for each in stamps]
        order: Sequence[int] = range(len(times))
        if any(map(gt, times, times[1:])):
            order = sorted(order, key=times.__getitem__)
        for at in order:
            raw = bytes(raws[at])
            value, place = decode(raw), Place(name, at + 1)
            if type(value) is dict and _is_plain(value, stamps[at].ts, times[at]):
                again = self._repeats.note_time(stamps[at].ts, times[at], raw)
                if again is not None:
                    yield self._plain(place, value, times[at], again)
            else:
                yield from self._any(place, value, raw)

    def _plain(self, place: Place, message: dict[str, Any], time: int, again: str) -> Said:
        """A message as most are; `message` becomes its source."""
        ts, author, said = message.pop("ts"), message.pop("user"), message.pop("text")
        listed = self._roots.pop(ts, "")
        root = message.get("thread_ts") or listed
        return Said(
            place=place,
            channel=self._channel.name,
            id=f"{self._ids}{ts}{again}",
            author=author,
            name=self._users.get(author) or self._name_of(author, message),
            text=said,
            time=time,
            answers=f"{self._ids}{root}" if root and root != ts else None,
            starts=root == ts,
            source=message,
        )

    def _any(self, place: Place, value: object, raw: bytes) -> Iterator[Item]:
        if isinstance(value, Unreadable):
            yield bad(place, value.reason, raw)
        elif not is_record(value):
            yield bad(place, "it is no message: no object", raw)
        else:
            yield from self._items(place, record(value), raw)

    def _items(self, place: Place, message: Record, raw: bytes) -> Iterator[Item]:
        ts = _ts(message.get("ts"))
        time = of_decimal(ts)
        if time is None:
            yield bad(place, f"ts is no time: {message.get('ts')!r:.40}", raw)
            return
        if _is_usual(ts):
            again = self._repeats.note_time(ts, time, raw)
        else:
            again = self._repeats.note(ts, raw)
        if again is None:
            return
        about = _About(place, self._channel.name, self._id(ts) + again, time)
        changes = {"message_changed": self._changed, "message_deleted": self._deleted}
        subtype = text(message.get("subtype"))
        if subtype in changes:
            yield changes[subtype](about, message) or bad(place, f"{subtype} of what?", raw)
        elif subtype in _MEMBERS:
            yield self._member(about, message, _MEMBERS[subtype])
        else:
            yield from self._said(about, message, ts)
        yield from self._reactions(about, message)

    def _said(self, about: _About, message: Record, ts: str) -> Iterator[Item]:
        subtype = text(message.get("subtype"))
        author = _author(message)
        listed = self._roots.pop(ts, "")
        root = _ts(message.get("thread_ts")) or listed
        replies = records_in(message.get("replies"))
        said = text(message.get("text"))
        yield Said(
            **about._asdict(),
            author=author,
            name=self._name_of(author, message),
            text=said,
            system=bool(subtype) and subtype not in _SAID,
            answers=self._id(root) if root and root != ts else None,
            starts=root == ts or bool(replies),
            source=_source(message),
        )
        for reply in replies:
            if not _ts(message.get("thread_ts")) or root == ts:
                self._roots[_ts(reply.get("ts"))] = ts
        edited = record(message.get("edited"))
        if edited:
            edit_ts = _ts(edited.get("ts"))
            edit = about._replace(
                id=f"{about.id}/edited/{edit_ts}", time=of_decimal(edit_ts) or about.time
            )
            author = text(edited.get("user")) or author
            yield Edited(**edit._asdict(), message=about.id, author=author, text=said)
        if subtype == "tombstone":
            gone = about._replace(id=about.id + "/removed")
            yield Removed(**gone._asdict(), message=about.id, author="", reason="tombstone")

    def _changed(self, about: _About, change: Record) -> Item | None:
        new = record(change.get("message"))
        ts = _ts(new.get("ts"))
        if not ts:
            return None
        edited = record(new.get("edited"))
        return Edited(
            **about._asdict(),
            message=self._id(ts),
            author=first_text(edited.get("user"), _author(new), _author(change)),
            text=text(new.get("text")),
            source=_source(change, "text", "user"),
        )

    def _deleted(self, about: _About, change: Record) -> Item | None:
        ts = _ts(change.get("deleted_ts")) or _ts(record(change.get("previous_message")).get("ts"))
        if not ts:
            return None
        author = _author(change)
        source = _source(change, "text")
        return Removed(**about._asdict(), message=self._id(ts), author=author, source=source)

    def _member(self, about: _About, message: Record, change: str) -> Item:
        author = _author(message)
        name = self._name_of(author, message)
        source = _source(message, "text")
        return Member(**about._asdict(), author=author, name=name, change=change, source=source)

    def _reactions(self, about: _About, message: Record) -> Iterator[Item]:
        for reaction in records_in(message.get("reactions")):
            name = text(reaction.get("name"))
            for user in items(reaction.get("users")):
                if name and isinstance(user, str):
                    one = about._replace(id=f"{about.id}/{name}/{user}")
                    yield Reacted(**one._asdict(), message=about.id, author=user, reaction=name)

    def _id(self, ts: str) -> str:
        return self._ids + ts

    def _name_of(self, author: str, message: Record) -> str:
        return self._users.get(author) or first_text(
            _name(record(message.get("user_profile"))),
            message.get("username"),
            record(message.get("bot_profile")).get("name"),
            author,
        )


class _About(NamedTuple):
    """What all items of a message have."""

    place: Place
    channel: str
    id: str
    time: int


def _author(message: Record) -> str:
    comment = record(message.get("comment"))
    return first_text(
        message.get("user"), comment.get("user"), message.get("bot_id"), message.get("username")
    )


def _source(message: Record, *kept: str) -> dict[str, object]:
    said = [name for name in ("text", "ts", "user") if name not in kept]
    return without(message, *said)


def _ts(value: object) -> str:
    """A `ts` as text. A number of seconds keeps its microseconds: `repr` has all of its digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{Decimal(repr(value)):f}"
    return ""


def _is_usual(ts: str) -> bool:
    """Whether no other text says the time that this one says."""
    return len(ts) == 17 and ts[10] == "."


def _is_plain(message: dict[str, Any], ts: str, time: int) -> bool:
    """Whether it is a message of somebody, with nothing that makes more than one item of it."""
    author = message.get("user")
    return (
        time > 0
        and _is_usual(ts)
        and type(author) is str
        and author != ""
        and type(message.get("text")) is str
        and type(message.get("thread_ts", "")) is str
        and _MORE.isdisjoint(message)
    )


def _when(entry: Entry) -> int:
    """The time of an entry; those without one come first."""
    return of_decimal(_ts(record(entry.value).get("ts"))) or 0
