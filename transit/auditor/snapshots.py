"""Index snapshots of a remote, each against the chain that names it.

A snapshot must cover everything before the commit that names it, its layers must be snapshots that
earlier commits name, and each entry must be what the chain says of the segment, with the footer and
the index that are in it: their digests decide.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from transit.auditor.chain import Named
from transit.errors import CorruptError
from transit.format.commit import Commit, IndexRef
from transit.format.digest import digest
from transit.format.segment import ENTRY
from transit.format.snapshot import (
    SNAPSHOT_BYTES_MAX,
    Layer,
    Snapshot,
    SnapshotSegment,
    decode_snapshot,
)
from transit.tier.remote import Remote, index_key
from transit.verify.findings import Ledger


class SnapshotAudit:
    """Reads the snapshots of one remote. One is in memory at a time."""

    def __init__(
        self, remote: Remote, ledger: Ledger, store_id: bytes, segments: Sequence[Named]
    ) -> None:
        self._remote = remote
        self._ledger = ledger
        self._store_id = store_id
        self._segments = segments
        self._known: dict[bytes, Layer] = {}

    def check(self, commit: Commit, index: IndexRef) -> None:
        """Check the snapshot that `commit` names; commits come in order of their numbers."""
        place = self._remote.place(index_key(index.digest))
        with self._ledger.catching():
            name = bytes.fromhex(index.digest)
            if name in self._known:
                raise CorruptError(
                    place, expected=f"another snapshot in commit {commit.number}", found="the same"
                )
            if index.bytes > SNAPSHOT_BYTES_MAX:
                raise CorruptError(place, expected="a snapshot's size", found=str(index.bytes))
            data = self._remote.snapshot(index.digest, index.bytes)
            if len(data) != index.bytes:
                raise CorruptError(place, expected=f"{index.bytes} bytes", found=str(len(data)))
            self._ledger.counts["bytes"] += len(data)
            snapshot = decode_snapshot(data, self._store_id, place)
            self._ledger.counts["index_snapshots"] += 1
            self._known[name] = Layer(name, index.bytes, snapshot.first, snapshot.last)
            self._check(snapshot, commit, place)

    def _check(self, snapshot: Snapshot, commit: Commit, place: str) -> None:
        if snapshot.last != commit.number - 1:
            raise CorruptError(
                place, expected=f"all before commit {commit.number}", found=f"to {snapshot.last}"
            )
        for number, layer in enumerate(snapshot.layers):
            if self._known.get(layer.digest) != layer:
                raise CorruptError(
                    f"{place}, layer {number}",
                    expected="a snapshot that an earlier commit names",
                    found=layer.digest.hex(),
                )
        low = bisect_left(self._segments, snapshot.first, key=lambda named: named.commit)
        high = bisect_left(self._segments, snapshot.last + 1, key=lambda named: named.commit)
        if high - low != len(snapshot.segments):
            raise CorruptError(
                place, expected=f"{high - low} segments", found=str(len(snapshot.segments))
            )
        pairs = zip(snapshot.segments, self._segments[low:high], strict=True)
        for number, (entry, named) in enumerate(pairs):
            _check_entry(entry, named, f"{place}, segment {number}")


def _check_entry(entry: SnapshotSegment, named: Named, place: str) -> None:
    if (entry.ref, entry.commit) != (named.ref, named.commit):
        raise CorruptError(
            place,
            expected=f"segment {named.ref.digest} of commit {named.commit}, as it is named there",
            found=f"{entry.ref.digest} of {entry.commit}",
        )
    # The last entry of a footer is the index's; the footer is the one that the commit names.
    *_, stated = ENTRY.unpack_from(entry.footer, len(entry.footer) - ENTRY.size)
    found = digest(entry.index)
    if found != stated:
        raise CorruptError(f"{place}, index", expected=stated.hex(), found=found.hex())
