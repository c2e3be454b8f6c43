"""Tools about what can be shown to others: `prove`, and `retention`; files of proofs by address.

A proof is a file, and no text for a model: `prove` says what it shows, and where it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from transit import Became, Proof, Stream
from transit.proof.notes import parse_note
from transit.protocol.evidence import ExhibitRequest, ProofRequest
from transit.protocol.folders import pack_zip
from transit.protocol.keeping import RetentionAnswer
from transit.server.api.keeping import kept, notable
from transit.server.mcp.arguments import Prove, Retention
from transit.server.mcp.calling import Caller
from transit.server.mcp.pages import Item, numbered
from transit.server.mcp.records import moment
from transit.server.refusals import RefusedError
from transit.trace.names import is_run

PROOF: Final = "transit://proof/"
EXHIBIT: Final = "transit://exhibit/"
FILE_BYTES_MAX: Final = 4 * 1024 * 1024
"""The largest file that is given by address: hosts hold it in memory, several times."""

_HOW: Final = "transit proof check FILE --vkey KEY, on any machine; or sh HOW.txt KEY in it"
_NOT_SHOWN: Final = (
    "whose key signed the checkpoint: whoever checks it names the key that they trust",
    "that what is recorded is true, or all that happened",
    "when a record was made: its time is the word of the program that wrote it",
)


async def prove(caller: Caller, given: Prove) -> Item:
    """What a proof of a record shows, and its address."""
    stream = caller.stream(given.stream)
    proof = await _proof(caller, stream, given.offset)
    shown = proof.shown
    note = parse_note(proof["checkpoint"])
    place = quote(stream.name, safe="/")
    address = PROOF + (place if given.offset is None else f"{place}@{given.offset}")
    return {
        "stream": shown.stream,
        "uid": shown.uid,
        "records": list(shown.records),
        "checkpoint": {
            "origin": shown.checkpoint.origin,
            "commits": shown.checkpoint.size,
            "root": shown.checkpoint.root.hex(),
            "signature_lines": [f"{each.name}+{each.key_id.hex()}" for each in note.signatures][
                :20
            ],
        },
        "proof": address,
        "exhibit": EXHIBIT + place if is_run(stream) else None,
        "bytes": sum(map(len, proof.values())),
        "not_shown": list(_NOT_SHOWN),
        "check": _HOW,
        "next": None,
        "truncated": False,
    }


async def _proof(caller: Caller, stream: Stream, offset: int | None) -> Proof:
    evidence = caller.room.evidence
    asked = ProofRequest(offset=offset)
    return await evidence.work(lambda: evidence.proof(caller.grant, stream, asked))


async def proof_file(caller: Caller, name: str, offset: int | None) -> bytes:
    """The zip of a proof."""
    return _bounded(pack_zip(await _proof(caller, caller.stream(name), offset)))


async def exhibit_file(caller: Caller, name: str) -> bytes:
    """The zip of an exhibit."""
    stream, evidence = caller.stream(name), caller.room.evidence
    asked = ExhibitRequest()
    return _bounded(await evidence.work(lambda: evidence.exhibit(caller.grant, stream, asked)))


def _bounded(data: bytes) -> bytes:
    if len(data) > FILE_BYTES_MAX:
        raise RefusedError(
            413, f"a file of {len(data)} bytes; {FILE_BYTES_MAX} are given by address: /v1 has it"
        )
    return data


async def retention(caller: Caller, given: Retention) -> Item:
    """How long a stream is kept, and what became of it; or which streams are kept, or went."""
    if given.stream is not None:
        stream = caller.stream(given.stream)
        state = await caller.room.service.read(lambda: kept(stream))
        changes = (_change(each) for each in state.became)
        return numbered(_state(state), "changes", changes, given.skip, given.limit)

    def work() -> Item:
        found = (
            {**_state(kept(each)), "hidden": each.hidden}
            for each in notable(caller.log, caller.sees)
        )
        return numbered({}, "streams", found, given.skip, given.limit)

    return await caller.room.service.read(work)


def _state(state: RetentionAnswer) -> Item:
    limits = state.retention
    named = {
        "keep_for_s": limits.keep_for,
        "expire_after_s": limits.expire_after,
        "bytes_max": limits.bytes_max,
        "count_max": limits.count_max,
    }
    return {
        "stream": state.stream,
        "first_offset": state.first_offset,
        "next_offset": state.next_offset,
        "deleted": state.deleted,
        "erased": state.erased,
        "holds": [
            {"reason": hold.reason, "since": moment(hold.since), "by": hold.by}
            for hold in state.holds
        ],
        "limits": {name: value for name, value in named.items() if value is not None},
        "kept_until": moment(state.kept_until),
        "expires": moment(state.expires),
    }


def _change(change: Became) -> Item:
    item: Item = {"what": change.what, "time": moment(change.when)}
    for name in ("by", "reason", "basis", "before", "hold"):
        value = getattr(change, name)
        if value not in ("", None):
            item[name] = value
    return item


def files() -> Iterator[tuple[str, str, str]]:
    """Files that are given by address: a name, what the address looks like, what is told."""
    yield "proof", PROOF + "{name}@{offset}", "The proof of one record, as a zip."
    yield "exhibit", EXHIBIT + "{name}", "A run in one file with its proofs, as a zip."
