"""Make the inputs that fuzzing begins with: `python -m rigs.fuzz.make_seeds`.

They are valid, small, and different: each reaches another part of a decoder. They were made once;
making them again gives the same bytes.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from rigs.fuzz.chats import chat_seeds
from rigs.fuzz.evidence import evidence_seeds
from rigs.fuzz.keyrings import envelope_seeds, keyring_seeds
from rigs.fuzz.proofs import proof_seeds
from rigs.fuzz.reseal import FRAME_SEED
from rigs.fuzz.views import key_seeds, node_seeds, result_seeds
from rigs.hostile.hostile import STORE, TIME, Bucket, branch, in_frame, merge
from transit.cli.chain import ChainWriter
from transit.cli.exchange import At, StreamEntry
from transit.cli.records import RecordLine
from transit.format.checksum import wal_seed
from transit.format.commit import encode_commit, encode_format
from transit.format.frame import DATA, END, MARK, encode_frame, encode_wal_header, frame_bytes
from transit.format.head import encode_head
from transit.format.headers import encode_headers
from transit.format.life import Life, encode_life
from transit.format.lineage import LINEAGE_RECORD, Root, encode_lineage
from transit.format.names import commit_name, index_name, segment_name, wal_name
from transit.format.record import Columns, encode_chunk, measure
from transit.format.segment import TAIL, Extent, encode_block, encode_index
from transit.format.takeover import RebasedRecord, TakeoverRecord, encode_takeover
from transit.trace.events import decode_json, encode_json
from transit.trace.packing import Packing
from transit.trace.parts import KnownParts

SEEDS = Path(__file__).parent / "seeds"
UID = "12" * 16
TAKEOVERS = (
    TakeoverRecord(
        at=1_700_000_000_000_000_001, by="host-7", reason="gone: ä", commit=3, root="ab" * 32,
        records=9, written=1_700_000_000_000_000_000, epoch=2, lost=0,
    ),
    TakeoverRecord(
        at=0, by="", reason="", commit=0, root="", records=0, written=0, epoch=-1, lost=31
    ),
    RebasedRecord(at=2**62, by="host-8", tag="rebased-12345678", streams=2, records=2**40),
)  # fmt: skip
LIVES = (
    Life(stream=1, streams=2, finished=0),
    Life(stream=3, streams=9, hidden=True, reason="not needed: ä"),
    Life(stream=2, streams=2**40, finished=7, hidden=True, deleted=True, erased=True),
)
LINEAGE = (
    LINEAGE_RECORD,
    Root(
        name="one",
        uid=UID,
        codec="json",
        metadata={"a": 1, "b": 2.5, "c": "ä", "d": None, "e": True},
    ),
    branch("two", 1, 1),
    merge("three", [(1, 2), (2, 2)], [1, 0, 2, 2, 2, 1]),
    merge("four", [(1, 2), (2, 2)], [1, 0, 3], policy="select", params={"selected": 0}),
)


def columns(payloads: Sequence[bytes], kind: int) -> Columns:
    """Payloads with timestamps and headers in columns of one width or another."""
    times: int | list[int] = TIME
    headers: bytes | list[bytes] | None = None
    if kind:
        step = (1, 1000, 100_000, 2**40)[kind % 4]
        times = [TIME + n * step for n in range(len(payloads))]
        headers = [encode_headers({"n": str(n % 3), "k": "ö\n"}) for n in range(len(payloads))]
    elif len(payloads) > 2:
        headers = encode_headers({"kind": "a"})
    return Columns(payloads, measure(payloads), times, headers)


def chunk(stream: int, first: int, payloads: Sequence[bytes], kind: int = 0) -> bytes:
    return b"".join(encode_chunk(stream, first, columns(payloads, kind)))


def chunk_seeds() -> Iterator[bytes]:
    yield in_frame(1, 0, [b"one"])
    yield in_frame(1, 0, [b"a" * n for n in range(5)])
    for kind in range(5):
        yield chunk(7, kind, [b"x" * (3 * n * kind) for n in range(6)], kind)
    yield chunk(2**64 - 1, 2**63, [b""] * 300, 2)
    yield chunk(1, 0, [b"ab"] * 4) + chunk(2, 9, [b"c"])
    for written in (TIME, [TIME, TIME + 200, TIME + 300], [TIME, TIME, TIME + 2**40]):
        dated = Columns([b"x"] * 3, 1, [TIME, TIME, TIME + 1], None, written, "töken")
        yield b"".join(encode_chunk(1, 0, dated))


def frame_seeds(position: int, seed: int) -> Iterator[bytes]:
    for place, body in enumerate(chunk_seeds(), 1):
        records = {9: 5}.get(place) or struct.unpack_from("<I", body, 16)[0]
        yield encode_frame(body, position, place, 0, records, DATA, TIME, seed)
    yield encode_frame(b"", position, 3, position, 0, MARK, TIME, seed)
    yield encode_frame(b"", position, 4, position, 0, END, TIME, seed)


def wal_of(frames: Sequence[tuple[bytes, int, int]]) -> bytes:
    """A WAL file from bodies, counts of records and kinds."""
    data, lsn, seed = encode_wal_header(STORE, 0), 0, wal_seed(STORE, 0)
    for body, records, kind in frames:
        data += encode_frame(body, len(data), lsn, len(data), records, kind, TIME, seed)
        lsn += records
    return data


def wal_seeds() -> Iterator[bytes]:
    lineage = [encode_lineage(record) for record in LINEAGE]
    start = (in_frame(0, 0, lineage), len(lineage), DATA)
    ones = [(chunk(1, n, [b"r%d" % n], n % 2), 1, DATA) for n in range(6)]
    many = (chunk(2, 2, [b"s"] * 3) + chunk(3, 3, [b"t", b"uu"], 1), 5, DATA)
    yield wal_of([start])
    yield wal_of([start, *ones])
    yield wal_of([start, ones[0], many, *ones[1:], (b"", 0, MARK)])
    yield wal_of([start, many, (b"", 0, END)])
    yield wal_of([start, *ones[:2]]) + bytes(200)
    whole = wal_of([start, *ones[:3]])
    yield whole[:-5]
    cursor = (in_frame(0, 5, [encode_lineage(Bucket.named("$cursors/1/c"))]), 1, DATA)
    yield wal_of([start, *ones[:3], cursor, (in_frame(5, 0, [b"2"]), 1, DATA)])
    yield whole[: -frame_bytes(80)] + bytes(600) + whole[-frame_bytes(80) :]


def bucket() -> Bucket:
    made = Bucket().begin(*LINEAGE[2:4])
    made.add([(1, 3, [b"x" * 900] * 5), (2, 2, [b"y"])])
    made.grow(1)
    made.add([(1, 30, [b"x"])], index=made.snapshot(0))
    return made


def files() -> dict[str, list[bytes]]:
    """Seeds that are files of a store, or parts of them."""
    made = bucket()
    objects = made.objects
    segments = [data for key, data in sorted(objects.items()) if key.startswith("segments/")]
    snapshots = [data for key, data in sorted(objects.items()) if key.startswith("index/")]
    later = Bucket().begin().grow(1)
    later.snapshot(0)
    later.grow(2)
    later.snapshot(2)
    snapshots += [d for key, d in sorted(later.objects.items()) if key.startswith("index/")]
    commits = [encode_commit(commit) for commit in made.commits]
    heads = [encode_head(STORE, 7, 0), encode_head(STORE, 0, None)]
    footers = [made.segments[n].footer for n in (0, 1)]
    return {
        "commit": commits,
        "format": [encode_format(STORE)],
        "head": heads,
        "snapshot": snapshots,
        "footer": footers,
        "tail": [data[-TAIL.size :] for data in segments[:2]],
        "inspected": [
            *segments, *snapshots, *commits[-1:], *heads[:1], encode_format(STORE),
            *list(wal_seeds())[2:], b"12345\n", b"s3://bucket/prefix",
        ],
    }  # fmt: skip


def index_seeds() -> Iterator[bytes]:
    extents = [Extent(n // 2, n, TIME, 1 + n, n // 3, n * 60) for n in range(6)]
    yield encode_index(extents, [(5, 1), (5, 2), (2**64 - 1, 3)])
    yield encode_index(extents[:1], [])
    yield encode_index([], [])


def block_seeds() -> Iterator[bytes]:
    for raw in (b"a" * 5000, random.Random(1).randbytes(300), b""):
        entry, stored = encode_block(raw, 32, 3)
        yield struct.pack("<IB", len(raw), entry.codec) + stored


def plan_seeds() -> Iterator[bytes]:
    yield b"\n".join(encode_lineage(record) for record in LINEAGE[1:])
    yield b"\n".join(
        map(
            encode_lineage,
            [
                Bucket.named("a"),
                branch("b", 1, 0),
                merge("c", [(1, 2), (2, 1)], [1, 0, 3, 2, 1, 1], base=(1, 0)),
                merge("d", [(2, 1), (1, 2)], [1, 0, 1, 2, 1, 1, 1, 1, 2], policy="interleave"),
                merge("e", [(3, 3), (4, 3)], [1, 0, 1], policy="base", base=(1, 0)),
                merge("f", [(2, 0), (3, 3)], [1, 0, 3, 2, 1, 1], policy="fast-forward"),
                merge("g", [(5, 0), (6, 3)], [1, 0, 1], policy="custom:mine", params={"x": "y"}),
            ],
        )
    )


EVENTS = (
    '{"event":"message","message":0,"parts":[{"role":"user","content":"hello there, everybody"}]}',
    '{"event":"tool_request","tool_call_id":"c1","tool_name":"bash","arguments":{"a":[1,2]}}',
    '{"event":"tool_result","tool_call_id":"c1","tool_name":"bash","tool_status":"failure",'
    '"error":{"type":"E","message":"\\ud800","args":[1]},"duration_ns":5}',
    '{"event":"call_request","call_id":"1","call_name":"f","arguments":[],"arguments_digest":"ab"}',
    '{"event":"evaluation","evaluator_id":"e","subject_ref":"s@1","decision":"selected","score":1}',
    '{"event":"checkpoint","checkpoint_kind":"final","status":"success"}',
    '{"event":"artifact","artifact_id":"a","kind":"k","ref":"r","content_type":"t",'
    '"byte_length":3,"digest":"d"}',
    '{"event":"run_end","status":"failed","error":{"type":"E"}}',
    '{"event":"model_call","gen_ai.request.model":"m","usage":{"x":1},"request":{"value":1}}',
    '{"event":"custom","name":"n","data":{"value":3}}',
    '{"event":"of-tomorrow","x":[{}]}',
)


def conversation() -> list[dict[str, object]]:
    said: list[dict[str, object]] = [{"role": "system", "content": "be brief, and be right"}]
    values: list[dict[str, object]] = []
    for n in range(3):
        said.append({"role": "user", "content": f"question number {n}, which is a long one"})
        values.append({"model": "m", "messages": list(said), "tools": [{"name": "a", "x": n}]})
        answer = {"role": "assistant", "content": [{"type": "text", "text": "an answer" * n}]}
        values.append({"id": str(n), "usage": {"in": n}, "choices": [{"message": answer}]})
        said.append(answer)
    return values


def packed_lines(values: Sequence[object]) -> bytes:
    known, lines = KnownParts(), []
    for value in values:
        packing = Packing(known)
        form = packing.pack(value)
        lines.append(packing.finish(encode_json({"event": "custom", "name": "n", "data": form})))
        known.passed(packing.parts.digests, packing.lists.digests)
    return b"\n".join(lines)


def exports() -> Iterator[bytes]:
    entries = [
        StreamEntry(type="stream", name="one", kind="root", uid=UID, own=2, metadata={"a": 1}),
        StreamEntry(
            type="stream", name="two", kind="branch", uid=UID[::-1], parents=(At("one", 0),),
            inherited=1, own=0,
        ),
        StreamEntry(
            type="stream", name="three", kind="merge", parents=(At("one", 1), At("two", 0)),
            inherited=2, own=0, policy="append", version=1, base=At("one", 0),
        ),
    ]  # fmt: skip
    moment = "2026-01-31T12:00:00.000000001Z"
    records = [
        RecordLine("one", 0, moment, "hello", "utf-8", {"kind": "a"}),
        RecordLine("one", 1, moment, "AAE=", "base64"),
    ]
    writer, plain, chained = ChainWriter(), [], []
    for entry in entries:
        own = records if entry.name == "one" else []
        plain += [encode_json(entry), *map(encode_json, own)]
        chained += [writer.stream(entry).strip(), *(writer.record(r).strip() for r in own)]
    yield b"\n".join([*plain, b""])
    yield b"\n".join([*chained, b""])
    yield b"\n".join([encode_json(entries[0]), b'{"stream":"one","payload":"x","timestamp":"2h"}'])


CONFIGURATION = b"""store = "runs"
remote = "s3://bucket/runs"
durability = "os"
mode = "shared"
[limits]
seal_bytes = 33554432
seal_interval_s = 2.5
compression = "none"
[remote_options]
endpoint_url = "http://127.0.0.1:9000"
client_kwargs = {region_name = "a", nested = {x = [1, 2]}}
"""


def texts() -> dict[str, list[bytes]]:
    """Seeds that are text."""
    digits = bytes(range(32))
    return {
        "names": [
            wal_name(13).encode(), commit_name(0).encode(), segment_name(digits).encode(),
            index_name(digits).encode(), "fix-1867/ä@3".encode(), b"$lineage",
        ],
        "cursor": [b"0", b"42", b'42\n{"sum":7}', b"9223372036854775807\n", b"1\n\n\xff"],
        "trace_event": [event.encode() for event in EVENTS],
        "trace_parts": [
            packed_lines(conversation()),
            packed_lines([[{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 2}, {"a": 3}], {"role": "x"}]),
            "\n".join(EVENTS).encode(),
        ],
        "trace_packing": [
            b"\n".join(encode_json(value) for value in conversation()),
            b'[{"a":1},{"b":[{"role":"x"}]}]\n{"k":{"role":"u","model":1}}\n"text"\n[1,2.5,null]',
            encode_json(decode_json(b'{"content":"\\ud800","role":"user","usage":{}}')),
        ],
        "imported": list(exports()),
        "configured": [CONFIGURATION, b'store = "x"\n', b"limits = {block_bytes = 4096}\n"],
        "moments": [
            b"2026-01-31T12:00:00Z", b"2026-01-31", b"2026-01-31T12:00:00.5+02:30", b"2h", b"1.5d",
        ],
    }  # fmt: skip


def all_seeds() -> dict[str, list[bytes]]:
    """The seeds of every target."""
    return {
        "wal_header": [
            encode_wal_header(STORE, 0),
            encode_wal_header(bytes(16), 2**63),
            encode_wal_header(STORE, 9, 4),
        ],
        "frame": list(frame_seeds(64, FRAME_SEED)),
        "wal": list(wal_seeds()),
        "store": list(wal_seeds()),
        "chunks": list(chunk_seeds()),
        "lineage": [encode_lineage(record) for record in LINEAGE],
        "life": [encode_life(life) for life in LIVES],
        "takeover": [encode_takeover(said) for said in TAKEOVERS],
        "index": list(index_seeds()),
        "block": list(block_seeds()),
        "plans": list(plan_seeds()),
        "map_node": node_seeds(),
        "map_key": key_seeds(),
        "wasm_result": result_seeds(),
        **files(),
        **texts(),
        **proof_seeds(),
        **evidence_seeds(),
        **keyring_seeds(),
        **chat_seeds(),
        **envelope_seeds(),
    }


def main() -> None:
    for target, seeds in all_seeds().items():
        folder = SEEDS / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(seeds):
            (folder / f"{number:02d}").write_bytes(data)
        print(json.dumps({"target": target, "seeds": len(seeds), "bytes": sum(map(len, seeds))}))


if __name__ == "__main__":
    main()
