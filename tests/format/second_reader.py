"""A second reader of stores, written from the byte tables alone.

It imports nothing from `transit`: what it reads, the tables in the format modules' docstrings say.
It is simple and slow, and raises `ValueError` at whatever is not as the tables say.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import sys
from pathlib import Path
from typing import Any, NamedTuple

import blake3
import xxhash

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Record(NamedTuple):
    """One record as it was appended."""

    stream: int
    offset: int
    timestamp: int
    payload: bytes
    headers: dict[str, str]
    written: int
    writer: str


class Wal(NamedTuple):
    """One WAL file; `frames` are (position, lsn, durable, kind, records, written)."""

    store_id: bytes
    first_lsn: int
    frames: list[tuple[int, int, int, int, list[Record], int]]
    stop: int

    @property
    def records(self) -> list[Record]:
        """The records in the order of the log."""
        return [record for frame in self.frames for record in frame[4]]


class Segment(NamedTuple):
    """One segment; `index` holds (stream, first offset, last written, count, block, position)."""

    store_id: bytes
    lsns: tuple[int, int]
    times: tuple[int, int]
    written: tuple[int, int]
    streams: int
    records: list[Record]
    index: list[tuple[int, ...]]
    keys: list[tuple[int, int]]
    footer_digest: str
    chunk_root: str


class SnapshotRow(NamedTuple):
    """A segment in an index snapshot; `ref` is what a commit says of it."""

    commit: int
    ref: dict[str, Any]
    index: list[tuple[int, ...]]
    keys: list[tuple[int, int]]


class Snapshot(NamedTuple):
    """An index snapshot; `layers` are (digest, bytes, first commit, last commit)."""

    store_id: bytes
    commits: tuple[int, int]
    layers: list[tuple[str, int, int, int]]
    segments: list[SnapshotRow]


def need(condition: object, what: str) -> None:
    """Raise `ValueError` naming `what` unless `condition` holds."""
    if not condition:
        raise ValueError(what)


def numbers(data: bytes, at: int, count: int, width: int, signed: bool = False) -> list[int]:
    """`count` little-endian numbers from `at` on."""
    pieces = (data[at + n * width : at + (n + 1) * width] for n in range(count))
    return [int.from_bytes(piece, "little", signed=signed) for piece in pieces]


# Chunks


def read_chunk(data: bytes, at: int, framed: int | None = None) -> tuple[list[Record], int]:
    """The records of the chunk at `at`, and where it ends.

    framed: when the frame was written that the chunk is in; None in a segment.
    """
    need(len(data) >= at + 48, "chunk header")
    stream, first = struct.unpack_from("<QQ", data, at)
    (count,) = struct.unpack_from("<I", data, at + 16)
    time_width, size_width, header_width, flags = data[at + 20 : at + 24]
    time_first, size, table_bytes, payload_bytes = struct.unpack_from("<qIIQ", data, at + 24)
    need(1 <= count <= 4_194_304 and flags < 8, "count and flags")
    need(flags & 3 in ((1, 2) if framed is None else (0,)), "where the time of writing is said")
    need(time_width in (0, 1, 2, 4, 8), "timestamp width")
    need(size_width in (0, 1, 2, 4) and header_width in (0, 1, 2, 4), "widths")
    at += 48
    written, writer, at = read_more(data, at, flags, count)
    written = written if framed is None else [framed] * count
    times = [time_first]
    for number in numbers(data, at, count - 1 if time_width else 0, time_width, signed=True):
        times.append(number if time_width == 8 else times[-1] + number)
    times = times if time_width else times * count
    at += (count - 1) * time_width
    sizes = numbers(data, at, count, size_width) if size_width else [size] * count
    need(size_width == 0 or size == 0, "no common size beside a column of sizes")
    at += count * size_width
    entries = numbers(data, at, count, header_width) if header_width else [0] * count
    at += count * header_width
    table = json.loads(data[at : at + table_bytes]) if table_bytes else [{}]
    need(header_width or len(table) == 1, "one header entry")
    at += table_bytes
    need(sum(sizes) == payload_bytes and at + payload_bytes <= len(data), "payload sizes")
    records = []
    for place in range(count):
        payload = data[at : at + sizes[place]]
        at += sizes[place]
        when = written[place] if written else times[place]
        headers = table[entries[place]]
        records.append(Record(stream, first + place, times[place], payload, headers, when, writer))
    dates = [record.written for record in records]
    need(dates == sorted(dates) and dates[-1] < 2**63, "times of writing that go on")
    return records, at


def read_more(data: bytes, at: int, flags: int, count: int) -> tuple[list[int], str, int]:
    """When the records of a chunk were written, if it says so, by whom, and where that ends."""
    written, writer = [], ""
    if flags & 2:
        first, width = struct.unpack_from("<qB", data, at)
        need(width in (0, 1, 2, 4, 8), "width")
        at += 9
        written = [first]
        for number in numbers(data, at, count - 1, width) if width else [0] * (count - 1):
            written.append(written[-1] + number)
        at += (count - 1) * width
    if flags & 4:
        need(data[at], "a writer")
        writer = data[at + 1 : at + 1 + data[at]].decode()
        at += 1 + data[at]
    return written, writer, at


def read_chunks(data: bytes, framed: int | None = None) -> list[list[Record]]:
    """The records of chunks that fill `data`, chunk by chunk."""
    chunks, at = [], 0
    while at < len(data):
        records, at = read_chunk(data, at, framed)
        chunks.append(records)
    return chunks


# WAL files


def read_wal(data: bytes) -> Wal:
    """A WAL file up to its end frame, or to the first bytes that are no frame."""
    need(data[:8] == b"TrnstWAL", "magic")
    version, zero = struct.unpack_from("<II", data, 8)
    store_id, first_lsn = data[16:32], int.from_bytes(data[32:40], "little")
    need(xxhash.xxh3_64_intdigest(data[:56]) == int.from_bytes(data[56:64], "little"), "checksum")
    need(version == 1 and zero == 0 and data[48:56] == bytes(8), "version and reserved bytes")
    need(int.from_bytes(data[40:48], "little") <= first_lsn, "count of unsynced records")
    seed = xxhash.xxh3_64_intdigest(store_id + data[32:40])
    frames: list[tuple[int, int, int, int, list[Record], int]] = []
    at, kind, latest = 64, 0, -(2**63)
    while kind != 2 and (body := frame_body(data, at, seed)) is not None:
        lsn, durable, records, kind, written = struct.unpack_from("<QQIIq", data, at + 16)
        expected = first_lsn + sum(len(frame[4]) for frame in frames)
        found = [record for chunk in read_chunks(body, written) for record in chunk]
        need(lsn == expected and len(found) == records, "LSN and count")
        need(kind in (0, 1, 2) and (kind == 0) == bool(body), "kind")
        need(kind != 0 or written >= latest, "a time of writing that goes on")
        latest = written if kind == 0 else latest
        frames.append((at, lsn, durable, kind, found, written))
        at += 64 + len(body) + 8 - len(body) % 8
    return Wal(store_id, first_lsn, frames, at)


def frame_body(data: bytes, at: int, seed: int) -> bytes | None:
    """The body of the valid frame at `at`; None when there is none."""
    head = data[at : at + 64]
    if len(head) < 64 or head[:4] != b"TrFm" or int.from_bytes(head[8:16], "little") != at:
        return None
    stated = int.from_bytes(head[56:], "little")
    if xxhash.xxh3_64_intdigest(head[:56], seed) != stated:
        return None
    size = int.from_bytes(head[4:8], "little")
    body = data[at + 64 : at + 64 + size]
    padding_size = 8 - size % 8
    padding = data[at + 64 + size : at + 64 + size + padding_size]
    if padding != bytes(padding_size - 1) + b"\xa5":
        return None
    body_seed = (seed + at) % 2**64
    if xxhash.xxh3_64_intdigest(body, body_seed) != int.from_bytes(head[48:56], "little"):
        return None
    return body


# Segments


def read_segment(data: bytes) -> Segment:
    """A segment, with every digest and checksum in it held."""
    need(data[:8] == b"TrnstSEG" and data[8:16] == b"\1\0\0\0\0\0\0\0", "magic and version")
    store_id = data[16:32]
    digest, size, version, magic = struct.unpack("<32sII8s", data[-48:])
    need(magic == b"TrnstEND" and version == 1, "tail")
    footer_at = len(data) - 48 - size
    footer = data[footer_at:-48]
    need(blake3.blake3(footer).digest() == digest, "the footer's digest")
    owner, first, last, count, early, late, begun, ended, streams, entries = struct.unpack_from(
        "<16sQQQqqqqII", footer
    )
    need(owner == store_id and size == 80 + 64 * entries, "footer")
    raws, position = [], 32
    for place in range(entries):
        at, stored, raw, codec, zero, fast, strong = struct.unpack_from(
            "<QIIIIQ32s", footer, 80 + 64 * place
        )
        need(at == position and zero == 0, "blocks back to back")
        bytes_stored = data[at : at + stored]
        need(xxhash.xxh3_64_intdigest(bytes_stored) == fast, "a block's checksum")
        need(blake3.blake3(bytes_stored).digest() == strong, "a block's digest")
        raws.append(zstd.decompress(bytes_stored) if codec == 1 else bytes_stored)
        need(codec in (0, 1) and len(raws[-1]) == raw, "a block's codec and size")
        position += stored
    need(position == footer_at, "blocks up to the footer")
    blocks = [read_chunks(raw) for raw in raws[:-1]]
    records = [record for chunks in blocks for chunk in chunks for record in chunk]
    need(len(records) == count == last - first + 1, "count of records")
    need(len({record.stream for record in records}) == streams, "count of streams")
    times = [record.timestamp for record in records]
    need((min(times), max(times)) == (early, late), "times")
    times = [record.written for record in records]
    need((min(times), max(times)) == (begun, ended), "times of writing")
    index, keys = read_index(raws[-1])
    check_index(index, blocks, raws)
    return Segment(
        store_id, (first, last), (early, late), (begun, ended), streams, records, index, keys,
        digest.hex(), rfc6962_root(chunk_leaves(raws[:-1])).hex(),
    )  # fmt: skip


def chunk_leaves(raws: list[bytes]) -> list[bytes]:
    """The leaves of the tree over the chunks in unfolded blocks (`transit.proof.chunks`)."""
    leaves = []
    for raw in raws:
        at = 0
        while at < len(raw):
            records, stop = read_chunk(raw, at)
            stream, first = records[0].stream, records[0].offset
            if stream in (0, 2**63 - 1):
                leaves += [record_leaf(record) for record in records]
            else:
                chunk = blake3.blake3(raw[at:stop]).digest()
                leaves.append(struct.pack("<QQI", stream, first, len(records)) + chunk)
            at = stop
    return leaves


def record_leaf(record: Record) -> bytes:
    """The leaf of one record of `$lineage` or `$names`."""
    need(record.headers == {}, "no headers")
    writer = record.writer.encode()
    said = struct.pack("<qqI", record.timestamp, record.written, len(writer))
    said += writer + record.payload
    head = struct.pack("<QQI", record.stream, record.offset, 1)
    return head + blake3.blake3(said).digest()


def rfc6962_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, by its definition."""
    if len(leaves) <= 1:
        return hashlib.sha256(b"\0" + leaves[0] if leaves else b"").digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(
        b"\1" + rfc6962_root(leaves[:half]) + rfc6962_root(leaves[half:])
    ).digest()


def read_index(raw: bytes) -> tuple[list[tuple[int, ...]], list[tuple[int, int]]]:
    """The extents and keys of an index."""
    extents, keys = struct.unpack_from("<II", raw)
    at, columns = 8, []
    for width, signed, count in (
        *((8, False, extents), (8, False, extents), (8, True, extents)),
        *((4, False, extents), (4, False, extents), (4, False, extents)),
        *((8, False, keys), (8, False, keys)),
    ):
        columns.append(numbers(raw, at, count, width, signed))
        at += width * count
    need(at == len(raw), "the index's size")
    rows = list(zip(*columns[:6], strict=True))
    pairs = list(zip(columns[6], columns[7], strict=True))
    need(rows == sorted(rows, key=lambda row: row[:2]) and pairs == sorted(pairs), "order")
    return rows, pairs


def check_index(
    index: list[tuple[int, ...]], blocks: list[list[list[Record]]], raws: list[bytes]
) -> None:
    """Hold an index to the chunks that the blocks hold."""
    found = []
    for number, raw in enumerate(raws[:-1]):
        at = 0
        while at < len(raw):
            records, stop = read_chunk(raw, at)
            head, tail = records[0], records[-1]
            found.append((head.stream, head.offset, tail.written, len(records), number, at))
            at = stop
    need(sorted(found) == sorted(index), "an index of the chunks there are")
    need(len(found) == sum(map(len, blocks)), "chunks")


# Index snapshots


def read_snapshot(data: bytes) -> Snapshot:
    """An index snapshot, with every digest and checksum in it held."""
    need(data[:8] == b"TrnstIDX" and data[8:16] == b"\1\0\0\0\0\0\0\0", "magic and version")
    store_id = data[16:32]
    first, last, lsn, next_lsn = numbers(data, 32, 4, 8)
    layer_count, count = numbers(data, 64, 2, 4)
    rows_at = 72 + 56 * layer_count
    at = rows_at + 184 * count
    stated = int.from_bytes(data[at : at + 8], "little")
    need(xxhash.xxh3_64_intdigest(data[:at]) == stated, "the checksum of the tables")
    at += 8
    layers, commit = [], 0
    for place in range(72, rows_at, 56):
        size, start, stop = numbers(data, place + 32, 3, 8)
        need(start == commit <= stop < first, "layers one after the other")
        layers.append((data[place : place + 32].hex(), size, start, stop))
        commit = stop + 1
    need(commit == first <= last and layer_count <= 64, "layers of all commits before")
    need((first == 0) == (lsn == 0), "LSN 0 in commit 0")
    segments = []
    for place in range(rows_at, rows_at + 184 * count, 184):
        footer_bytes, index_bytes = numbers(data, place + 176, 2, 4)
        footer, index = data[at : at + footer_bytes], data[at + footer_bytes :][:index_bytes]
        segments.append(snapshot_row(data[place : place + 184], footer, index, store_id))
        need(segments[-1].ref["lsn"][0] == lsn, "LSNs without a gap")
        lsn = segments[-1].ref["lsn"][1] + 1
        at += footer_bytes + index_bytes
    need(at == len(data) and lsn == next_lsn, "the file's end")
    found = [row.commit for row in segments]
    need(found == sorted(found) and set(found) == set(range(first, last + 1)), "commits")
    return Snapshot(store_id, (first, last), layers, segments)


def snapshot_row(row: bytes, footer: bytes, index: bytes, store_id: bytes) -> SnapshotRow:
    """One segment of an index snapshot from its row, its footer and its stored index."""
    size, records, streams, *lsn = numbers(row, 104, 5, 8)
    times = numbers(row, 144, 2, 8, signed=True)
    written = numbers(row, 160, 2, 8, signed=True)
    ref = {"digest": row[8:40].hex(), "footer": row[40:72].hex(), "chunks": row[72:104].hex()}
    ref |= {"bytes": size}
    ref |= {"records": records, "streams": streams, "lsn": lsn, "time": times}
    ref |= {"written": written}
    need(blake3.blake3(footer).digest() == row[40:72], "the footer's digest")
    owner, *stated, entries = struct.unpack_from("<16sQQQqqqqII", footer)
    need(owner == store_id and len(footer) == 80 + 64 * entries, "footer")
    need(stated == [*lsn, records, *times, *written, streams], "the footer of this segment")
    at, stored, raw, codec, zero, fast, strong = struct.unpack("<QIIIIQ32s", footer[-64:])
    need(at + stored + len(footer) + 48 == size and zero == 0, "the segment's size")
    need(stored == len(index) and xxhash.xxh3_64_intdigest(index) == fast, "index checksum")
    need(blake3.blake3(index).digest() == strong, "the index's digest")
    plain = zstd.decompress(index) if codec == 1 else index
    need(codec in (0, 1) and len(plain) == raw, "the index's codec and size")
    return SnapshotRow(int.from_bytes(row[:8], "little"), ref, *read_index(plain))


# Commits


def read_commit(data: bytes) -> dict[str, Any]:
    """A commit, held to its canonical form and its checksum."""
    plain: dict[str, Any] = json.loads(data)
    need(canonical(plain) == data, "canonical JSON")
    stated = plain["checksum"]
    blank = canonical({**plain, "checksum": "0" * 16})
    need(xxhash.xxh3_64_hexdigest(blank) == stated, "the commit's checksum")
    need(plain["format"] == 1 and plain["tree"]["size"] == plain["number"], "version and tree")
    return plain


def canonical(plain: object) -> bytes:
    """Canonical JSON: keys sorted, no white space, UTF-8."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def compact_range(leaves: list[bytes]) -> list[str]:
    """The roots of the perfect subtrees of the RFC 6962 tree over `leaves`, largest first."""
    roots = []
    while leaves:
        size = 1 << (len(leaves).bit_length() - 1)
        level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves[:size]]
        while len(level) > 1:
            pairs = zip(level[::2], level[1::2], strict=True)
            level = [hashlib.sha256(b"\1" + left + right).digest() for left, right in pairs]
        roots.append(level[0].hex())
        leaves = leaves[size:]
    return roots


# Whole stores

Row = tuple[int, int, bytes, dict[str, str], tuple[str, int], int, str]
Shown = list[Row]


class Store:
    """A store's folder, read as a whole."""

    def __init__(self, folder: Path) -> None:
        plain = json.loads((folder / "FORMAT").read_bytes())
        need(plain["kind"] == "transit-store" and plain["format"] == 1, "FORMAT")
        self.store_id = bytes.fromhex(plain["store"])
        self.own: dict[int, list[Record]] = {}
        self._next_lsn = 0
        self._read_commits(folder)
        self._read_wals(folder)
        self.lineage = [json.loads(record.payload) for record in self.own[0]]
        for record, plain in zip(self.own[0], self.lineage, strict=True):
            need(canonical(plain) == record.payload, "canonical lineage")
            need(("uid" in plain) == (record.offset > 0), "a uid for each stream")
        uids = [plain["uid"] for plain in self.lineage[1:]]
        need(all(re.fullmatch("[0-9a-f]{32}", uid) for uid in uids), "uids of 32 hex digits")
        need(len(set(uids)) == len(uids), "uids that no two streams have")

    def _read_commits(self, folder: Path) -> None:
        leaves: list[bytes] = []
        previous, epoch = "", 0
        for number, path in enumerate(sorted((folder / "commits").glob("*.json"))):
            data = path.read_bytes()
            plain = read_commit(data)
            need(path.name == f"{number:020d}.json" and plain["number"] == number, "number")
            need(plain["previous"] == previous and plain["epoch"] >= epoch, "chain")
            need(bytes.fromhex(plain["store"]) == self.store_id, "store")
            need(plain["tree"]["range"] == compact_range(leaves), "tree")
            for ref in plain["segments"]:
                self._read_segment(folder / "segments" / f"{ref['digest']}.seg", ref)
            leaves.append(data)
            previous, epoch = blake3.blake3(data).hexdigest(), plain["epoch"]

    def _read_segment(self, path: Path, ref: dict[str, Any]) -> None:
        data = path.read_bytes()
        need(blake3.blake3(data).hexdigest() == ref["digest"], "the segment's digest")
        segment = read_segment(data)
        need(segment.store_id == self.store_id, "store")
        stated = [ref[name] for name in ("bytes", "records", "streams", "lsn", "time", "written")]
        lsns, times, written = map(list, (segment.lsns, segment.times, segment.written))
        found = [len(data), len(segment.records), segment.streams, lsns, times, written]
        need(stated == found, "ref")
        need(segment.footer_digest == ref["footer"] and lsns[0] == self._next_lsn, "ref")
        need(segment.chunk_root == ref["chunks"], "the root of the chunks")
        self._take(segment.records)

    def _read_wals(self, folder: Path) -> None:
        while (path := folder / "wal" / f"{self._next_lsn:020d}.wal").exists():
            wal = read_wal(path.read_bytes())
            need((wal.store_id, wal.first_lsn) == (self.store_id, self._next_lsn), "WAL header")
            self._take(wal.records)
            if not wal.frames or wal.frames[-1][3] != 2:
                return

    def _take(self, records: list[Record]) -> None:
        for record in records:
            self.own.setdefault(record.stream, []).append(record)
        self._next_lsn += len(records)

    def origins(self, stream: int) -> list[tuple[int, int]]:
        """Where each record of a stream was appended: (stream, offset), in order."""
        plain = self.lineage[stream]
        inherited: list[tuple[int, int]] = []
        if plain["kind"] == "branch":
            inherited = self.origins(plain["parent"])[: plain["fork"] + 1]
        elif plain["kind"] == "merge":
            plan = plain["plan"]
            for origin, first, count in zip(plan[::3], plan[1::3], plan[2::3], strict=True):
                inherited += [(origin, first + n) for n in range(count)]
        own = self.own.get(stream, [])
        offsets = [record.offset for record in own]
        need(offsets == list(range(len(inherited), len(inherited) + len(own))), "offsets")
        return inherited + [(stream, offset) for offset in offsets]

    def streams(self) -> dict[str, Shown]:
        """What every stream of the user's shows: `Row`s, in the order of `transit.Record`."""
        shown: dict[str, Shown] = {}
        for stream, plain in enumerate(self.lineage):
            if not plain["name"].startswith("$"):
                shown[plain["name"]] = [
                    self._show(offset, *origin)
                    for offset, origin in enumerate(self.origins(stream))
                ]
        return shown

    def _show(self, offset: int, stream: int, place: int) -> Row:
        own = self.own[stream]
        record = own[place - own[0].offset]
        name = self.lineage[stream]["name"]
        origin = (name, place)
        return (
            offset, record.timestamp, record.payload, record.headers, origin, record.written,
            record.writer,
        )  # fmt: skip
