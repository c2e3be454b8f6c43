"""Buckets as an attacker could make them: built byte by byte, every checksum right, any lie inside.

The cases are in `hostile_chain`, `hostile_segments`, `hostile_lineage` and `hostile_redacted`:
importing them fills `CASES`. `Shelf` is an object store in a dict. `Bucket` writes segments and
commits into one; what is to be wrong is given as a change, and everything around it is computed to
fit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from transit.errors import CorruptError, NotFoundError
from transit.format.commit import (
    Commit,
    IndexRef,
    SegmentRef,
    TreeState,
    encode_commit,
    encode_format,
    root_of,
)
from transit.format.digest import digest
from transit.format.head import encode_head
from transit.format.lineage import (
    LINEAGE_RECORD,
    Branch,
    LineageRecord,
    Merge,
    Root,
    encode_lineage,
)
from transit.format.names import commit_name, index_name, merge_key, name_key, segment_name
from transit.format.record import CHUNK, Columns, chunks_of, encode_chunk, measure
from transit.format.segment import (
    TAIL,
    Block,
    Extent,
    Footer,
    encode_block,
    encode_footer,
    encode_header,
    encode_index,
)
from transit.format.snapshot import Layer, Snapshot, SnapshotSegment, encode_snapshot
from transit.format.uid import uid_key
from transit.format.written import SAME
from transit.proof.chunks import BY_RECORD, ChunkTree
from transit.proof.tree import CompactRange, leaf_hash
from transit.store.objects import Traffic, too_large

STORE = bytes(range(16))
OTHER = bytes(range(16, 32))
TIME = 1_700_000_000_000_000_000

MIB = 1024 * 1024

Chunk = tuple[int, int, list[bytes]]
"""Stream id, first offset, payloads."""

Build = Callable[[], "Bucket"]
CASES: dict[str, tuple[str, Build]] = {}
"""Buckets by name, and what must be in the place of a finding about each, or "ok"."""


def case(place: str) -> Callable[[Build], Build]:
    """Take a function into `CASES` by its name."""

    def add(build: Build) -> Build:
        CASES[build.__name__] = (place, build)
        return build

    return add


def commit_key(number: int) -> str:
    return f"commits/{commit_name(number)}"


class Shelf:
    """An `ObjectStore` in a dict, which may have keys that no store would take."""

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        self.objects = objects if objects is not None else {}
        self.traffic = Traffic()
        self.writes = 0
        self.url = "shelf://bucket"
        self.refuses_damage = True

    def get(self, key: str, bytes_max: int) -> bytes | None:
        data = self.objects.get(key)
        self.traffic.sent("get")
        if data is not None and len(data) > bytes_max:
            raise too_large(f"{self.url}/{key}", bytes_max, len(data))
        return data

    def get_range(self, key: str, position: int, size: int) -> bytes:
        assert position >= 0
        assert size >= 1
        self.traffic.sent("get")
        if key not in self.objects:
            raise NotFoundError(key)
        return self.objects[key][position : position + size]

    def size(self, key: str) -> int | None:
        self.traffic.sent("size")
        return len(self.objects[key]) if key in self.objects else None

    def put(self, key: str, data: bytes) -> None:
        self.writes += 1
        self.objects[key] = data

    create = put

    def delete(self, key: str) -> None:
        self.writes += 1
        del self.objects[key]

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        found = [(key, len(data)) for key, data in self.objects.items() if key.startswith(prefix)]
        return iter(found)

    def close(self) -> None:
        pass


@dataclass
class Parts:
    """What a segment is made of, before it is put together; any of it may be changed."""

    store: bytes = STORE
    version: int = 1
    raws: list[bytes] = field(default_factory=list)
    extents: list[Extent] = field(default_factory=list)
    keys: list[tuple[int, int]] = field(default_factory=list)
    index: bytes | None = None
    entries: Callable[[list[Block]], list[Block]] = lambda blocks: blocks
    footer: dict[str, Any] = field(default_factory=dict)
    ref: dict[str, Any] = field(default_factory=dict)
    records: int = 0
    streams: int = 0
    name: bytes | None = None
    object: Callable[[bytes], bytes] = lambda data: data


Change = Callable[[Parts], None]


def chunk_of(stream: int, first: int, payloads: Sequence[bytes]) -> bytes:
    """A chunk of a segment: records at one time, without headers."""
    columns = Columns(payloads, measure(payloads), TIME, None, TIME)
    return b"".join(encode_chunk(stream, first, columns))


def in_frame(stream: int, first: int, payloads: Sequence[bytes]) -> bytes:
    """The same, of a frame."""
    return b"".join(encode_chunk(stream, first, Columns(payloads, measure(payloads), TIME, None)))


def bare_chunk(stream: int, first: int, count: int, table: bytes = b"", flags: int = SAME) -> bytes:
    """A chunk of `count` empty records in 48 bytes and a header table; `flags` 0 in a frame."""
    return CHUNK.pack(stream, first, count, 0, 0, 0, flags, TIME, 0, len(table), 0) + table


def keys_of(stream: int, record: LineageRecord) -> list[tuple[int, int]]:
    keys = [(name_key(record.name), stream)]
    if record.uid:
        keys.append((uid_key(record.uid), stream))
    if isinstance(record, Merge):
        keys.append((merge_key(record.merge_id), stream))
    return keys


def parts_of(chunks: Sequence[Chunk], lineage: Sequence[LineageRecord], first_id: int) -> Parts:
    """One block: lineage records from stream id `first_id` on, then chunks."""
    parts = Parts()
    every = list(chunks)
    if lineage:
        every.insert(0, (0, first_id, [encode_lineage(record) for record in lineage]))
    raw = b""
    for stream, first, payloads in every:
        parts.extents.append(Extent(stream, first, TIME, len(payloads), 0, len(raw)))
        raw += chunk_of(stream, first, payloads)
    parts.raws = [raw]
    parts.records = sum(len(payloads) for _, _, payloads in every)
    parts.streams = len({stream for stream, _, _ in every})
    parts.keys = sorted(
        key for place, record in enumerate(lineage, first_id) for key in keys_of(place, record)
    )
    return parts


def chunk_root(raws: Sequence[bytes]) -> str:
    """The root of the tree over the chunks in these blocks, as far as they are any."""
    tree = ChunkTree()
    with contextlib.suppress(CorruptError):
        for raw in raws:
            start = 0
            for part in chunks_of(raw, "hostile"):
                if part.stream not in BY_RECORD or part.payload_bytes >= 22 * part.count:
                    tree.add(part.stream, part.first, part.count, raw[start : part.end])
                start = part.end
    return tree.root()


class Bucket:
    """A bucket in the making; after `__init__` it has FORMAT and nothing else."""

    def __init__(self, store: bytes = STORE) -> None:
        self.store = store
        self.objects: dict[str, bytes] = {"FORMAT": encode_format(store)}
        self.commits: list[Commit] = []
        self.segments: list[SnapshotSegment] = []
        self.layers: list[Layer] = []
        self.lsn = 0
        self.root = ""
        self.tree = CompactRange()
        self.epoch = 3

    # Segments

    def segment(self, parts: Parts) -> SegmentRef:
        """Put a segment together and keep it."""
        data = encode_header(parts.store)
        data = data[:8] + parts.version.to_bytes(4, "little") + data[12:]
        blocks = []
        for raw in parts.raws:
            entry, stored = encode_block(raw, len(data), 3)
            blocks.append(entry)
            data += stored
        raw = encode_index(parts.extents, parts.keys) if parts.index is None else parts.index
        entry, stored_index = encode_block(raw, len(data), 3)
        data += stored_index
        said: dict[str, Any] = {
            "store_id": parts.store, "first_lsn": self.lsn,
            "last_lsn": self.lsn + parts.records - 1, "records": parts.records,
            "time_first": TIME, "time_last": TIME, "written_first": TIME, "written_last": TIME,
            "streams": parts.streams,
            "blocks": tuple(parts.entries([*blocks, entry])), **parts.footer,
        }  # fmt: skip
        footer = encode_footer(Footer(**said))
        data = parts.object(data + footer)
        name = parts.name or digest(data)
        self.objects[f"segments/{segment_name(name)}"] = data
        stated: dict[str, Any] = {
            "digest": name.hex(), "footer": digest(footer[: -TAIL.size]).hex(),
            "chunks": chunk_root(parts.raws), "bytes": len(data),
            "records": parts.records, "streams": parts.streams,
            "lsn": (self.lsn, self.lsn + parts.records - 1), "time": (TIME, TIME),
            "written": (TIME, TIME), **parts.ref,
        }  # fmt: skip
        ref = SegmentRef(**stated)
        self.segments.append(
            SnapshotSegment(len(self.commits), ref, footer[: -TAIL.size], stored_index)
        )
        self.lsn = ref.lsn[1] + 1
        return ref

    # Commits

    def commit(self, *refs: SegmentRef, index: IndexRef | None = None, **changes: object) -> Commit:
        """Make the next commit, with `changes` to what it says."""
        tree = TreeState(size=self.tree.size, range=tuple(h.hex() for h in self.tree.hashes))
        commit = Commit(
            format=1, store=self.store.hex(), number=len(self.commits), epoch=self.epoch,
            write_id="ab" * 16, previous=self.root, segments=refs, tree=tree, index=index,
        )  # fmt: skip
        commit = msgspec.structs.replace(commit, **changes)
        self.put_commit(commit, encode_commit(commit))
        return commit

    def put_commit(self, commit: Commit, data: bytes) -> None:
        """Take `data` as the next commit."""
        self.objects[f"commits/{commit_name(len(self.commits))}"] = data
        self.commits.append(commit)
        self.root = root_of(data)
        self.tree = self.tree.append(leaf_hash(data))

    def add(
        self,
        chunks: Sequence[Chunk] = (),
        lineage: Sequence[LineageRecord] = (),
        first_id: int = 0,
        change: Change | None = None,
        **changes: object,
    ) -> Commit:
        """A segment and its commit."""
        parts = parts_of(chunks, lineage, first_id)
        parts.store = self.store
        if change is not None:
            change(parts)
        return self.commit(self.segment(parts), **changes)

    def begin(self, *lineage: LineageRecord, records: int = 3) -> Bucket:
        """Commit 0: the store's own stream, stream 1 with a few records, and more streams."""
        first = [LINEAGE_RECORD, self.named("one"), *lineage]
        self.add([(1, 0, [b"%d" % n for n in range(records)])], first)
        return self

    def grow(self, count: int) -> Bucket:
        """More commits, each with three records of stream 1."""
        for _ in range(count):
            start = 3 * len(self.commits)
            self.add([(1, start, [b"%d" % n for n in range(start, start + 3)])])
        return self

    @staticmethod
    def own() -> LineageRecord:
        """The record of stream 0."""
        return LINEAGE_RECORD

    @staticmethod
    def named(name: str) -> LineageRecord:
        """A new stream that inherits nothing."""
        return Root(name=name, uid=uid_of(name))

    # Snapshots and HEAD

    def snapshot(
        self, first: int, change: Callable[[Snapshot], Snapshot] | None = None
    ) -> IndexRef:
        """A snapshot of all commits from `first` on; older ones are its layers."""
        covered = tuple(entry for entry in self.segments if entry.commit >= first)
        layers = tuple(layer for layer in self.layers if layer.last < first)
        snapshot = Snapshot(self.store, first, len(self.commits) - 1, layers, covered)
        if change is not None:
            snapshot = change(snapshot)
        data = encode_snapshot(snapshot)
        name = digest(data)
        self.objects[f"index/{index_name(name)}"] = data
        self.layers.append(Layer(name, len(data), snapshot.first, snapshot.last))
        return IndexRef(digest=name.hex(), bytes=len(data))

    def head(self, number: int, index: int | None = None) -> None:
        self.objects["HEAD"] = encode_head(self.store, number, index)

    @property
    def shelf(self) -> Shelf:
        return Shelf(self.objects)


def rebuilt(objects: dict[str, bytes], number: int, change: Callable[[Commit], Commit]) -> None:
    """Rewrite the chain from commit `number` on, changed there; links and checksums are right."""
    tree, root = CompactRange(), ""
    for place in range(sum(key.startswith("commits/") for key in objects)):
        key = f"commits/{commit_name(place)}"
        if place >= number:
            commit = msgspec.json.decode(objects[key], type=Commit)
            if place == number:
                commit = change(commit)
            state = TreeState(size=tree.size, range=tuple(h.hex() for h in tree.hashes))
            commit = msgspec.structs.replace(commit, previous=root, tree=state)
            objects[key] = encode_commit(commit)
        root = root_of(objects[key])
        tree = tree.append(leaf_hash(objects[key]))


def uid_of(*said: object) -> str:
    """The same uid each time for a stream of which the same is said, and another for all others."""
    return digest(repr(said).encode()).hex()[:32]


def branch(name: str, parent: int, fork: int, uid: str = "") -> Branch:
    return Branch(name=name, parent=parent, fork=fork, uid=uid or uid_of(name, parent, fork))


def merge(
    name: str, parents: Sequence[tuple[int, int]], plan: Sequence[int], **changes: Any
) -> Merge:
    said: dict[str, Any] = {
        "merge_id": name, "base": None, "policy": "append", "version": 1, "params": {}, **changes,
    }  # fmt: skip
    said.setdefault("uid", uid_of(name, parents, plan, changes))
    return Merge(name=name, parents=tuple(parents), plan=tuple(plan), **said)
