"""What `transit proof check` found: what is shown, by whom it is vouched for, what is not shown.

Owns how the several things that can be checked are told apart, and what is said of each.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from transit import (
    CheckedProof,
    Envelope,
    NotFoundError,
    Policy,
    ProofError,
    Verdict,
    check_checkpoint,
    check_envelope,
    check_growth,
    check_proof,
)
from transit.cli.configuration import reachable
from transit.cli.failures import CommandError, hinted
from transit.cli.output import Output
from transit.cli.records import text_of
from transit.cli.trust import NOTE_BYTES_MAX, facts_of, read_file
from transit.cli.values import moment_text
from transit.protocol.folders import BYTES_MAX, unpack_zip

_ZIP: Final = b"PK\x03\x04"
_GROWTH: Final = b"old "
_ENVELOPE_FILE: Final = "envelope.json"
_MANIFEST: Final = "manifest.json"
_STATEMENT_FILE: Final = "proof.json"

NOT_SHOWN: Final = (
    "that one stream alone has this name: an audit of the whole store shows it",
    "when a record was made: its time is the word of the program that wrote it",
    "that what is recorded is true, or all that happened",
    "anything after the checkpoint",
)
NO_WITNESS: Final = (
    "that the key's holder shows everybody the same checkpoint: witnesses do, and none is known"
)


class Found(NamedTuple):
    """What holds. said: facts about it; shown, not_shown: sentences; proof: with records."""

    kind: str
    verdict: Verdict
    said: Mapping[str, object]
    shown: tuple[str, ...]
    not_shown: tuple[str, ...]
    proof: CheckedProof | None = None

    def facts(self, *, people: bool) -> dict[str, object]:
        """All of it, in the order in which it is told."""
        vouched = facts_of(self.verdict)
        witnessed = () if self.verdict.witnesses else (NO_WITNESS,)
        if people:
            cosigned = vouched["cosigned_by"]
            assert isinstance(cosigned, Mapping)
            vouched["cosigned_by"] = [f"{name} at {at}" for name, at in cosigned.items()]
            vouched["size"] = f"{vouched['size']} commits"
        said = {} if people else {**self.said}
        return {
            "holds": self.kind if people else True,
            **({} if people else {"kind": self.kind}),
            **vouched,
            **said,
            "shown": list(self.shown),
            "not_shown": [*self.not_shown, *witnessed],
        }


def check_any(place: str, policy: Policy, old: bytes | None) -> Found:
    """Check what is there, whatever it is; `ProofError` where it does not hold.

    old: the older checkpoint that a proof of growth is about.
    """
    path = reachable(place)
    if os.path.isdir(path):
        _refuse_old(old)
        if os.path.lexists(os.path.join(path, _ENVELOPE_FILE)):
            return _envelope(path, policy)
        if os.path.lexists(os.path.join(path, _MANIFEST)):
            raise CommandError(
                f"{place}: an exhibit that was unpacked",
                hint="check the zip; here `sh HOW.txt VKEY` checks it by standard tools",
            )
        return _proof(path, policy)
    if not os.path.exists(path):
        with hinted(NotFoundError, "name the folder of a proof, an exhibit, or a checkpoint"):
            raise NotFoundError(f"{place}: no such file or folder")
    with open(path, "rb") as file:
        begin = file.read(len(_ZIP))
    if begin == _ZIP:
        _refuse_old(old)
        return _zipped(path, policy)
    data = read_file(path, NOTE_BYTES_MAX)
    if not data.startswith(_GROWTH):
        _refuse_old(old)
        return _checkpoint(data, policy)
    if old is None:
        raise CommandError(
            f"{place}: a proof of growth is checked beside the checkpoint that it begins at",
            hint="give --old FILE",
        )
    return _growth(data, old, policy)


def _zipped(path: str, policy: Policy) -> Found:
    """An exhibit; or the folder of a proof as a server sends it."""
    try:
        with zipfile.ZipFile(path) as opened:
            names = frozenset(opened.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise ProofError(f"{path}: not a whole zip: {error}") from None
    if _MANIFEST in names or not names & {_ENVELOPE_FILE, _STATEMENT_FILE}:
        return _exhibit(path, policy)
    files = unpack_zip(read_file(path, BYTES_MAX))
    return (_envelope if _ENVELOPE_FILE in names else _proof)(files, policy)


def _refuse_old(old: bytes | None) -> None:
    if old is not None:
        raise CommandError("--old is for a proof of growth")


def _checkpoint(data: bytes, policy: Policy) -> Found:
    verdict = check_checkpoint(data, policy=policy)
    said = f"the log had {_commits(verdict.checkpoint.size)}, and no others, with this root"
    return Found("checkpoint", verdict, {}, (said,), ("what any record is",))


def _growth(data: bytes, old: bytes, policy: Policy) -> Found:
    verdict = check_growth(data, old, policy=policy)
    before = check_checkpoint(old, policy=policy).checkpoint
    said = (
        f"the newer checkpoint, over {_commits(verdict.checkpoint.size)}, begins with all that"
        f" the older one covers, {_commits(before.size)}, none of it changed"
    )
    facts = {"old_size": before.size, "old_root": before.root.hex()}
    return Found("growth", verdict, facts, (said,), ("what any record is",))


def _proof(path: str | Mapping[str, bytes], policy: Policy) -> Found:
    checked = check_proof(path, policy=policy)
    return Found(
        "proof", checked.verdict, facts_of_proof(checked), said_of_proof(checked),
        (*_not_rerun(checked), *NOT_SHOWN), checked,
    )  # fmt: skip


def facts_of_proof(checked: CheckedProof) -> dict[str, object]:
    """What a proof shows, for programs."""
    shown = checked.shown
    return {
        "store": shown.store,
        "stream": shown.stream,
        "uid": shown.uid,
        "stream_id": shown.stream_id,
        "records": list(shown.records),
        "end": shown.end,
        "merged": list(shown.merged),
        "commits": shown.commits,
        "leaves": shown.leaves,
    }


def said_of_proof(checked: CheckedProof) -> tuple[str, ...]:
    """What a proof shows, for people."""
    shown = checked.shown
    first, stop = shown.records
    sentences = [f"stream {shown.stream!r} is there, with uid {shown.uid} and id {shown.stream_id}"]
    if stop == first + 1:
        sentences.append(f"its record {first} is what the proof holds, byte for byte")
    elif stop > first:
        sentences.append(
            f"its records {first} to {stop - 1} are what the proof holds, byte for byte"
        )
    if shown.end:
        sentences.append(
            f"it had {stop} records and no more when the checkpoint was made"
            if stop
            else "it had no records when the checkpoint was made"
        )
    return tuple(sentences)


def _not_rerun(checked: CheckedProof) -> tuple[str, ...]:
    return tuple(
        f"that the merge {name!r} follows its policy: it was not run again"
        for name in checked.shown.merged
    )


def _envelope(path: str | Mapping[str, bytes], policy: Policy) -> Found:
    checked = check_envelope(path, policy=policy)
    envelope = checked.envelope
    sentences = [f"stream {envelope.stream!r} ended at offset {envelope.head_offset}"]
    sentences += [
        f"{head.role}: the stream with uid {head.stream_id}, at offset {head.offset}"
        for head in envelope.parent_heads
    ]
    facts = {"envelope": msgspec.to_builtins(envelope)}
    return Found(
        envelope.proof_kind, checked.verdict, facts, tuple(sentences),
        (*_of_the_block(envelope), *envelope.non_claims),
    )  # fmt: skip


def _of_the_block(envelope: Envelope) -> Iterable[str]:
    if envelope.application_block is not None:
        yield "what application_block says: it is a text of whoever made the document"


def _exhibit(path: str, policy: Policy) -> Found:
    # Loaded here: other proofs need nothing of runs.
    from transit.trace.files.exhibits import check_exhibit

    checked = check_exhibit(path, policy=policy)
    return Found(
        "exhibit", checked.proof.verdict,
        {**facts_of_proof(checked.proof), "files": dict(checked.files),
         "not_rendered": list(checked.not_made_again)},
        (*said_of_proof(checked.proof), *checked.shown), (*checked.not_shown, *NOT_SHOWN),
        checked.proof,
    )  # fmt: skip


def _commits(count: int) -> str:
    return f"{count:,} commit{'' if count == 1 else 's'}"


def shown_records(output: Output, proof: CheckedProof) -> None:
    """The records that a proof shows, a JSON object a line."""
    for record in proof.records():
        payload, encoding = text_of(record.payload)
        line = {
            "stream": proof.shown.stream,
            "offset": record.offset,
            "timestamp": moment_text(record.timestamp),
            "written": moment_text(record.written),
            "writer": record.writer,
            "headers": dict(record.headers),
            "origin": {"stream": record.origin_stream, "offset": record.origin_offset},
            "payload": payload,
            "encoding": encoding,
        }
        # In ASCII, as all that is told of proofs.
        output.raw(json.dumps(line, separators=(",", ":")).encode() + b"\n")
