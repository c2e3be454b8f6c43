"""Snapshots of the index: the guides of many segments in one file, named by a commit.

Owns when the next `index/<digest>.idx` file is due and what goes into it. A snapshot holds nothing
that the segments do not hold: without it, opening a bucket costs more requests and nothing else.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Final

from transit.disk import make_folder, put_if_absent, read_file
from transit.errors import TransitError
from transit.format.commit import Commit, IndexRef
from transit.format.digest import digest
from transit.format.names import index_name
from transit.format.snapshot import (
    SNAPSHOT_BYTES_MAX,
    Layer,
    Snapshot,
    SnapshotSegment,
    absorb,
    decode_snapshot,
    encode_snapshot,
)
from transit.log.catalog import Catalog
from transit.log.segments import Segment

# Commits from one snapshot to the next: what an opener reads one by one.
SNAPSHOT_COMMITS: Final = 8
# Layers that would make a larger snapshot stay apart.
LAYER_BYTES_MAX: Final = SNAPSHOT_BYTES_MAX // 2


class Snapshots:
    """Writes the snapshots of one store, for its sealer."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def take(self) -> IndexRef | None:
        """The snapshot of all commits so far, which the next is to name; None while none is due."""
        commits = self._catalog.commits
        start = commits.indexed.number if commits.indexed else 0
        if commits.count - start < SNAPSHOT_COMMITS:
            return None
        try:
            return self.keep()
        except TransitError:
            # What it is made of may be out of reach now. Nothing depends on it: later, then.
            return None

    def keep(self) -> IndexRef:
        """Keep a snapshot of all commits so far, of which there is one at least, in the folder."""
        return self.put(self.encode())

    def encode(self) -> bytes:
        """A snapshot of all commits so far, of which there is one at least, as it is stored."""
        return encode_snapshot(self._snapshot(*self._catalog.committed()))

    def put(self, data: bytes) -> IndexRef:
        """Keep a snapshot in the folder."""
        name, catalog = digest(data), self._catalog
        catalog.check_place()
        make_folder(catalog.places.index)
        put_if_absent(catalog.places.index, index_name(name), data, catalog.check_place)
        return IndexRef(digest=name.hex(), bytes=len(data))

    def _snapshot(
        self, indexed: Commit | None, stop: int, segments: tuple[Segment, ...]
    ) -> Snapshot:
        start = indexed.number if indexed else 0
        layers = self._layers(indexed)
        if layers is None:
            layers, start = [], 0
        taken = absorb([layer.last - layer.first + 1 for layer in layers], stop - start)
        while sum(layer.bytes for layer in layers[len(layers) - taken :]) > LAYER_BYTES_MAX:
            taken -= 1
        if taken:
            start = layers[-taken].first
        kept = tuple(layers[: len(layers) - taken])
        newest_first = takewhile(lambda segment: segment.commit >= start, reversed(segments))
        entries = map(_entry, reversed(list(newest_first)))
        return Snapshot(self._catalog.store_id, start, stop - 1, kept, tuple(entries))

    def _layers(self, indexed: Commit | None) -> list[Layer] | None:
        """The snapshots of all commits before `indexed`, which names the last; None: not here."""
        if indexed is None or indexed.index is None:
            return []
        place = self._catalog.places.snapshot(indexed.index.digest)
        data = read_file(place, SNAPSHOT_BYTES_MAX)
        if data is None or digest(data).hex() != indexed.index.digest:
            # Not needed: the next snapshot is made from the segments alone.
            return None
        last = decode_snapshot(data, self._catalog.store_id, place)
        layer = Layer(digest(data), len(data), last.first, last.last)
        return [*last.layers, layer]


def _entry(segment: Segment) -> SnapshotSegment:
    guide = segment.guide()
    return SnapshotSegment(segment.commit, segment.ref, guide.footer, guide.index)
