"""What is left of a segment, checked; and what was erased from it, told.

A redacted segment proves by itself that what is left is what was there, and that something is gone
(`transit.log.redactions`). Whether it may be gone is for `$names` to say: see `EraseCheck`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from transit.errors import CorruptError, ErasedError, SealedError
from transit.format.life import NAMES_NAME, Life
from transit.format.lineage import LineageRecord
from transit.format.record import Chunk
from transit.format.segment import BLOCK_BYTES_MAX
from transit.log.redactions import Redacted
from transit.proof.chunks import BY_RECORD
from transit.verify.findings import Erasure, Ledger
from transit.verify.segments import Keys, OnChunk, OnErased, OnSealed


class Said(NamedTuple):
    """A record of `$names`, and where it stands."""

    life: Life
    when: int
    by: str
    commit: int


def check_redacted(
    left: Redacted,
    ledger: Ledger,
    on_chunk: OnChunk,
    on_erased: OnErased,
    block_bytes_max: int = BLOCK_BYTES_MAX,
    on_sealed: OnSealed | None = None,
) -> bool:
    """Check what is left of a segment; whether all of it could be read.

    What is in envelopes that do not open here is treated as `SegmentCheck` does.
    """
    ledger.counts["redacted_segments"] += 1
    ledger.counts["bytes"] += left.bytes
    whole = False
    with ledger.catching():
        whole = _check(left, ledger, on_chunk, on_erased, block_bytes_max, on_sealed)
    return whole


def _check(
    left: Redacted,
    ledger: Ledger,
    on_chunk: OnChunk,
    on_erased: OnErased,
    block_bytes_max: int,
    on_sealed: OnSealed | None,
) -> bool:
    _check_sizes(left, block_bytes_max)
    index = left.index
    keys: Keys = []
    sealed, closed_own = 0, False
    for row, stream in enumerate(index.streams):
        first, stop = index.firsts[row], index.stop(row)
        if not left.has(row):
            on_erased(stream, first, stop, left.place)
            continue
        place = f"{left.place}, block {left.table.places[row]}"
        try:
            keys += on_chunk(_opened(left, row, place), place)
        except SealedError:
            sealed += 1
            if on_sealed is not None:
                on_sealed()
            closed_own = closed_own or stream in BY_RECORD
        except ErasedError:
            # It is here, and its key was destroyed.
            on_erased(stream, first, stop, left.place)
    ledger.counts["blocks"] += len(left.table.blocks)
    if sealed:
        ledger.counts["sealed_chunks"] += sealed
    stored = sorted(left.keys_as_stored(keys))
    if not closed_own and stored != list(zip(index.keys.tolist(), index.ids.tolist(), strict=True)):
        raise CorruptError(
            f"{left.place}, index", expected="what the blocks hold", found="another index"
        )
    _totals(left)
    return not sealed


def _check_sizes(left: Redacted, block_bytes_max: int) -> None:
    for entry in left.table.blocks:
        if entry.raw_bytes > block_bytes_max:
            raise CorruptError(
                f"{left.place}, byte {entry.position}",
                expected=f"a block of at most {block_bytes_max} bytes, with these settings",
                found=str(entry.raw_bytes),
            )


def _opened(left: Redacted, row: int, place: str) -> Chunk:
    """The chunk of a row, checked; its bytes are, also where it does not open."""
    left.stored_chunk(row)
    chunk, stated = left.chunk(row), left.index.last_written[row]
    chunk.check(place)
    if not chunk.dated:
        raise CorruptError(place, expected="when records were written", found="nothing")
    if chunk.last_written != stated:
        raise CorruptError(place, expected=f"written at {stated}", found=f"at {chunk.last_written}")
    return chunk


def _totals(left: Redacted) -> None:
    ref, index, footer = left.ref, left.index, left.footer
    derived = (sum(index.counts), len({*index.streams}))
    if not derived == (footer.records, footer.streams) == (ref.records, ref.streams):
        raise CorruptError(
            f"{left.place}, footer",
            expected=f"{derived[0]} records of {derived[1]} streams",
            found=f"{footer.records} of {footer.streams}, {ref.records} of {ref.streams}",
        )


class EraseCheck:
    """Holds what is gone, and what is there, against what `$names` says of it.

    here: whether what is looked at is the folder of the store, in which something may have been
    erased that a remote still has.
    """

    def __init__(self, ledger: Ledger, *, here: bool) -> None:
        self._ledger = ledger
        self._here = here
        # Number of the commit that is looked at; -1 for what is not sealed.
        self.commit = -1
        self.said: dict[int, list[Said]] = {}
        # By stream: runs that are gone, with the place of the first; and the first stop of a chunk
        # in a segment that is there, with its place.
        self._gone: dict[int, list[tuple[int, int, str]]] = {}
        self._there: dict[int, tuple[int, str]] = {}

    def say(self, life: Life, when: int, by: str) -> None:
        """What a record of `$names` says, in their order."""
        self.said.setdefault(life.stream, []).append(Said(life, when, by, self.commit))

    def gone(self, stream: int, first: int, stop: int, place: str) -> None:
        """These records are not there."""
        runs = self._gone.setdefault(stream, [])
        if runs and runs[-1][1] == first:
            runs[-1] = (runs[-1][0], stop, runs[-1][2])
        else:
            runs.append((first, stop, place))

    def there(self, stream: int, stop: int, place: str) -> None:
        """A chunk in a segment is there, up to an offset."""
        if self.commit >= 0:
            known = self._there.get(stream)
            if known is None or stop < known[0]:
                self._there[stream] = (stop, place)

    def last(self, stream: int) -> Life | None:
        """What is so of a stream at the end."""
        said = self.said.get(stream)
        return said[-1].life if said else None

    def end(self, records: Mapping[int, LineageRecord]) -> None:
        """After the last record; what was erased goes into the report."""
        for stream, runs in sorted(self._gone.items()):
            record = records.get(stream)
            for first, stop, place in runs:
                self._run(stream, record.name if record is not None else "", first, stop, place)
        for stream, (stop, place) in sorted(self._there.items()):
            life = self.last(stream)
            if life is None or (life.here and not self._here):
                continue
            if stop <= life.gone_bytes:
                self._ledger.find(
                    place,
                    f"stream {stream} without its records before offset {stop}, erased as "
                    f"{NAMES_NAME} says",
                    "erased, but present",
                )

    def _run(self, stream: int, name: str, first: int, stop: int, place: str) -> None:
        """Records that are gone, by the records of `$names` that each part of them rests on."""
        while first < stop:
            found = next((s for s in self.said.get(stream, ()) if s.life.gone > first), None)
            if found is None:
                self._ledger.find(
                    place,
                    f"offsets {first} to {stop - 1} of stream {stream}",
                    f"erased bytes, and no record of {NAMES_NAME} that says so",
                )
                return
            part = min(stop, found.life.gone)
            self._ledger.erased(
                Erasure(
                    name, first, part - 1, found.commit, found.by, found.when,
                    found.life.basis or "owner", found.life.reason,
                )
            )  # fmt: skip
            first = part
