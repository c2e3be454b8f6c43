"""The audit of one remote, step by step; see `transit.auditor`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from transit.auditor.bodies import Bodies, Body, RemoteSegment
from transit.auditor.chain import PASSES, ChainAudit, Named, listed
from transit.auditor.checkpoints import CheckpointAudit
from transit.auditor.levels import Level, choose
from transit.auditor.reruns import RerunCatalog
from transit.auditor.snapshots import SnapshotAudit
from transit.config import MIB
from transit.errors import CorruptError, TransitError
from transit.format.commit import SegmentRef
from transit.format.names import (
    INDEX_DIR,
    REDACTED_DIR,
    SEGMENT_DIR,
    WAL_DIR,
    parse_index_name,
    parse_segment_name,
    parse_wal_name,
)
from transit.format.record import Chunk
from transit.keyring.envelopes import StoreKeys
from transit.log.redactions import Bytes, Redacted, open_left
from transit.log.remembered import Remembered
from transit.proof.policy import Policy
from transit.tier.pools import at_once
from transit.tier.progress import Meter
from transit.tier.progress import Report as Reporter
from transit.tier.remote import Remote, commit_key, index_key, redacted_key, segment_key
from transit.verify.findings import Ledger, Report
from transit.verify.redacted import check_redacted
from transit.verify.segments import OnChunk, SegmentCheck, whole_file
from transit.verify.stages import CHECKSUM, TREE, highest
from transit.verify.streams import RunPolicy, StreamCheck, keys_in

_SIZES_AT_ONCE: Final = 256
# What is left of a segment is seldom larger: a digest a chunk, and blocks that compress less well.
ROOM_BYTES: Final = 64 * MIB
# More than a few wait for each other: decompression runs beside the rest, the rest does not.
_THREADS: Final = min(4, os.cpu_count() or 1)
# Always in a report of a level that reads bodies, also when there are none.
_KINDS: Final = ("index_snapshots", "blocks", "chunks", "records", "bytes")
_KINDS_WHOLE: Final = ("streams", "merges", "merges_not_rerun")


class Audit:
    """One audit of one remote; used once."""

    def __init__(
        self,
        remote: Remote,
        level: Level,
        trusted_root: str | None,
        seed: int,
        remembered: Remembered | None = None,
        policy: Policy | None = None,
        keys: StoreKeys | None = None,
    ) -> None:
        self._keys = keys
        self._remote = remote
        self._level = level
        self._seed = seed
        self._ledger = Ledger(remote.url, PASSES)
        self._chain = ChainAudit(remote, self._ledger, trusted_root, bundled=not level.whole)
        self._checkpoints = CheckpointAudit(
            remote, self._ledger, policy, remembered, thorough=level.whole
        )
        self._streams = StreamCheck(self._ledger)
        self._sound: list[Named] = []

    def run(self, run_policy: RunPolicy, reporter: Reporter | None) -> Report:
        """Check all that the level says."""
        chain, ledger = self._chain, self._ledger
        kinds = _KINDS if self._level.share else ()
        ledger.counts.update(dict.fromkeys(kinds + _KINDS_WHOLE * self._level.whole, 0))
        self._checkpoints.read()
        chain.read()
        stage = highest(TREE if chain.head else CHECKSUM, self._checkpoints.check(chain))
        segments = self._distinct(chain.segments)
        ledger.counts["segments"] = len(segments)
        wanted = self._wanted(segments)
        self._sizes(segments, wanted)
        if self._level.whole:
            snapshots = SnapshotAudit(self._remote, ledger, chain.store_id, chain.segments)
            for commit in chain.indexed:
                if commit.index is not None:
                    snapshots.check(commit, commit.index)
        self._streams.holes = not chain.whole
        bodies = Bodies(self._remote, chain.store_id)
        self._bodies(bodies, wanted, Meter("audit", reporter))
        if self._level.whole:
            self._lineage(bodies, run_policy)
        self._unnamed(segments)
        return ledger.report(self._level.name, chain.head, stage)

    def _distinct(self, segments: Sequence[Named]) -> list[Named]:
        """Each segment once; one that is named twice would be read as often."""
        names: set[str] = set()
        distinct = []
        for named in segments:
            if named.ref.digest in names:
                self._ledger.find(
                    self._remote.place(commit_key(named.commit)),
                    "segments that no other commit names",
                    named.ref.digest,
                )
            else:
                names.add(named.ref.digest)
                distinct.append(named)
        return distinct

    def _wanted(self, segments: list[Named]) -> list[Named]:
        """The segments whose bodies are read."""
        if self._level.whole or not segments or not self._level.share:
            return segments if self._level.whole else []
        chosen = choose(len(segments), self._level.share, self._seed)
        self._ledger.counts["segments_sampled"] = len(chosen)
        self._ledger.counts["sample_seed"] = self._seed
        return [segments[place] for place in chosen]

    # Sizes

    def _sizes(self, segments: list[Named], read: list[Named]) -> None:
        """Ask for the size of each object that is named and will not be read."""
        names = {named.ref.digest for named in read}
        sizes = {
            segment_key(named.ref.digest): named.ref.bytes
            for named in segments
            if named.ref.digest not in names
        }
        if not self._level.whole:
            for commit in self._chain.indexed:
                if commit.index is not None:
                    sizes[index_key(commit.index.digest)] = commit.index.bytes
        keys = list(sizes)
        for start in range(0, len(keys), _SIZES_AT_ONCE):
            part = keys[start : start + _SIZES_AT_ONCE]
            found = at_once(self._size, part, self._remote.settings.transfers_max)
            for key, size in zip(part, found, strict=True):
                self._check_size(key, sizes[key], size)

    def _size(self, key: str) -> int | TransitError | None:
        try:
            return self._remote.store.size(key)
        except TransitError as error:
            if isinstance(error, PASSES):
                raise
            return error

    def _check_size(self, key: str, expected: int, found: int | TransitError | None) -> None:
        self._ledger.counts["sizes"] += 1
        if isinstance(found, TransitError):
            self._ledger.take(found)
        elif found is None and self._is_redacted(key):
            self._ledger.counts["redacted_segments"] += 1
        elif found != expected:
            self._ledger.find(
                self._remote.place(key),
                f"{expected} bytes",
                "no object" if found is None else f"{found} bytes",
            )

    def _is_redacted(self, key: str) -> bool:
        """Whether there is what is left of a segment that is not there; its bytes are not read."""
        folder, _, name = key.partition("/")
        digest = parse_segment_name(name) if folder == SEGMENT_DIR else None
        if digest is None:
            return False
        return isinstance(self._size(redacted_key(digest.hex())), int)

    # Bodies

    def _bodies(self, bodies: Bodies, wanted: list[Named], meter: Meter) -> None:
        meter.expect(len(wanted), sum(named.ref.bytes for named in wanted))
        for named, body in bodies.ahead(wanted):
            if isinstance(body, TransitError):
                self._ledger.take(body)
                self._streams.holes = True
            elif self._segment(bodies, named, body):
                self._sound.append(named)
            else:
                self._streams.holes = True
            meter.add(1, named.ref.bytes)

    def _segment(self, bodies: Bodies, named: Named, body: Body) -> bool:
        """Check one segment; whether every chunk of it could be read."""
        segment = RemoteSegment(named, self._remote.url, self._chain.store_id, bodies, self._keys)
        on_chunk = self._streams.chunk if self._level.whole else self._lone_chunk
        self._streams.erasures.commit = named.commit
        if body.left is not None:
            return self._redacted(named.ref, body.left, on_chunk, bodies)
        threads = _THREADS if body.data is not None else 1
        on_erased = self._streams.erased if self._level.whole else self._lone_erased
        check = SegmentCheck(
            segment,
            self._ledger,
            on_chunk,
            bodies.limits.block_bytes,
            threads,
            on_erased,
            self._streams.sealed,
        )
        try:
            check.digest(body.digest if body.data is not None else whole_file(segment))
        except CorruptError as error:
            # Not there, or shorter than it is said to be: each further range would say so again.
            self._ledger.take(error)
            return False
        if not check.contents():
            return False
        if self._level.whole:
            bodies.keep_guide(named.ref)
        return True

    def _redacted(self, ref: SegmentRef, source: Bytes, on_chunk: OnChunk, bodies: Bodies) -> bool:
        """Check what is left of one segment; whether all of that could be read."""
        left: Redacted | None = None
        with self._ledger.catching():
            if source.size > ref.bytes + ROOM_BYTES:
                raise CorruptError(
                    source.place, expected=f"at most {ref.bytes} bytes", found=str(source.size)
                )
            left = open_left(source, ref, self._chain.store_id, self._keys)
            if self._level.whole:
                bodies.keep_left(left)
        on_erased = self._streams.erased if self._level.whole else self._lone_erased
        return left is not None and check_redacted(
            left,
            self._ledger,
            on_chunk,
            on_erased,
            bodies.limits.block_bytes,
            self._streams.sealed,
        )

    def _lone_erased(self, stream: int, first: int, stop: int, place: str) -> None:
        """Of a sample: whether it may be gone is said elsewhere."""
        self._ledger.counts["erased_records"] += stop - first

    def _lone_chunk(self, chunk: Chunk, place: str) -> list[tuple[int, int]]:
        """Of a sample: what a chunk says by itself; the index keys it introduces."""
        self._ledger.counts["chunks"] += 1
        self._ledger.counts["records"] += chunk.count
        return keys_in(chunk, self._ledger, place)

    def _lineage(self, bodies: Bodies, run_policy: RunPolicy) -> None:
        if self._streams.holes:
            # Lineage needs all lineage records, and each finding above may have taken some.
            self._ledger.counts["lineage_not_checked"] = 1
            return
        catalog = RerunCatalog(
            self._remote, self._chain.store_id, bodies, self._streams.records,
            self._ledger.counts["bytes"], self._streams.erasures.last, self._keys,
        )  # fmt: skip
        catalog.take_segments([catalog.segment(named.ref, named.commit) for named in self._sound])
        self._streams.lineage(catalog, catalog.run_with(run_policy))

    # Objects that no commit names

    def _unnamed(self, segments: list[Named]) -> None:
        named = {bytes.fromhex(segment.ref.digest) for segment in segments}
        for folder in (SEGMENT_DIR, REDACTED_DIR):
            for name in listed(self._remote, self._ledger, f"{folder}/"):
                self._ledger.counts["unnamed_objects"] += parse_segment_name(name) not in named
        indexed = {
            bytes.fromhex(commit.index.digest) for commit in self._chain.indexed if commit.index
        }
        for name in listed(self._remote, self._ledger, f"{INDEX_DIR}/"):
            self._ledger.counts["unnamed_objects"] += parse_index_name(name) not in indexed
        for name in listed(self._remote, self._ledger, f"{WAL_DIR}/"):
            if parse_wal_name(name) is not None:
                self._ledger.counts["wal_files_not_audited"] += 1
