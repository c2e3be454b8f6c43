"""What is in an exhibit beside its proofs, made from these alone.

Owns the form of each file. Whoever makes an exhibit and whoever checks one call the same functions
on the same records, those that the proofs show, so nothing else can be in it. The page alone may
look different by another version, and the manifest says which one made it.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
from blake3 import blake3

from transit import (
    Checked,
    Log,
    Position,
    ProofError,
    ShownRecord,
    how_to_check,
    open_proved,
)
from transit.trace.artifacts import artifact_stream
from transit.trace.events import Artifact, ChildRun, Unknown, decode_event, encode_json
from transit.trace.noting import notes_name
from transit.trace.page import write_page
from transit.trace.reading import Trace

KIND: Final = "transit-exhibit"
VERSION: Final = 1
HOW: Final = "HOW.txt"
MANIFEST: Final = "manifest.json"
TRANSCRIPT: Final = "transcript.html"
PROOF: Final = "proof/"
HOWS: Final = "proof/how/"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ARTIFACT: Final = artifact_stream("")

Files = dict[str, bytes]


class Parts(NamedTuple):
    """The proofs of an exhibit, each checked.

    run: all its records. notes: all notes, None where there are none. artifacts: by digest; parents
    by uid: streams that it descends from, and what of their records its own are made of.
    """

    run: Checked
    notes: Checked | None
    artifacts: Mapping[str, Checked]
    parents: Mapping[str, Checked]

    def by_name(self) -> Iterator[tuple[str, Checked]]:
        """Each with the name of its statement below `proof/`, without the ending."""
        yield "run", self.run
        if self.notes is not None:
            yield "notes", self.notes
        for digest, proof in sorted(self.artifacts.items()):
            yield f"artifacts/{digest}", proof
        for uid, proof in sorted(self.parents.items()):
            yield f"parents/{uid}", proof

    def log(self) -> Log:
        """What they show, to be read as a store is."""
        return open_proved(proof for _, proof in self.by_name())


class RecordLine(msgspec.Struct, frozen=True, gc=False):
    """A record as `records.ndjson` has it. encoding: "utf-8" or "base64"."""

    offset: int
    timestamp: str
    written: str
    writer: str
    origin: Position
    headers: dict[str, str]
    payload: str
    encoding: str


def check_parts(parts: Parts) -> None:
    """`ProofError` unless these are the proofs of one run: all of it, and of nothing else."""
    run = parts.run.shown
    if run.records[0] != 0 or not run.end:
        raise ProofError("exhibit: its proof does not show all records of the run")
    if parts.notes is not None:
        about = parts.notes.shown
        if about.stream != notes_name(open_proved([parts.run]).stream(uid=run.uid)):
            raise ProofError(f"exhibit: {about.stream!a} are not the notes on the run")
        if about.records[0] != 0 or not about.end:
            raise ProofError("exhibit: its proof does not show all notes on the run")
    wanted = set(referred(parts.run.records()))
    for digest, proof in parts.artifacts.items():
        if proof.shown.stream != artifact_stream(digest) or proof.shown.stream not in wanted:
            raise ProofError(f"exhibit: artifact {digest} is none that the run refers to")
    for uid, proof in parts.parents.items():
        if proof.shown.uid != uid:
            raise ProofError(f"exhibit: the proof of parent {uid} is about another stream")


def referred(records: Iterable[ShownRecord]) -> list[str]:
    """The streams of artifacts that records refer to, each once, in order."""
    found: dict[str, None] = {}
    for record in records:
        event = decode_event(record.payload)
        if isinstance(event, Unknown):
            continue
        names = [event.ref] if isinstance(event, Artifact) else []
        for name in (*names, *event.large.values()):
            if name.startswith(_ARTIFACT):
                found[name] = None
    return list(found)


def contents(parts: Parts) -> Files:
    """All files but the manifest and `HOW.txt`, those below `proof/` left out."""
    log = parts.log()
    stream = log.stream(uid=parts.run.shown.uid)
    records = list(parts.run.records())
    page = io.BytesIO()
    write_page(log, stream, page)
    files = {
        TRANSCRIPT: page.getvalue(),
        "records.ndjson": b"".join(msgspec.json.encode(_line(each)) + b"\n" for each in records),
        "payloads.ndjson": b"".join(each.payload + b"\n" for each in records),
    }
    if parts.notes is not None:
        files["notes.ndjson"] = b"".join(each.payload + b"\n" for each in parts.notes.records())
    for digest, proof in parts.artifacts.items():
        data = b"".join(each.payload for each in proof.records())
        if blake3(data).hexdigest() != digest:
            raise ProofError(f"exhibit: the records of artifact {digest} are other bytes")
        files[f"artifacts/{digest}"] = data
    return files


def hows(parts: Parts) -> Files:
    """How each proof is checked by standard tools, by the names of the scripts."""
    return {how_name(name): how_to_check(proof) for name, proof in parts.by_name()}


def how_name(name: str) -> str:
    """The script that checks the proof with this name."""
    return f"{HOWS}{name.replace('artifacts/', 'artifact-').replace('parents/', 'parent-')}.txt"


def manifest(parts: Parts, files: Mapping[str, bytes], made_with: str) -> bytes:
    """The manifest of an exhibit that has these files, itself and `HOW.txt` left out."""
    shown, log = parts.run.shown, parts.log()
    trace = Trace(log, log.stream(uid=shown.uid))
    head = shown.checkpoint
    wanted = referred(parts.run.records())
    said = {
        "kind": KIND,
        "version": VERSION,
        "made_with": made_with,
        "checkpoint": {"origin": head.origin, "size": head.size, "root": head.root.hex()},
        "store": shown.store,
        "run": {
            "name": shown.stream,
            "uid": shown.uid,
            "kind": trace.stream.kind,
            "records": shown.records[1],
            "metadata": trace.stream.metadata,
            "parents": [_place(place) for place in trace.parents],
            "parent_run": _place(trace.parent_run),
            "policy": trace.policy,
            "manifest": trace.manifest,
        },
        "children": list(_children(parts)),
        "notes": 0 if parts.notes is None else parts.notes.shown.records[1],
        "artifacts_not_here": [
            name for name in wanted if name.removeprefix(_ARTIFACT) not in parts.artifacts
        ],
        "files": {
            name: {"blake3": blake3(data).hexdigest(), "size": len(data)}
            for name, data in sorted(files.items())
        },
    }
    return msgspec.json.format(encode_json(said), indent=2) + b"\n"


def _place(position: Position | None) -> object:
    return None if position is None else {"stream": position.stream, "offset": position.offset}


def _children(parts: Parts) -> Iterator[dict[str, object]]:
    number = parts.run.shown.stream_id
    for record in parts.run.records():
        event = decode_event(record.payload)
        if isinstance(event, ChildRun) and record.origin_id == number:
            yield {"run": event.run, "uid": event.uid, "offset": record.offset}


def _line(record: ShownRecord) -> RecordLine:
    try:
        payload, encoding = record.payload.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        payload, encoding = b64encode(record.payload).decode("ascii"), "base64"
    return RecordLine(
        offset=record.offset,
        timestamp=_moment(record.timestamp),
        written=_moment(record.written),
        writer=record.writer,
        origin=Position(record.origin_stream, record.origin_offset),
        headers=dict(record.headers),
        payload=payload,
        encoding=encoding,
    )


def _moment(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, in UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
