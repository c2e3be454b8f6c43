"""Reducers that are not functions of their records alone: what `View.verify` is for."""

from __future__ import annotations

import random
import time
from typing import Any

import msgspec

from transit import views


class Row(msgspec.Struct, frozen=True):
    """A row."""

    key: int
    text: str = ""


class Word(msgspec.Struct):
    """An event: words, and whether what is wrong with the reducer shows at this record."""

    words: list[str]
    shows: bool = False


rows = views.table("rows", Row, key="key")
_calls = [0]
_kept: list[int] = []


@views.reducer(rows, reads=Word)
def pure(rows: Any, event: Word, at: views.At) -> None:
    """The same whenever it is folded."""
    chance = at.random
    rows.put(Row(at.offset % 7, f"{sorted(set(event.words))} {at.time} {chance.random()}"))


@views.reducer(rows, reads=Word)
def by_hash(rows: Any, event: Word, at: views.At) -> None:
    """The order of a set of texts is another in each process."""
    words = set(event.words) if event.shows else event.words
    rows.put(Row(at.offset % 7, " ".join(words)))


@views.reducer(rows, reads=Word)
def by_clock(rows: Any, event: Word, at: views.At) -> None:
    """The clock goes on."""
    rows.put(Row(at.offset % 7, str(time.time_ns() if event.shows else 0)))


@views.reducer(rows, reads=Word)
def by_chance(rows: Any, event: Word, at: views.At) -> None:
    """Numbers that nobody else draws."""
    rows.put(Row(at.offset % 7, str(random.random() if event.shows else 0)))


@views.reducer(rows, reads=Word)
def by_counter(rows: Any, event: Word, at: views.At) -> None:
    """What was called before is counted."""
    _calls[0] += event.shows
    rows.put(Row(at.offset % 7, str(_calls[0])))


@views.reducer(rows, reads=Word)
def by_default(rows: Any, event: Word, at: views.At, kept: list[int] = _kept) -> None:
    """A default that is changed stays so."""
    if event.shows:
        kept.append(1)
    rows.put(Row(at.offset % 7, str(len(kept))))


@views.reducer(rows, reads=Word)
def by_identity(rows: Any, event: Word, at: views.At) -> None:
    """Where something is in memory."""
    rows.put(Row(at.offset % 7, str(id(event) if event.shows else 0)))


IMPURE = (by_hash, by_clock, by_chance, by_counter, by_default, by_identity)
