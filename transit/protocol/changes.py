"""What a watch of many streams asks for, and what its events say: POST /v1/changes.

A watch of named streams says how each is known to stand, and is told of those that stand otherwise:
at first, and whenever they change. A watch of a prefix, or of all, has a position instead: a text
that a server gave, which says up to where its changes were told. Either way a watch that broke off
goes on where it was, whatever happened meanwhile.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from transit.protocol.calls import Description, Name, Offset

WATCHED_MAX: Final = 100_000
"""Streams that one watch may name."""


class Known(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A stream to watch, by its name or `$$<uid>`, and how it is known to stand.

    next_offset: null where it is not known; then the stream is told at first.
    """

    stream: Name
    next_offset: Offset | None = None
    finished: bool = False
    hidden: bool = False


class WatchRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """POST /v1/changes: which streams to watch.

    streams: these; none of them for an empty list. Where it is left out: those of users whose names
    begin with `prefix`, all that the token may read, also those that are made later; since: the
    last `position` that was told.
    """

    streams: Annotated[list[Known], Meta(max_length=WATCHED_MAX)] | None = None
    prefix: Annotated[str, Meta(max_length=512)] = ""
    since: Annotated[str, Meta(max_length=64)] = ""


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """The data of an event of POST /v1/changes. The first one comes at once, and may be empty.

    streams: those that have more records, were finished, hidden or shown again, as they stand now.
    more: the next event belongs to this one. position: what to give as `since`; it covers what was
    told up to here. all: it is not known what changed before: look at what there is, and only then
    go by `position`. ended: the last event: why the store can be watched no more.
    """

    streams: list[Description] = []
    more: bool = False
    position: str = ""
    all: bool = False
    ended: str = ""
