"""Hostile input costs little: calls and bytes are counted, nothing is timed."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest

from transit.errors import InvalidInputError, ProofError
from transit.proof import keys
from transit.proof.checkpoint import open_checkpoint
from transit.proof.files import ConsistencyFile, InclusionFile
from transit.proof.keys import SigningKey, VerifyingKey
from transit.proof.notes import NOTE_BYTES_MAX, SIGNATURES_MAX, NoteSignature, parse_note
from transit.proof.policy import POLICY_BYTES_MAX, Policy, parse_retired
from transit.proof.tiles import ENTRIES, Tile, decode_bundle, decode_tile, parse_path
from transit.proof.witness import ANSWER_BYTES_MAX, Latest, decide, read_answer

from .logs import LOG, NOW, ORIGIN, W1, consistency, note, policy

MIB: Final = 1 << 20
# What any of these may take, however large the input: calls of functions, and bytes beside it.
CALLS_MAX: Final = 2_000
BYTES_MAX: Final = 16 * MIB
BUNDLE: Final = Tile(ENTRIES, 0)
HASH: Final = b"A" * 43 + b"=\n"
STRANGER: Final = NoteSignature("stranger.example", b"\0\0\0\1", bytes(64)).encode()


class Spent(NamedTuple):
    calls: int
    bytes: int


def spent(call: Callable[[], object]) -> Spent:
    """How many functions a call that is refused called, and what it held at most."""
    count = 0

    def told(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    tracemalloc.start()
    before = sys.getprofile()
    sys.setprofile(told)
    try:
        with pytest.raises((ProofError, InvalidInputError)):
            call()
    finally:
        sys.setprofile(before)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return Spent(count, most)


def opened(data: bytes) -> object:
    return open_checkpoint(data, [LOG.verifying])


def proved(data: bytes) -> object:
    return InclusionFile.parse(data).check(b"", policy(), now=NOW)


def asked(data: bytes) -> None:
    answer = decide(data, {ORIGIN: Latest()}, logs={ORIGIN: [LOG.verifying]}, keys=[W1], now=NOW)
    assert answer.status == 400
    raise ProofError(answer.body.decode())


def answered(data: bytes, status: int = 200, content_type: str = "text/plain") -> object:
    return read_answer(status, content_type, data, note=SIGNED, old=0, witness_keys=[W1.verifying])


SIGNED: Final = note(300)
HEAD: Final = b"c2sp.org/tlog-proof@v1\nindex 1\n"
# The input, and what reads it.
HOSTILE: Final[dict[str, tuple[Callable[[], Any], Callable[[Any], object]]]] = {
    "a note of 100 MB": (lambda: bytes(100 * MIB), opened),
    "a note of newlines": (lambda: b"\n" * NOTE_BYTES_MAX, opened),
    "a note of blank lines": (lambda: b"a\n\n" * (NOTE_BYTES_MAX // 3), opened),
    "a note of one line": (lambda: b"a" * (NOTE_BYTES_MAX - 1) + b"\n", opened),
    "a note of signatures": (lambda: b"a\n\n" + STRANGER * (NOTE_BYTES_MAX // 130), opened),
    "a note of a long name": (
        lambda: "a\n\n\u2014 ".encode() + b"n" * (NOTE_BYTES_MAX - 100) + b" AAAAAQI=\n",
        opened,
    ),
    "a note of long base64": (
        lambda: "a\n\n\u2014 n ".encode() + b"A" * (NOTE_BYTES_MAX // 4 * 4 - 100) + b"\n",
        opened,
    ),
    "a checkpoint of many lines": (lambda: b"a\n" * 400_000 + b"\n" + STRANGER, opened),
    "a checkpoint of a long size": (
        lambda: b"a\n" + b"9" * 900_000 + b"\n" + HASH + b"\n" + STRANGER,
        opened,
    ),
    "a proof of 100 MB": (lambda: HEAD + HASH * (100 * MIB // 45), InclusionFile.parse),
    "a proof of newlines": (lambda: HEAD + b"\nx" * 500_000, proved),
    "a proof of lines": (lambda: HEAD + b"x\n" * 500_000, proved),
    "a proof of hashes": (lambda: HEAD + HASH * 2_000 + b"\n" + SIGNED, InclusionFile.parse),
    "a proof of a long index": (
        lambda: HEAD[:-2] + b"1" * 90_000 + b"\n\n" + SIGNED,
        InclusionFile.parse,
    ),
    "a growth of short lines": (
        lambda: b"old 1\n" + b"x\n" * 49_000 + b"\n" + SIGNED,
        ConsistencyFile.parse,
    ),
    "a request of 100 MB": (lambda: bytes(100 * MIB), asked),
    "a request of hashes": (lambda: b"old 1\n" + HASH * 2_000 + b"\n" + SIGNED, asked),
    "an answer of 100 MB": (lambda: bytes(100 * MIB), answered),
    "an answer of newlines": (lambda: b"\n" * ANSWER_BYTES_MAX, answered),
    "an answer of a long size": (
        lambda: b"9" * ANSWER_BYTES_MAX,
        lambda data: answered(data, 409, "text/x.tlog.size"),
    ),
    "an error of a witness": (
        lambda: b"\x1b" * ANSWER_BYTES_MAX,
        lambda data: answered(data, 500),
    ),
    "a policy of 100 MB": (lambda: bytes(100 * MIB), Policy.parse),
    "a policy of one line": (lambda: "group g any " + "a " * 500_000, Policy.parse),
    "retired keys, nested": (lambda: b"[" * (POLICY_BYTES_MAX - 1), parse_retired),
    "a vkey of 100 MB": (lambda: "a" * (100 * MIB), VerifyingKey.from_text),
    "a signing key of 100 MB": (
        lambda: "PRIVATE+KEY+" + "a+" * (50 * MIB),
        SigningKey.from_text,
    ),
    "a tile of 100 MB": (lambda: bytes(100 * MIB), lambda data: decode_tile(data, Tile(0, 0))),
    "a bundle of 100 MB": (lambda: bytes(100 * MIB), lambda data: decode_bundle(data, BUNDLE)),
    "a bundle of nothing": (lambda: b"", lambda data: decode_bundle(data, BUNDLE)),
    "a path of 1 MB": (lambda: "tile/0/" + "x000/" * 200_000 + "000", parse_path),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_input_is_refused_for_few_calls_and_little_memory(name: str) -> None:
    make, read = HOSTILE[name]
    data = make()
    cost = spent(lambda: read(data))
    assert cost.calls <= CALLS_MAX
    assert cost.bytes <= BYTES_MAX


def test_a_policy_of_one_megabyte_of_lines_is_read_line_by_line() -> None:
    lines = b"quorum none\n" + b"#\n" * (POLICY_BYTES_MAX // 2 - 10)
    assert Policy.parse(lines).quorum == "none"
    with pytest.raises(InvalidInputError):
        Policy.parse(b"group g any g\n" + lines)


def test_signatures_are_verified_only_of_known_keys_and_at_most_as_many_as_a_note_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verified = []
    plain = keys.VerifyingKey.verify

    def counted(self: VerifyingKey, message: bytes, signature: bytes) -> None:
        verified.append(self)
        plain(self, message, signature)

    monkeypatch.setattr(keys.VerifyingKey, "verify", counted)
    opened(SIGNED + STRANGER * (SIGNATURES_MAX - 1))
    assert len(verified) == 1
    verified.clear()
    # A right line as often as there is room for it; and one wrong line ends it at once.
    (line,) = parse_note(SIGNED).signatures
    opened(SIGNED + line.encode() * (SIGNATURES_MAX - 1))
    assert len(verified) == SIGNATURES_MAX
    verified.clear()
    wrong = NoteSignature(line.name, line.key_id, bytes(64)).encode()
    with pytest.raises(ProofError):
        opened(SIGNED + wrong * (SIGNATURES_MAX - 1))
    assert len(verified) == 2


def test_a_refused_request_costs_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = []
    body = consistency(100, 300).encode()
    monkeypatch.setattr(SigningKey, "sign", lambda self, message: signed.append(message))
    answer = decide(
        body,
        {ORIGIN: Latest(200, bytes(32))},
        logs={ORIGIN: [LOG.verifying]},
        keys=[W1],
        now=NOW,
    )
    assert answer.status == 409
    assert signed == []
