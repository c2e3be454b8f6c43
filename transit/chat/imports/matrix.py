"""Events of Matrix: JSON lines, a list, or what Element exports as JSON; files, folders, archives.

Owns what an event becomes. Ids are `matrix:<event id>`; the channel is the room's name where an
export of Element says it, else the room's id.

- A message with `m.in_reply_to` answers that one. In a thread, where that is often only the last
  message before it for clients without threads (`is_falling_back`), it then answers the root of the
  thread.
- `m.replace` gives an `Edited`, `m.reaction` a `Reacted`, a redaction a `Removed`, and so does a
  message that has become empty by one.
- `m.room.member` gives a `Member` where somebody joins, leaves or has another name.
- All other events, encrypted ones too, are `Said` with `system` and the event in `source`. An
  export of Element that has an event twice, encrypted and in clear, gives the clear one; `source`
  has both.

A sender's name is what the last member event before it says. An event that is there again, with
other content (`unsigned` aside), is another item with an id of its own. Media are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec

from transit import InvalidInputError, NotFoundError
from transit.chat.imports.documents import Document, Unreadable, are_lines, document, lines
from transit.chat.imports.faults import bad
from transit.chat.imports.items import Edited, Item, Member, Place, Reacted, Removed, Said
from transit.chat.imports.records import Record, first_text, is_record, record, text
from transit.chat.imports.repeats import Repeats
from transit.chat.imports.times import of_milliseconds
from transit.chat.imports.trees import Tree, files_of, is_alone, start_of, tree

_SAID = frozenset(("m.room.message", "m.sticker"))
_GONE = frozenset(("leave", "ban"))
_BEFORE = ("prev_content", "unsigned")


class _About(NamedTuple):
    """What all items of an event have."""

    place: Place
    channel: str
    id: str
    time: int


def read(path: str | Path, *, channel: str | None = None) -> Iterator[Item]:
    """All events of the files at `path`, or those of one room, by its name or id."""
    files = tree(path)
    reader = _Reader(channel)
    for name in files_of(files):
        try:
            yield from _events(files, name, reader)
        except InvalidInputError as error:
            if is_alone(files):
                raise InvalidInputError(f"{files.path}: {error}") from error
            yield bad(Place(name, 1), str(error), b"")
    if channel is not None and not reader.found:
        raise NotFoundError(f"{path}: there is no room {channel!r}")


def _events(files: Tree, name: str, reader: _Reader) -> Iterator[Item]:
    with files.open(name) as stream:
        if are_lines(start_of(stream)):
            part = Document({}, lines(stream, name))
        else:
            part = document(stream, name, "messages")
        if part.entries is None and text(part.head.get("event_id")):
            # One event alone, over several lines.
            yield from reader.event(Place(name, 1), part.head, PurePosixPath(name).stem)
            return
        if part.entries is None:
            raise InvalidInputError(f"{name}: holds no events of Matrix")
        room = first_text(part.head.get("room_name"))
        for number, raw, value in part.entries:
            place = Place(name, number)
            if isinstance(value, Unreadable):
                yield bad(place, value.reason, raw)
            elif not is_record(value):
                yield bad(place, "it is no event: no object", raw)
            else:
                yield from reader.event(place, record(value), PurePosixPath(name).stem, room)


class _Reader:
    """What is known of all files up to an event: ids, and who is called what."""

    def __init__(self, wanted: str | None) -> None:
        self._wanted = wanted
        self.found = False
        self._repeats = Repeats()
        self._names: dict[tuple[str, str], str] = {}

    def event(self, place: Place, whole: Record, stem: str, room: str = "") -> Iterator[Item]:
        event = whole
        if is_record(whole.get("decrypted")) and "type" not in whole:
            event = record(whole["decrypted"])
        found, time = text(event.get("event_id")), of_milliseconds(event.get("origin_server_ts"))
        channel = first_text(room, event.get("room_id"), stem)
        if self._wanted is not None and self._wanted not in (channel, event.get("room_id")):
            return
        self.found = True
        if not found or time is None or not text(event.get("type")):
            reason = "it is no event: it has no event_id, no type or no time in origin_server_ts"
            yield bad(place, reason, msgspec.json.encode(whole))
            return
        content = {name: event[name] for name in event if name not in _BEFORE}
        again = self._repeats.note(found, msgspec.json.encode(content))
        if again is not None:
            about = _About(place, channel, f"matrix:{found}{again}", time)
            source = dict(event)
            if event is not whole:
                source |= {name: whole[name] for name in whole if name != "decrypted"}
            yield from self._items(about, event, source)

    def _items(self, about: _About, event: Record, source: Record) -> Iterator[Item]:
        kind = text(event["type"])
        item: Item | None = None
        if kind in _SAID:
            item = _edited(about, event, source) or self._said(about, event, source)
        elif kind == "m.reaction":
            item = _reacted(about, event, source)
        elif kind == "m.room.redaction":
            item = _removed(about, event, source)
        elif kind == "m.room.member":
            item = self._member(about, event, source)
        yield item or self._told(about, event, source)
        because = record(record(event.get("unsigned")).get("redacted_because"))
        if because:
            time = of_milliseconds(because.get("origin_server_ts"))
            yield Removed(
                **about._replace(id=about.id + "/redacted", time=time or about.time)._asdict(),
                message=about.id,
                author=text(because.get("sender")),
                reason=text(record(because.get("content")).get("reason")),
            )

    def _said(self, about: _About, event: Record, source: Record) -> Said:
        sender = text(event.get("sender"))
        content = record(event.get("content"))
        return Said(
            **about._asdict(),
            author=sender,
            name=self._names.get((about.channel, sender), sender),
            text=text(content.get("body")),
            answers=_answered(record(content.get("m.relates_to"))),
            source=_without_body(source),
        )

    def _told(self, about: _About, event: Record, source: Record) -> Said:
        said = self._said(about, event, source)
        return msgspec.structs.replace(said, system=True)

    def _member(self, about: _About, event: Record, source: Record) -> Member | None:
        who = first_text(event.get("state_key"), event.get("sender"))
        content, before = record(event.get("content")), _before(event)
        known = self._names.get((about.channel, who))
        name = first_text(content.get("displayname"), who)
        membership = text(content.get("membership"))
        was = text(before.get("membership")) or ("join" if known is not None else "")
        change = ""
        if membership == "join":
            called = first_text(before.get("displayname"), known, who)
            self._names[about.channel, who] = name
            change = "joined" if was != "join" else "renamed" if called != name else ""
        elif membership in _GONE:
            name = self._names.pop((about.channel, who), name)
            change = "left"
        if not change:
            return None
        return Member(**about._asdict(), author=who, name=name, change=change, source=source)


def _before(event: Record) -> Record:
    unsigned = record(event.get("unsigned"))
    return record(event.get("prev_content")) or record(unsigned.get("prev_content"))


def _edited(about: _About, event: Record, source: Record) -> Edited | None:
    content = record(event.get("content"))
    relation = record(content.get("m.relates_to"))
    edited = text(relation.get("event_id"))
    if relation.get("rel_type") != "m.replace" or not edited:
        return None
    new = record(content.get("m.new_content")).get("body")
    return Edited(
        **about._asdict(),
        message=f"matrix:{edited}",
        author=text(event.get("sender")),
        # Without the new content, the body is all there is: the new one, mostly after an asterisk.
        text=new if isinstance(new, str) else text(content.get("body")),
        # Its body is for clients that know no edits, and not the text.
        source=source if isinstance(new, str) else _without_body(source),
    )


def _reacted(about: _About, event: Record, source: Record) -> Reacted | None:
    relation = record(record(event.get("content")).get("m.relates_to"))
    message, key = text(relation.get("event_id")), text(relation.get("key"))
    if not message or not key:
        return None
    return Reacted(
        **about._asdict(),
        message=f"matrix:{message}",
        author=text(event.get("sender")),
        reaction=key,
        source=source,
    )


def _removed(about: _About, event: Record, source: Record) -> Removed | None:
    content = record(event.get("content"))
    removed = first_text(event.get("redacts"), content.get("redacts"))
    if not removed:
        return None
    return Removed(
        **about._asdict(),
        message=f"matrix:{removed}",
        author=text(event.get("sender")),
        reason=text(content.get("reason")),
        source=source,
    )


def _answered(relation: Record) -> str | None:
    direct = text(record(relation.get("m.in_reply_to")).get("event_id"))
    root = text(relation.get("event_id")) if relation.get("rel_type") == "m.thread" else ""
    if root and (not direct or relation.get("is_falling_back") is True):
        return f"matrix:{root}"
    return f"matrix:{direct}" if direct else None


def _without_body(event: Record) -> dict[str, object]:
    """The event without its body, which is the text of what is said."""
    rest = dict(event)
    content = event.get("content")
    if isinstance(content, dict) and isinstance(content.get("body"), str):
        rest["content"] = {name: content[name] for name in content if name != "body"}
    return rest
