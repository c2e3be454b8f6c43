"""A proof made from an open store, at a checkpoint.

Owns which leaves and commits a proof needs; `transit.evidence.statement` says what makes it valid.
Everything that goes in was read through the store's own checks, and the proof as a whole is for the
caller to check (`transit.evidence.checking`), as anybody would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from transit.errors import InvalidInputError
from transit.evidence.commits import CommitTree
from transit.evidence.leaves import SegmentLeaves
from transit.evidence.statement import (
    CHECKPOINT_FILE,
    STATEMENT_FILE,
    Leaf,
    Statement,
    commit_file,
    encode_statement,
    inclusion_file,
    leaf_file,
    opened_file,
    secret_file,
)
from transit.format.envelope import NO_KEYS, chunk_in, envelope_at, is_envelope
from transit.format.lineage import LINEAGE_ID, LineageRecord
from transit.lineage.graph import Graph
from transit.log.catalog import Catalog
from transit.log.segments import Segment
from transit.proof.checkpoint import Checkpoint
from transit.proof.chunks import BY_RECORD
from transit.proof.files import InclusionFile
from transit.proof.paths import inclusion_path

Files = dict[str, bytes]
"""The files of a proof by name."""


class Sealed(NamedTuple):
    """What proofs are made of: a store's catalog, its commits, and the leaves of a segment."""

    catalog: Catalog
    tree: CommitTree
    leaves: Callable[[Segment], SegmentLeaves]


class Maker:
    """Makes proofs at one checkpoint. note: the signed checkpoint's bytes. Not safe for threads."""

    def __init__(self, sealed: Sealed, checkpoint: Checkpoint, note: bytes) -> None:
        self._sealed = sealed
        self._checkpoint = checkpoint
        self._note = note
        self._segments = [
            segment for segment in sealed.catalog.view.segments if segment.commit < checkpoint.size
        ]
        self._places = dict(_places(self._segments))

    def count(self, stream: int) -> int:
        """How many records a stream has at the checkpoint, inherited ones included.

        `InvalidInputError` when the checkpoint does not cover the stream.
        """
        start = self._record(stream).start
        self._require(LINEAGE_ID, stream, stream + 1)
        rows = self._sealed.catalog.sealed_rows(stream, start, 2**63 - 1)
        stops = [
            segment.index.stop(row)
            for segment, found in rows
            if segment.ref.digest in self._places
            for row in found[-1:]
        ]
        return max(stops, default=start)

    def make(self, stream: int, first: int, stop: int, *, end: bool) -> Files:
        """The files of the proof that says so, `HOW.txt` left out.

        `InvalidInputError` when the checkpoint does not cover the records.
        """
        leaves: dict[tuple[int, int, int], Leaf] = {}
        about: dict[str, bytes] = {}
        for segment, index, whole in self._wanted(stream, first, stop, end):
            tree = self._sealed.leaves(segment)
            leaf = self._leaf(segment, tree, index)
            leaves[leaf.commit, leaf.segment, leaf.index] = leaf
            if whole and leaf_file(leaf.digest) not in about:
                data = about[leaf_file(leaf.digest)] = tree.about(index)
                if leaf.stream not in BY_RECORD and is_envelope(data, 0):
                    about.update(self._opened(leaf, data))
        statement = Statement(
            store=self._sealed.catalog.store_id.hex(),
            origin=self._checkpoint.origin,
            size=self._checkpoint.size,
            stream=stream,
            records=(first, stop),
            end=end,
            leaves=tuple(leaves[key] for key in sorted(leaves)),
        )
        files: Files = {STATEMENT_FILE: encode_statement(statement), CHECKPOINT_FILE: self._note}
        files.update(about)
        for number in sorted({leaf.commit for leaf in statement.leaves}):
            files.update(self._commit(number))
        return files

    # Which leaves

    def _wanted(
        self, stream: int, first: int, stop: int, end: bool
    ) -> Iterator[tuple[Segment, int, bool]]:
        """The leaves of a proof: a segment, the leaf's index, and whether its bytes go in."""
        told: set[int] = set()

        def tell(number: int) -> LineageRecord:
            told.add(number)
            return self._record(number)

        spans = [span for span in Graph(tell).history(stream, stop) if span.stop > first]
        told.add(stream)
        told.update(span.stream for span in spans)
        last: Segment | None = None
        for number in sorted(told):
            for segment, index in self._require(LINEAGE_ID, number, number + 1):
                yield segment, index, True
                if number == stream:
                    last = segment
        for span in spans:
            low = span.origin + max(first - span.first, 0)
            for segment, index in self._require(span.stream, low, span.origin + span.count):
                yield segment, index, True
        if end:
            start = self._record(stream).start
            if stop > start:
                for last, index in self._require(stream, stop - 1, stop):
                    yield last, index, True
            assert last is not None
            for segment in self._segments[self._segments.index(last) :]:
                tree = self._sealed.leaves(segment)
                at = tree.before(stream, stop - 1)
                yield from ((segment, i, False) for i in (at, at + 1) if 0 <= i < len(tree))

    def _require(self, stream: int, first: int, stop: int) -> list[tuple[Segment, int]]:
        """The leaves that hold a stream's own records from `first` to before `stop`, in order."""
        found: list[tuple[Segment, int]] = []
        reached = first
        for segment, _ in self._sealed.catalog.sealed_rows(stream, first, stop):
            if segment.ref.digest not in self._places:
                break
            tree = self._sealed.leaves(segment)
            for index in range(max(tree.before(stream, reached), 0), len(tree)):
                owner, begins, count, _ = tree.leaf(index)
                if owner != stream or begins > reached or reached >= stop:
                    break
                found.append((segment, index))
                reached = begins + count
        if reached < stop:
            missing = f"record {reached} of stream {stream}"
            if stream == LINEAGE_ID:
                missing = f"stream {self._record(reached).name!r}"
            raise InvalidInputError(
                f"the checkpoint of {self._checkpoint.size} commits does not cover {missing}: "
                "make a new checkpoint"
            )
        return found

    def _record(self, stream: int) -> LineageRecord:
        return self._sealed.catalog.record(stream)

    # Files

    def _leaf(self, segment: Segment, tree: SegmentLeaves, index: int) -> Leaf:
        stream, first, count, digest = tree.leaf(index)
        return Leaf(
            commit=segment.commit,
            segment=self._places[segment.ref.digest],
            index=index,
            size=len(tree),
            path=tuple(each.hex() for each in tree.path(index)),
            stream=stream,
            first=first,
            count=count,
            digest=digest,
        )

    def _opened(self, leaf: Leaf, data: bytes) -> Files:
        """What opens one envelope, and the chunk in it; `SealedError` without its key."""
        keys, place = self._sealed.catalog.keys, leaf_file(leaf.digest)
        envelope = envelope_at(data, 0, place)
        chunk = chunk_in(envelope, NO_KEYS if keys is None else keys, place)
        assert keys is not None
        return {
            secret_file(leaf.digest): keys.secret(envelope, place),
            opened_file(leaf.digest): bytes(chunk.data),
        }

    def _commit(self, number: int) -> Files:
        data, _ = self._sealed.tree.commit(number)
        path = inclusion_path(number, self._checkpoint.size, self._sealed.tree.hash_at)
        return {
            commit_file(number): data,
            inclusion_file(number): InclusionFile(number, tuple(path), self._note).encode(),
        }


def _places(segments: list[Segment]) -> Iterator[tuple[str, int]]:
    """The digest of each segment and its place among those of its commit."""
    seen: Counter[int] = Counter()
    for segment in segments:
        yield segment.ref.digest, seen[segment.commit]
        seen[segment.commit] += 1
