"""Make the golden files of format version 1: `python -m tests.format.make_golden`.

Everything in them is fixed: store id, timestamps, write ids. The files were made once; a later
transit must read them as they are, so they are only made anew together with a new format version,
in a folder of its own.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from transit.format.checksum import wal_seed
from transit.format.commit import (
    Commit,
    SegmentRef,
    TreeState,
    encode_commit,
    encode_format,
    root_of,
)
from transit.format.digest import digest
from transit.format.frame import DATA, END, MARK, encode_frame, encode_wal_header
from transit.format.headers import encode_headers
from transit.format.lineage import (
    LINEAGE_RECORD,
    Branch,
    LineageRecord,
    Merge,
    Root,
    encode_lineage,
)
from transit.format.names import index_name, merge_key, name_key
from transit.format.record import Chunk, Columns, chunks_of, encode_chunk, measure
from transit.format.segment import (
    TAIL,
    Block,
    Extent,
    Footer,
    decode_footer,
    decode_tail,
    encode_block,
    encode_footer,
    encode_header,
    encode_index,
)
from transit.format.snapshot import Layer, Snapshot, SnapshotSegment, encode_snapshot
from transit.format.uid import uid_key
from transit.proof.chunks import ChunkTree
from transit.proof.tree import CompactRange, leaf_hash

GOLDEN = Path(__file__).parent / "golden"
STORE = bytes.fromhex("00112233445566778899aabbccddeeff")
NOON = 1_700_000_000_000_000_000
SOME = encode_headers({"kind": "tool-call", "näme": "wörth"})
OTHER = encode_headers({"kind": "answer"})

MERGE = Merge(
    name="merged",
    uid="3" * 32,
    merge_id="one",
    parents=((1, 5), (2, 4)),
    base=(1, 2),
    policy="append",
    version=1,
    params={},
    plan=(1, 0, 6, 2, 3, 2),
)
SELECTED = Merge(
    name="selected",
    uid="5" * 32,
    merge_id="two",
    parents=((2, 4), (1, 5)),
    base=None,
    policy="select",
    version=1,
    params={"selected": 1},
    plan=(1, 0, 6),
)
LINEAGE: list[LineageRecord] = [
    LINEAGE_RECORD,
    Root(
        name="root",
        uid="01" * 16,
        metadata={"actor": "planner", "try": 1, "half": 0.5, "done": None},
    ),
    Branch(name="root/branch", uid="2" * 32, parent=1, fork=2, codec="json"),
    MERGE,
    Branch(name="of nothing", uid="fedcba9876543210" * 2, parent=1, fork=-1),
    SELECTED,
]


def chunk(
    stream: int,
    first: int,
    payloads: list[bytes],
    timestamps: int | list[int],
    headers: bytes | list[bytes] | None = None,
    writer: str = "",
) -> bytes:
    """One encoded chunk of a frame."""
    columns = Columns(payloads, measure(payloads), timestamps, headers, None, writer)
    return b"".join(encode_chunk(stream, first, columns))


def lineage(first: int, stop: int, writer: str = "") -> bytes:
    """A chunk of lineage records."""
    payloads = [encode_lineage(record) for record in LINEAGE[first:stop]]
    return chunk(0, first, payloads, NOON, None, writer)


# Every column width there is, but those that take more than a few kilobytes.
BODIES: list[bytes] = [
    lineage(0, 1),
    lineage(1, 3, "måker")
    + chunk(1, 0, [b"", b"one", b"two" * 100], [NOON, NOON + 1, NOON - 1], [b"{}", SOME, OTHER]),
    chunk(1, 3, [b"same size"] * 3, NOON, SOME, "tökken 1") + chunk(2, 3, [b"x"], -1),
    chunk(2, 4, [b"\0\xff", b"12", b"ab"], [-(2**63), 2**63 - 1, 0]),
    lineage(3, 6) + chunk(3, 8, [b"a", b"bc"], [5, 30_000]) + chunk(4, 0, [b"."], 2**40),
    chunk(4, 1, [b"%d" % n for n in range(300)], [n * 3_000_000_000 // 2 for n in range(300)])
    + chunk(3, 10, [b"p" * 70_000, b""], [0, -70_000], OTHER),
]

# When each of these frames was written; the first two streams' chunks go over several.
WRITTEN = [NOON, NOON + 200, NOON + 300, NOON + 2**40, NOON + 2**41, NOON + 2**41]


def written_at(body: bytes) -> int:
    """When the frame around `body` was written."""
    return WRITTEN[BODIES.index(body)]


def wal(first_lsn: int, bodies: list[bytes], closing: int | None) -> bytes:
    """A WAL file of these frames, each written after the one before was synced."""
    seed = wal_seed(STORE, first_lsn)
    data, lsn = encode_wal_header(STORE, first_lsn), first_lsn
    for body in bodies:
        records = sum(part.count for part in chunks_of(body, "golden"))
        data += encode_frame(body, len(data), lsn, len(data), records, DATA, written_at(body), seed)
        lsn += records
    if closing is not None:
        data += encode_frame(b"", len(data), lsn, len(data), 0, closing, WRITTEN[-1], seed)
    return data


def chunks_in(bodies: list[bytes]) -> list[tuple[Chunk, bytes]]:
    """Every chunk in these frames and its bytes, by stream and offset."""
    found = []
    for body in bodies:
        start = 0
        for part in chunks_of(body, "golden"):
            found.append((part, body[start : part.end]))
            start = part.end
    return sorted(found, key=lambda pair: (pair[0].stream, pair[0].first))


def sealed(bodies: list[bytes]) -> list[tuple[Chunk, bytes]]:
    """The chunks of a segment of these frames and their bytes: one for each stream and writer."""
    parts = []
    for body in bodies:
        for part in chunks_of(body, "golden"):
            part.date(written_at(body), "golden")
            parts.append(part)
    parts.sort(key=lambda part: (part.stream, part.first))
    found = []
    for (stream, writer), run in groupby(parts, key=lambda part: (part.stream, part.writer)):
        same = list(run)
        payloads = [payload for part in same for payload in part.payloads()]
        times = [time for part in same for time in part.timestamps]
        headers = [encode_headers(each) for part in same for each in part.headers()]
        written = [time for part in same for time in part.written]
        columns = Columns(payloads, measure(payloads), times, headers, written, writer)
        encoded = b"".join(encode_chunk(stream, same[0].first, columns))
        found += [(part, encoded) for part in chunks_of(encoded, "golden")]
    return found


def segment(first_lsn: int, bodies: list[bytes], level: int | None) -> tuple[bytes, SegmentRef]:
    """A segment of the records in these frames, two chunks a block, and how a commit names it."""
    pairs = sealed(bodies)
    parts = [part for part, _ in pairs]
    data = encode_header(STORE)
    blocks: list[Block] = []
    extents: list[Extent] = []
    tree = ChunkTree()
    for start in range(0, len(pairs), 2):
        raw = b""
        for part, encoded in pairs[start : start + 2]:
            extents.append(
                Extent(
                    part.stream, part.first, part.last_written, part.count, len(blocks), len(raw)
                )
            )  # fmt: skip
            raw += encoded
            tree.add(part.stream, part.first, part.count, encoded)
        block, stored = encode_block(raw, len(data), level)
        blocks.append(block)
        data += stored
    block, stored = encode_block(encode_index(extents, keys(parts)), len(data), level)
    data += stored
    times = [time for part in parts for time in part.timestamps]
    count = sum(part.count for part in parts)
    streams = len({part.stream for part in parts})
    lsns = (first_lsn, first_lsn + count - 1)
    span = (min(times), max(times))
    written = (written_at(bodies[0]), written_at(bodies[-1]))
    footer = encode_footer(Footer(STORE, *lsns, count, *span, *written, streams, (*blocks, block)))
    data += footer
    ref = SegmentRef(
        digest=digest(data).hex(),
        footer=digest(footer[: -TAIL.size]).hex(),
        chunks=tree.root(),
        bytes=len(data),
        records=count,
        streams=streams,
        lsn=lsns,
        time=span,
        written=written,
    )
    return data, ref


def keys(parts: list[Chunk]) -> list[tuple[int, int]]:
    """The index keys of the lineage records among `parts`."""
    found = []
    for part in parts:
        for stream_id in range(part.first, part.stop) if part.stream == 0 else ():
            record = LINEAGE[stream_id]
            found.append((name_key(record.name), stream_id))
            if record.uid:
                found.append((uid_key(record.uid), stream_id))
            if isinstance(record, Merge):
                found.append((merge_key(record.merge_id), stream_id))
    return sorted(found)


def commit(number: int, ref: SegmentRef, before: list[bytes]) -> bytes:
    """Commit `number` of one segment after the commits `before`."""
    tree = CompactRange(0, ())
    for data in before:
        tree = tree.append(leaf_hash(data))
    return encode_commit(
        Commit(
            format=1,
            store=STORE.hex(),
            number=number,
            epoch=number // 2,
            write_id=f"{number:032x}",
            previous=root_of(before[-1]) if before else "",
            segments=(ref,),
            tree=TreeState(size=number, range=tuple(node.hex() for node in tree.hashes)),
        )
    )


def snapshot_segment(number: int, ref: SegmentRef, data: bytes) -> SnapshotSegment:
    """What an index snapshot has of the segment in `data`, which commit `number` added."""
    stated, size = decode_tail(data[-TAIL.size :], "golden")
    footer = data[-TAIL.size - size : -TAIL.size]
    index = decode_footer(footer, stated, "golden").blocks[-1]
    return SnapshotSegment(number, ref, footer, data[index.position :][: index.stored_bytes])


def snapshots(segments: list[tuple[SegmentRef, bytes]]) -> dict[str, bytes]:
    """A snapshot for each of these segments, of commit 0 and on; no commit names them."""
    made: dict[str, bytes] = {}
    layers: tuple[Layer, ...] = ()
    for number, (ref, data) in enumerate(segments):
        entry = snapshot_segment(number, ref, data)
        encoded = encode_snapshot(Snapshot(STORE, number, number, layers, (entry,)))
        made[f"index/{index_name(digest(encoded))}"] = encoded
        layers += (Layer(digest(encoded), len(encoded), number, number),)
    return made


def files() -> dict[str, bytes]:
    """Every golden file: a store with a stored segment, a zstd segment and a WAL after them."""
    stored, first = segment(0, BODIES[:2], None)
    packed, second = segment(first.lsn[1] + 1, BODIES[2:4], 3)
    commits = [commit(0, first, [])]
    commits.append(commit(1, second, commits))
    tail = second.lsn[1] + 1
    return {
        "FORMAT": encode_format(STORE),
        f"segments/{first.digest}.seg": stored,
        f"segments/{second.digest}.seg": packed,
        "commits/00000000000000000000.json": commits[0],
        "commits/00000000000000000001.json": commits[1],
        f"wal/{tail:020d}.wal": wal(tail, BODIES[4:], MARK),
        "ended.wal": wal(0, BODIES[:2], END),
        "open.wal": wal(0, BODIES[:4], None) + bytes(64),
        **snapshots([(first, stored), (second, packed)]),
    }


def expected() -> list[dict[str, Any]]:
    """Every record of the store in the order of the log, as JSON can say it."""
    return [
        {
            "stream": part.stream,
            "offset": part.first + place,
            "timestamp": part.timestamp(place),
            "payload": payload.hex() if len(payload) < 1000 else f"{len(payload)} bytes",
            "headers": dict(part.header(place)),
            "written": written_at(body),
            "writer": part.writer,
        }
        for body in BODIES
        for part in chunks_of(body, "golden")
        for place, payload in enumerate(part.payloads())
    ]


if __name__ == "__main__":
    for name, data in files().items():
        (GOLDEN / name).parent.mkdir(parents=True, exist_ok=True)
        (GOLDEN / name).write_bytes(data)
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in expected())
    (GOLDEN / "expected.json").write_text(f"[\n{rows}\n]\n", encoding="utf-8")
