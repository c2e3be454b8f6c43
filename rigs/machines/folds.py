"""Views of the machines' streams, and what they must come to: plain loops over the model's records.

The machines' payloads are any bytes. One view reads them as they are, into tables with numbers,
indexes, unique fields and rows that go again, and refuses some records; one reads them as JSON, and
skips those that are none; one reads what has a header.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from transit import views
from transit.testing.model import ModelRecord, shown

SLOTS: Final = 3
TEXT_MAX: Final = 60


class Size(msgspec.Struct, frozen=True):
    """How many payloads begin with a byte, and how large they are."""

    lead: bytes
    count: int = 0
    size: int = 0


class Head(msgspec.Struct, frozen=True):
    """The first payload with this beginning; gone while an even number of them came."""

    id: int | None
    text: bytes


class Latest(msgspec.Struct, frozen=True):
    """The newest record of a slot, with all that a reducer is told of its place."""

    kind: str
    slot: int
    offset: int
    time: int
    origin: str
    draw: int


class Text(msgspec.Struct, frozen=True):
    """How often a JSON value came."""

    text: str
    count: int


sizes = views.table("sizes", Size, key="lead", index=["count", ("size", "count")])
heads = views.table("heads", Head, key="id", unique=["text"], auto=True)
latest = views.table("latest", Latest, key=("kind", "slot"))
texts = views.table("texts", Text, key="text", index=["count"])

Rows = dict[str, list[Any]]


class Refused(Exception):
    """What the reducer raises at some records."""


def is_refused(payload: bytes) -> bool:
    """Whether the first view stands before such a record."""
    return len(payload) % 37 == 36


@views.reducer(sizes, heads, latest, reads=bytes)
def everything(sizes: Any, heads: Any, latest: Any, event: bytes, at: views.At) -> None:
    """Take up any payload."""
    row = sizes.get(event[:1]) or Size(event[:1])
    sizes.put(Size(row.lead, row.count + 1, row.size + len(event)))
    there = list(heads.where(text=event[:2]))
    if there:
        heads.delete(there[0].id)
    else:
        heads.insert(Head(None, event[:2]))
    origin = f"{at.origin.stream}@{at.origin.offset} {at.stream}"
    kind = at.headers.get("kind", "")
    draw = at.random.randrange(100)
    latest.put(Latest(kind, at.offset % SLOTS, at.offset, at.time, origin, draw))
    if is_refused(event):
        # After it wrote: nothing of that may stay.
        raise Refused(at.offset)


@views.reducer(texts, reads=int | str | None, on_error="skip")
def lenient(texts: Any, event: Any, at: views.At) -> None:
    """Count JSON values; what is none is skipped."""
    text = repr(event)[:TEXT_MAX]
    row = texts.get(text) or Text(text, 0)
    texts.put(Text(row.text, row.count + 1))


@views.reducer(texts, reads=bytes, where={"kind": "tool-call"})
def picked(texts: Any, event: bytes, at: views.At) -> None:
    """Count payloads of records with a header."""
    text = event[:8].hex()
    row = texts.get(text)
    texts.put(Text(text, 1 if row is None else row.count + 1))


class Folded(NamedTuple):
    """What a loop comes to. stop: records taken. skipped: offsets of those that were no events."""

    rows: Rows
    stop: int
    applied: int
    skipped: list[int]


def _everything(records: Sequence[ModelRecord]) -> Folded:
    sizes: dict[bytes, Size] = {}
    heads: dict[bytes, Head] = {}
    latest: dict[tuple[str, int], Latest] = {}
    last = 0
    for record in records:
        payload = record.payload
        if is_refused(payload):
            break
        lead, text = payload[:1], payload[:2]
        row = sizes.get(lead, Size(lead))
        sizes[lead] = Size(lead, row.count + 1, row.size + len(payload))
        if text in heads:
            del heads[text]
        else:
            last += 1
            heads[text] = Head(last, text)
        name = shown(record.origin.stream)
        kind, slot = record.headers.get("kind", ""), record.offset % SLOTS
        latest[kind, slot] = Latest(
            kind, slot, record.offset, record.timestamp, f"{name}@{record.origin.offset} {name}", 0
        )
    count = sum(row.count for row in sizes.values())
    rows: Rows = {
        "sizes": [sizes[key] for key in sorted(sizes)],
        "heads": sorted(heads.values(), key=lambda row: row.id or 0),
        "latest": [latest[key] for key in sorted(latest)],
    }
    return Folded(rows, count, count, [])


def _lenient(records: Sequence[ModelRecord]) -> Folded:
    counts: dict[str, int] = {}
    skipped = []
    for record in records:
        try:
            value = msgspec.json.decode(record.payload, type=int | str | None)
        except (msgspec.DecodeError, UnicodeDecodeError):
            skipped.append(record.offset)
            continue
        text = repr(value)[:TEXT_MAX]
        counts[text] = counts.get(text, 0) + 1
    rows: Rows = {"texts": [Text(text, counts[text]) for text in sorted(counts)]}
    return Folded(rows, len(records), len(records) - len(skipped), skipped)


def _picked(records: Sequence[ModelRecord]) -> Folded:
    counts: dict[str, int] = {}
    for record in records:
        if record.headers.get("kind") == "tool-call":
            text = record.payload[:8].hex()
            counts[text] = counts.get(text, 0) + 1
    rows: Rows = {"texts": [Text(text, counts[text]) for text in sorted(counts)]}
    return Folded(rows, len(records), sum(counts.values()), [])


class Fold(NamedTuple):
    """A reducer, and the loop that it is compared with."""

    reducer: views.Reducer
    model: Callable[[Sequence[ModelRecord]], Folded]


FOLDS: Final = (Fold(everything, _everything), Fold(lenient, _lenient), Fold(picked, _picked))


def rows_of(state: views.State) -> Rows:
    """All rows of a state; numbers that are drawn for a record are left out."""
    return {name: list(map(_plain, table)) for name, table in state.tables.items()}


def _plain(row: Any) -> Any:
    return msgspec.structs.replace(row, draw=0) if isinstance(row, Latest) else row


def by_lookup(state: views.State, rows: Rows) -> Iterable[tuple[str, Any, Any]]:
    """What rows come to when they are asked for by key and by index: place, expected, found."""
    for row in rows.get("sizes", ()):
        yield "sizes", row, state.sizes.get(row.lead)
        same = [each for each in rows["sizes"] if each.count == row.count]
        yield "sizes by count", same, list(state.sizes.where(count=row.count))
    for row in rows.get("heads", ()):
        yield "heads by text", [row], list(state.heads.where(text=row.text))
    for row in rows.get("texts", ()):
        same = [each for each in rows["texts"] if each.count == row.count]
        yield "texts by count", same, list(state.texts.where(count=row.count))
