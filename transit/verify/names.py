"""What `$names` says, held against the streams there are: see `transit.format.life`."""

from __future__ import annotations

from collections.abc import Mapping

from transit.format.life import NAMES_NAME, Life
from transit.format.lineage import LINEAGE_NAME, LineageRecord
from transit.log.dependents import NO_LIFE, needs_of
from transit.verify.findings import Ledger


class NameCheck:
    """Follows streams being made, finished and hidden, in the order in which that happened.

    A record of `$names` says how many streams there were, so that it has its place among them.
    """

    def __init__(self, ledger: Ledger, records: Mapping[int, LineageRecord]) -> None:
        self._ledger = ledger
        self._records = records
        self._waiting = sorted(records)
        self._made = 0
        self._bound: dict[str, int] = {}
        self._lives: dict[int, Life] = {}
        self._streams = 0

    def life(self, offset: int, life: Life) -> None:
        """The record at `offset` of `$names`, after all before it."""
        place = f"{NAMES_NAME}@{offset}"
        if not self._streams <= life.streams <= len(self._records):
            found = f"{life.streams}, after {self._streams}"
            self._ledger.find(place, f"up to {len(self._records)} streams", found)
        self._streams = life.streams
        self._make(life.streams)
        record = self._records.get(life.stream)
        if record is None:
            self._ledger.find(place, f"stream {life.stream}", "no such stream")
            return
        before = self._lives.get(life.stream)
        self._lives[life.stream] = life
        if before is not None:
            self._kept(place, before, life)
        if life.hidden:
            if self._bound.get(record.name) == life.stream:
                del self._bound[record.name]
        elif self._bound.setdefault(record.name, life.stream) != life.stream:
            other = self._bound[record.name]
            self._ledger.find(place, f"a name that is free: {record.name!r}", f"stream {other}'s")

    def _kept(self, place: str, before: Life, life: Life) -> None:
        for what, was, now in (
            ("finished", before.finished, life.finished),
            ("deleted", before.deleted, life.deleted),
            ("erased", before.erased, life.erased),
        ):
            if was not in (None, False) and now != was:
                self._ledger.find(place, f"stream {life.stream} {what}: {was}", str(now))
        for what, least, found in (
            ("trimmed", before.trimmed, life.trimmed),
            ("freed", before.freed, life.freed),
        ):
            if found < least:
                self._ledger.find(place, f"stream {life.stream} {what} to {least}", str(found))

    def _make(self, stop: int) -> None:
        """The streams with ids before `stop`, after all before."""
        while self._made < len(self._waiting) and self._waiting[self._made] < stop:
            stream = self._waiting[self._made]
            self._made += 1
            name = self._records[stream].name
            if self._bound.setdefault(name, stream) != stream:
                self._ledger.find(f"{LINEAGE_NAME}@{stream}", "a new name", repr(name))

    def end(self, stops: Mapping[int, int]) -> None:
        """After the last record; `stops`: how many records each stream has."""
        self._make(2**63)
        for stream, life in self._lives.items():
            count = stops.get(stream, 0)
            place = f"{NAMES_NAME}, stream {stream} ({self._records[stream].name!r})"
            if life.finished is not None and count != life.finished:
                self._ledger.find(
                    place, f"{life.finished} records, as it was finished", f"{count} records"
                )
            if life.trimmed > count:
                self._ledger.find(place, f"{count} records at most trimmed", str(life.trimmed))
        self._needed()

    def _needed(self) -> None:
        """What a stream shows of others must not be gone there."""
        for stream, record in self._records.items():
            for need in needs_of(stream, record, self._lives.get(stream, NO_LIFE)):
                if need.first < self._lives.get(need.of, NO_LIFE).gone:
                    self._ledger.find(
                        f"{NAMES_NAME}, stream {need.of}",
                        f"records {need.first} to {need.last}, which stream {stream} has",
                        "deleted or trimmed",
                    )
