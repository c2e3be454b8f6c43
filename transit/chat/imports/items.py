"""What a file of another chat system holds, in one shape for all of them.

A reader of a format yields items in the order of the file's own conversation; what is wrong with
the file at one place is an item too, so that one bad record neither stops an import nor goes by
unseen. Nothing is dropped: what has no field here is in `source`, as the file has it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Place(msgspec.Struct, frozen=True):
    """Where in what was given: the file, or the member of an archive; line or item, from 1."""

    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A message.

    id: what the platform calls it, unlike all others of the channel: `slack:C024BE91L/1712.0042`.
    time: UTC nanoseconds. system: nobody said it. answers: the id of the message that it answers,
    by the platform's word. starts: it starts a thread by the platform's word. source: the record as
    the file has it, but for what the other fields say whole.
    """

    place: Place
    channel: str
    id: str
    author: str
    name: str
    text: str
    time: int
    system: bool = False
    answers: str | None = None
    starts: bool = False
    source: Mapping[str, object] = {}


class Edited(msgspec.Struct, frozen=True, kw_only=True):
    """A message got another text. id: of the edit itself; message: id of what was edited."""

    place: Place
    channel: str
    id: str
    message: str
    author: str
    text: str
    time: int
    source: Mapping[str, object] = {}


class Reacted(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's reaction to a message. id: of the reaction itself."""

    place: Place
    channel: str
    id: str
    message: str
    author: str
    reaction: str
    time: int
    source: Mapping[str, object] = {}


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """A message was removed. author: who did it, "" where the file does not say."""

    place: Place
    channel: str
    id: str
    message: str
    author: str
    time: int
    reason: str = ""
    source: Mapping[str, object] = {}


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody is there from now on, is called otherwise, or left:

    change is joined, renamed, left.
    """

    place: Place
    channel: str
    id: str
    author: str
    name: str
    change: str
    time: int
    source: Mapping[str, object] = {}


class Bad(msgspec.Struct, frozen=True):
    """A record that cannot be read, where it is, and why.

    raw: what is there, at most 2,000 characters.
    """

    place: Place
    reason: str
    raw: str


Item = Said | Edited | Reacted | Removed | Member | Bad
