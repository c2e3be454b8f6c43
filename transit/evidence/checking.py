"""A proof checked from its files alone: no store, no network.

Owns what a proof is believed for. It is checked from the checkpoint down, and nothing that a file
says is used before a digest or a hash led to it:

    checkpoint -> commit -> root of a segment's chunks -> leaf -> bytes -> records

Every failure raises `ProofError`, which names the file and what does not fit. Time and memory are
bounded by the bytes that were given.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, islice, pairwise
from typing import NamedTuple

import msgspec

from transit.errors import CorruptError, NotFoundError, ProofError, TransitError
from transit.evidence.statement import (
    CHECKPOINT_FILE,
    PAYLOAD_FILE,
    STATEMENT_FILE,
    Leaf,
    commit_file,
    decode_statement,
    inclusion_file,
    leaf_file,
    opened_file,
    secret_file,
)
from transit.format.commit import COMMIT_BYTES_MAX, Commit, decode_commit
from transit.format.digest import digest
from transit.format.envelope import chunk_in, end_of, envelope_at, is_envelope
from transit.format.lineage import LINEAGE_ID, LineageRecord, Merge, decode_lineage
from transit.format.record import Chunk
from transit.keyring.envelopes import OneSecret
from transit.lineage.graph import Graph
from transit.lineage.spans import Span
from transit.proof.checkpoint import Checkpoint
from transit.proof.chunks import LEAF, decode_said
from transit.proof.files import InclusionFile
from transit.proof.paths import check_inclusion
from transit.proof.tree import leaf_hash

Judge = Callable[[bytes], Checkpoint]
"""Takes a signed checkpoint's bytes; returns it, or raises `ProofError`: trust is decided there."""


class Shown(NamedTuple):
    """What a proof that holds shows.

    stream: name, uid and id. records: offsets that are shown, from first to before stop; end: none
    came after them up to the checkpoint. commits, leaves: how many were checked.
    merged: names of the streams on the way that are merges, which were not run again.
    """

    checkpoint: Checkpoint
    store: str
    stream: str
    uid: str
    stream_id: int
    records: tuple[int, int]
    end: bool
    commits: int
    leaves: int
    merged: tuple[str, ...]


class ShownRecord(msgspec.Struct, frozen=True, gc=False):
    """One record that a proof shows; timestamp and written: UTC nanoseconds.

    origin_stream, origin_id, origin_offset: name and id of the stream that it was appended to, and
    its offset there.
    """

    offset: int
    timestamp: int
    written: int
    writer: str
    headers: Mapping[str, str]
    payload: bytes
    origin_stream: str
    origin_id: int
    origin_offset: int


class Checked:
    """A proof that holds. `files`: by name. `judge` decides whether the checkpoint is trusted.

    Making one checks everything: `ProofError`.
    """

    def __init__(self, files: Mapping[str, bytes], judge: Judge) -> None:
        self._files = files
        self.statement = decode_statement(self._file(STATEMENT_FILE))
        self._note = self._file(CHECKPOINT_FILE)
        self.checkpoint = judge(self._note)
        self._commits: dict[int, Commit] = {}
        self._lineage: dict[int, LineageRecord] = {}
        # How many leaves a segment has, as its leaves state it.
        self._sizes: dict[tuple[int, int], int] = {}
        # Own chunks of streams that are shown, by stream, in order.
        self._chunks: dict[int, _Chunks] = {}
        # Digests of the leaves that are envelopes.
        self._enveloped: set[str] = set()
        try:
            self._check()
        except ProofError:
            raise
        except TransitError as error:
            raise ProofError(str(error)) from error

    @property
    def shown(self) -> Shown:
        """What the proof shows."""
        statement, record = self.statement, self._lineage[self.statement.stream]
        return Shown(
            checkpoint=self.checkpoint,
            store=statement.store,
            stream=record.name,
            uid=record.uid,
            stream_id=statement.stream,
            records=statement.records,
            end=statement.end,
            commits=len(self._commits),
            leaves=len(statement.leaves),
            merged=tuple(r.name for r in self._lineage.values() if isinstance(r, Merge)),
        )

    def lineage(self, stream: int) -> LineageRecord:
        """The lineage record of a stream, by its id; `NotFoundError` where it is not shown."""
        return self._record(stream)

    @property
    def streams(self) -> Mapping[int, LineageRecord]:
        """By id, the lineage records that are shown."""
        return self._lineage

    def records(self) -> Iterator[ShownRecord]:
        """The records that are shown, in order."""
        return self._records(self._spans)

    def history(self, stream: int, stop: int) -> Iterator[ShownRecord]:
        """Another stream's records before `stop`, inherited ones too, as far as they are here.

        `ProofError` where one of them is not, `NotFoundError` for a stream that is not shown.
        """
        spans = Graph(self._record).history(stream, stop)
        if (spans[-1].stop if spans else 0) != stop:
            raise ProofError(f"stream {stream} inherits no record {stop - 1}")
        for span in spans:
            self._record(span.stream)
            self._covering(span)
        return self._records(spans)

    @property
    def files(self) -> Mapping[str, bytes]:
        """The files that were given, by name."""
        return self._files

    def payload_places(self) -> Iterator[tuple[str, int, int]]:
        """Of each record that is shown, in order: the file its payload is in, where, its size."""
        for span in self._spans:
            for at, chunk in self._covering(span):
                digest = self._chunks[span.stream].digest_of(chunk)
                name = (opened_file if digest in self._enveloped else leaf_file)(digest)
                ends = [chunk.payloads_at, *self._ends(chunk)]
                stop = min(chunk.stop, span.origin + span.count)
                for place in range(max(at, span.origin) - chunk.first, stop - chunk.first):
                    yield name, ends[place], ends[place + 1] - ends[place]

    @staticmethod
    def _ends(chunk: Chunk) -> Iterator[int]:
        sizes = (len(payload) for payload in chunk.payloads())
        yield from islice(accumulate(sizes, initial=chunk.payloads_at), 1, None)

    def _records(self, spans: Iterable[Span]) -> Iterator[ShownRecord]:
        for span in spans:
            name = self._lineage[span.stream].name
            shift = span.first - span.origin
            for at, chunk in self._covering(span):
                low, high = max(at, span.origin), min(chunk.stop, span.origin + span.count)
                cut = slice(low - chunk.first, high - chunk.first)
                columns = zip(
                    range(low, high),
                    chunk.timestamps[cut],
                    chunk.written[cut],
                    chunk.headers(cut.start, cut.stop),
                    chunk.payloads(cut.start, cut.stop),
                    strict=True,
                )
                for origin, timestamp, written, headers, payload in columns:
                    yield ShownRecord(
                        offset=origin + shift,
                        timestamp=timestamp,
                        written=written,
                        writer=chunk.writer,
                        headers=headers,
                        payload=payload,
                        origin_stream=name,
                        origin_id=span.stream,
                        origin_offset=origin,
                    )

    def _file(self, name: str) -> bytes:
        try:
            return self._files[name]
        except KeyError:
            raise ProofError(f"{name}: no such file in the proof") from None

    # From the checkpoint down

    def _check(self) -> None:
        statement = self.statement
        if (self.checkpoint.origin, self.checkpoint.size) != (statement.origin, statement.size):
            raise ProofError(
                f"{STATEMENT_FILE}: about {statement.size} commits of {statement.origin!r}, "
                f"but the checkpoint is of {self.checkpoint.size} of {self.checkpoint.origin!r}"
            )
        if not self.checkpoint.origin.endswith(f"/{statement.store}"):
            raise ProofError(
                f"{CHECKPOINT_FILE}: its origin is not that of store {statement.store}"
            )
        for leaf in statement.leaves:
            self._check_leaf(leaf)
        self._spans = self._spans_shown()
        for span in self._spans:
            self._covering(span)
        if statement.end:
            self._check_end()
        self._check_payload()

    def _check_leaf(self, leaf: Leaf) -> None:
        place = f"{STATEMENT_FILE}: leaf {leaf.index} of commit {leaf.commit}"
        commit = self._commit(leaf.commit)
        if leaf.segment >= len(commit.segments):
            raise ProofError(f"{place}: the commit has no segment {leaf.segment}")
        if self._sizes.setdefault((leaf.commit, leaf.segment), leaf.size) != leaf.size:
            raise ProofError(f"{place}: two leaves of one segment state two sizes of it")
        data = LEAF.pack(leaf.stream, leaf.first, leaf.count, bytes.fromhex(leaf.digest))
        root = bytes.fromhex(commit.segments[leaf.segment].chunks)
        path = [bytes.fromhex(each) for each in leaf.path]
        try:
            check_inclusion(leaf.index, leaf.size, leaf_hash(data), path, root)
        except ProofError as error:
            raise ProofError(f"{place}: not in its segment: {error}") from None
        name = leaf_file(leaf.digest)
        if name in self._files:
            self._take(leaf, self._files[name], name)

    def _commit(self, number: int) -> Commit:
        found = self._commits.get(number)
        if found is None:
            found = self._commits[number] = self._checked_commit(number)
        return found

    def _checked_commit(self, number: int) -> Commit:
        name = commit_file(number)
        data = self._file(name)
        if len(data) > COMMIT_BYTES_MAX:
            raise ProofError(f"{name}: more than {COMMIT_BYTES_MAX} bytes")
        inclusion = InclusionFile.parse(self._file(inclusion_file(number)))
        if inclusion.index != number or inclusion.checkpoint != self._note:
            raise ProofError(f"{inclusion_file(number)}: about another commit or checkpoint")
        try:
            check_inclusion(
                number,
                self.checkpoint.size,
                leaf_hash(data),
                inclusion.hashes,
                self.checkpoint.root,
            )
        except ProofError as error:
            raise ProofError(f"{name}: not in the checkpoint's tree: {error}") from None
        commit = decode_commit(data, name)
        if (commit.number, commit.store) != (number, self.statement.store):
            raise ProofError(f"{name}: commit {commit.number} of store {commit.store}")
        return commit

    def _take(self, leaf: Leaf, data: bytes, name: str) -> None:
        """What a leaf is about."""
        if digest(data).hex() != leaf.digest:
            raise ProofError(f"{name}: other bytes than its name says")
        if leaf.stream == LINEAGE_ID:
            record = decode_lineage(decode_said(data, name).payload, leaf.first)
            if self._lineage.setdefault(leaf.first, record) != record:
                raise ProofError(f"{name}: a second lineage record of stream {leaf.first}")
            return
        if is_envelope(data, 0):
            data = self._opened(leaf, data, name)
        chunk = Chunk(data, 0, name)
        chunk.check(name)
        if (chunk.stream, chunk.first, chunk.count, chunk.end) != (
            leaf.stream, leaf.first, leaf.count, len(data),
        ):  # fmt: skip
            raise ProofError(f"{name}: another chunk than its leaf says")
        if not chunk.dated:
            raise CorruptError(name, expected="when records were written", found="nothing")
        self._chunks.setdefault(leaf.stream, _Chunks()).add(leaf, chunk)

    def _opened(self, leaf: Leaf, data: bytes, name: str) -> bytes:
        """The chunk in the envelope that a leaf is about, opened with its secret."""
        envelope = envelope_at(data, 0, name)
        if end_of(data, 0, name) != len(data):
            raise ProofError(f"{name}: more than an envelope")
        secret = self._file(secret_file(leaf.digest))
        store_id = bytes.fromhex(self.statement.store)
        chunk = chunk_in(envelope, OneSecret(secret, store_id), name)
        opened = self._files.get(opened_file(leaf.digest), chunk.data)
        if opened != chunk.data:
            raise ProofError(f"{opened_file(leaf.digest)}: not what the envelope holds")
        self._enveloped.add(leaf.digest)
        return bytes(chunk.data)

    # What is shown

    def _spans_shown(self) -> list[Span]:
        first, stop = self.statement.records
        history = Graph(self._record).history(self.statement.stream, stop)
        self._record(self.statement.stream)
        spans = [span for span in history if span.stop > first]
        if (spans[-1].stop if spans else first) != stop:
            raise ProofError(f"{STATEMENT_FILE}: the stream inherits no record {stop - 1}")
        for stream, chunks in self._chunks.items():
            chunks.sort(f"stream {stream}")
        cut = []
        for span in spans:
            skip = max(first - span.first, 0)
            cut.append(Span(span.first + skip, span.stream, span.origin + skip, span.count - skip))
            self._record(span.stream)
        return cut

    def _record(self, stream: int) -> LineageRecord:
        try:
            return self._lineage[stream]
        except KeyError:
            raise NotFoundError(f"the proof has no lineage record of stream {stream}") from None

    def _covering(self, span: Span) -> list[tuple[int, Chunk]]:
        """The chunks that hold a span's records, each with the first offset that is taken of it."""
        reached, found = span.origin, []
        for chunk in self._chunks.get(span.stream, _Chunks()).since(span.origin):
            if reached >= span.origin + span.count or not chunk.first <= reached < chunk.stop:
                break
            found.append((reached, chunk))
            reached = chunk.stop
        if reached < span.origin + span.count:
            raise ProofError(
                f"the proof has no record {reached} of stream {self._lineage[span.stream].name!r}"
            )
        return found

    # That nothing came after

    def _check_end(self) -> None:
        stream, (_, stop) = self.statement.stream, self.statement.records
        leaves: dict[tuple[int, int], list[Leaf]] = {}
        for leaf in self.statement.leaves:
            leaves.setdefault((leaf.commit, leaf.segment), []).append(leaf)
        if stop > self._record(stream).start:
            own = [leaf for leaf in self._chunks.get(stream, _Chunks()).leaves if leaf.stop == stop]
        else:
            own = [leaf for leaf in self.statement.leaves if _is_lineage(leaf, stream)]
        if not own:
            raise ProofError(f"the proof lacks the stream's last chunk, which ends at {stop}")
        begin = own[0].commit, own[0].segment
        for number in range(begin[0], self.statement.size):
            for segment in range(len(self._commit(number).segments)):
                if (number, segment) >= begin:
                    _check_gap(stream, stop, leaves.get((number, segment), []), number)

    def _check_payload(self) -> None:
        first, stop = self.statement.records
        if PAYLOAD_FILE not in self._files:
            return
        if stop != first + 1:
            raise ProofError(f"{PAYLOAD_FILE}: of a proof that is not about one record")
        (record,) = self.records()
        if record.payload != self._files[PAYLOAD_FILE]:
            raise ProofError(f"{PAYLOAD_FILE}: not the payload of record {first}")


class _Chunks:
    """The chunks of one stream that are shown; `since` after `sort`."""

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self._chunks: list[Chunk] = []
        self._firsts: list[int] = []
        self._digests: dict[int, str] = {}

    def add(self, leaf: Leaf, chunk: Chunk) -> None:
        self.leaves.append(leaf)
        self._digests[leaf.first] = leaf.digest
        self._chunks.append(chunk)

    def digest_of(self, chunk: Chunk) -> str:
        """The digest of one of them."""
        return self._digests[chunk.first]

    def sort(self, place: str) -> None:
        """Put them in order; `ProofError` when two hold records with the same offset."""
        self._chunks.sort(key=lambda chunk: chunk.first)
        self._firsts = [chunk.first for chunk in self._chunks]
        for before, after in pairwise(self._chunks):
            if before.stop > after.first:
                raise ProofError(f"{place}: record {after.first} is there twice")

    def since(self, offset: int) -> Iterator[Chunk]:
        """The chunk that begins at or before `offset`, and those after it."""
        start = max(bisect_right(self._firsts, offset) - 1, 0)
        return islice(self._chunks, start, None)


def _is_lineage(leaf: Leaf, stream: int) -> bool:
    return leaf.stream == LINEAGE_ID and leaf.first == stream


def _check_gap(stream: int, stop: int, leaves: list[Leaf], commit: int) -> None:
    """Two leaves side by side between which no chunk of `stream` from `stop` on can be.

    Leaves lie in order of (stream, first offset). No root tells how many leaves it is over, but a
    path's hashes lie on its left and right as index and size say, and lead to the root in no other
    way: from an inner node up to two leaves side by side one path has only hashes on its left, the
    other on its right, whatever the size is. So it is for the first leaf, and for the last.
    """
    place = f"commit {commit}"
    if not leaves:
        raise ProofError(f"{place}: the proof does not say that stream {stream} has no more there")
    key = stream, stop
    if any(leaf.stream == stream and leaf.stop > stop for leaf in leaves):
        raise ProofError(f"{place}: stream {stream} has records after {stop - 1}")
    before = [leaf for leaf in leaves if (leaf.stream, leaf.first) < key]
    after = [leaf for leaf in leaves if (leaf.stream, leaf.first) >= key]
    last = max(before, key=lambda leaf: leaf.index, default=None)
    next_one = min(after, key=lambda leaf: leaf.index, default=None)
    follows = next_one.index if next_one else leaves[0].size
    if (last.index if last else -1) + 1 != follows:
        raise ProofError(f"{place}: the proof leaves room for records of stream {stream}")
