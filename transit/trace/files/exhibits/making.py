"""Making an exhibit: which proofs a run needs, and nothing of any other run.

Owns the choice: all records of the run; all notes on it; the artifacts that it refers to; of the
streams that it descends from, that they are there. Records of these that the run does not have go
in only where its own are not read without them, which is so for some merges by policies of a
program's own.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from transit import (
    Checked,
    InvalidInputError,
    Log,
    NotFoundError,
    Proof,
    ProofError,
    SignedCheckpoint,
    Stream,
    __version__,
)
from transit.trace.artifacts import artifact_stream
from transit.trace.files.exhibits.contents import (
    HOW,
    MANIFEST,
    PROOF,
    Files,
    Parts,
    check_parts,
    contents,
    hows,
    manifest,
    referred,
)
from transit.trace.files.exhibits.how import how_text
from transit.trace.files.exhibits.zipped import write_zip
from transit.trace.files.whole import written_whole
from transit.trace.names import HoldsStream, stream_of
from transit.trace.noting import stream_of_notes

_STATEMENT = "proof.json"
_CHECKPOINT = "checkpoint"
SHARED = ("commits/", "leaves/", "secrets/", "opened/")


def exhibit(
    log: Log,
    run: str | Stream | HoldsStream,
    path: str | Path,
    *,
    checkpoint: SignedCheckpoint | bytes | None = None,
) -> None:
    """Write a run as one file that can be checked without its store: see `check_exhibit`.

    path: a new zip; what is there is replaced, at once. checkpoint: the one to stand on; None: the
    newest of the store. What was recorded, or noted, after it is not in the file. Child runs are
    named, and have exhibits of their own.
    Raises `NotFoundError` when there is no such run, `OSError` when the file cannot be written, and
    as `Log.prove`: `InvalidInputError` where there is no checkpoint, or one from before the run.
    """
    if not isinstance(path, str | Path):
        raise InvalidInputError(f"path must be a path, not {path!r}")
    files, _ = made(log, stream_of(log, run), checkpoint)
    with written_whole(Path(path)) as file:
        write_zip(file, files)


class Exhibit(NamedTuple):
    """An exhibit in memory. streams: names of all streams of which it shows anything."""

    files: Files
    streams: frozenset[str]

    def zipped(self) -> bytes:
        """The file that `exhibit` writes."""
        file = io.BytesIO()
        write_zip(file, self.files)
        return file.getvalue()


def made(
    log: Log,
    stream: Stream,
    checkpoint: SignedCheckpoint | bytes | None = None,
    admit: Callable[[Stream], None] = lambda _: None,
) -> Exhibit:
    """The exhibit of a run, as `exhibit`.

    admit: told of each stream whose records are to go in, before they are read; what it raises ends
    the making. Of parents chunks go in that it is not told of: `Exhibit.streams` has them.
    """
    proofs = _proofs(log, stream, checkpoint, admit)
    try:
        files = _files(proofs)
    except (ProofError, NotFoundError):
        # Its records say less than they mean without others of the streams that they are from.
        proofs |= _origins(log, stream, proofs, admit)
        files = _files(proofs)
    shown = (record.name for proof in proofs.values() for record in proof.checked.streams.values())
    return Exhibit(files, frozenset(shown))


def _proofs(
    log: Log,
    stream: Stream,
    checkpoint: SignedCheckpoint | bytes | None,
    admit: Callable[[Stream], None],
) -> dict[str, Proof]:
    """By the names of their statements."""
    admit(stream)
    found = {"run": log.prove(stream, records=(0, None), end=True, checkpoint=checkpoint)}
    note = found["run"][_CHECKPOINT]

    def prove(other: Stream, *, end: bool) -> Proof | None:
        admit(other)
        try:
            return log.prove(other, records=(0, None), end=end, checkpoint=note)
        except InvalidInputError:
            # It began after the checkpoint.
            return None

    about = stream_of_notes(log, stream)
    notes = None if about is None else prove(about, end=True)
    if notes is not None:
        found["notes"] = notes
    for name in referred(found["run"].checked.records()):
        kept = _stream(log, name)
        proof = None if kept is None else prove(kept, end=False)
        if proof is not None and _is_whole(proof, name):
            found[f"artifacts/{name.removeprefix(artifact_stream(''))}"] = proof
    for parent in _descent(log, stream):
        if parent.id not in found["run"].checked.streams:
            found[f"parents/{parent.uid}"] = log.prove(parent, records=(0, 0), checkpoint=note)
    return found


def _stream(log: Log, name: str) -> Stream | None:
    try:
        return log.stream(name)
    except (NotFoundError, InvalidInputError):
        return None


def _is_whole(proof: Proof, name: str) -> bool:
    """Whether all bytes of an artifact were there: a writer that died left a beginning."""
    # Loaded here: a run without artifacts needs it nowhere else.
    from blake3 import blake3

    data = b"".join(record.payload for record in proof.checked.records())
    return artifact_stream(blake3(data).hexdigest()) == name


def _descent(log: Log, stream: Stream) -> Iterator[Stream]:
    """The streams that a run descends from: its parents, and of a branch those of these."""
    waiting, seen = [stream], {stream.id}
    while waiting:
        child = waiting.pop()
        for parent in log.lineage.parents(child):
            if parent.id not in seen:
                seen.add(parent.id)
                yield parent
                if child.kind == "branch":
                    waiting.append(parent)


def _ancestors(log: Log, stream: Stream) -> dict[int, Stream]:
    """All streams that a run descends from, by number."""
    found: dict[int, Stream] = {}
    waiting = [stream]
    while waiting:
        for parent in log.lineage.parents(waiting.pop()):
            if found.setdefault(parent.id, parent) is parent:
                waiting.append(parent)
    return found


def _origins(
    log: Log, stream: Stream, proofs: Mapping[str, Proof], admit: Callable[[Stream], None]
) -> dict[str, Proof]:
    """Proofs of the streams that a merge's records are from, up to the last of these."""
    last: dict[int, int] = {}
    for record in proofs["run"].checked.records():
        last[record.origin_id] = max(record.origin_offset, last.get(record.origin_id, 0))
    last.pop(stream.id, None)
    note, found = proofs["run"][_CHECKPOINT], {}
    known = _ancestors(log, stream)
    for number, offset in last.items():
        origin = known[number]
        admit(origin)
        proof = log.prove(origin, records=(0, offset + 1), checkpoint=note)
        found[f"parents/{origin.uid}"] = proof
    return found


def _files(proofs: Mapping[str, Proof]) -> Files:
    """All files of the exhibit, made of the proofs as whoever checks it makes them."""
    shared: Files = {_CHECKPOINT: proofs["run"][_CHECKPOINT]}
    for proof in proofs.values():
        shared |= {name: proof[name] for name in proof if name.startswith(SHARED)}
    parts = parts_of({name: proof.among(shared) for name, proof in proofs.items()})
    check_parts(parts)
    files = contents(parts) | hows(parts)
    files |= {f"{PROOF}{name}": data for name, data in shared.items()}
    files |= {f"{PROOF}{name}.json": proof[_STATEMENT] for name, proof in proofs.items()}
    files[MANIFEST] = manifest(parts, files, __version__)
    files[HOW] = how_text(parts, files)
    return files


def parts_of(checked: Mapping[str, Checked]) -> Parts:
    """The parts of an exhibit from its proofs, by the names of their statements."""

    def below(folder: str) -> dict[str, Checked]:
        start = f"{folder}/"
        return {
            name.removeprefix(start): proof
            for name, proof in checked.items()
            if name.startswith(start)
        }

    return Parts(checked["run"], checked.get("notes"), below("artifacts"), below("parents"))
