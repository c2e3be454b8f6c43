"""What is tried with any bytes by the decoders of `transit.proof` (see `rigs.fuzz.formats`).

Nothing that was changed may be believed: where a check holds, it is what the seeds say.
"""

from __future__ import annotations

from typing import Final

from transit import ProofError
from transit.proof.checkpoint import Checkpoint, add_signatures, cosign, sign
from transit.proof.files import ConsistencyFile, InclusionFile
from transit.proof.keys import SigningKey, VerifyingKey
from transit.proof.notes import parse_note
from transit.proof.paths import LeafHashes, consistency_path, inclusion_path
from transit.proof.policy import Policy
from transit.proof.primitives import ed25519
from transit.proof.spellings import base64_of
from transit.proof.tiles import ENTRIES, Tile, decode_bundle, encode_bundle
from transit.proof.tree import leaf_hash
from transit.proof.witness import Latest, decide, read_answer

NOW: Final = 1_800_000_000
ORIGIN: Final = "example.com/runs"
LOGGED: Final = [b"entry %d" % number for number in range(13)]
LEAVES: Final = LeafHashes(map(leaf_hash, LOGGED))
BUNDLE: Final = Tile(ENTRIES, 0, 3)


def _key(name: str, number: int) -> SigningKey:
    """The key of one seed: signatures of Ed25519 are the same each time."""
    seed = bytes((number,)) * 32
    key_id = VerifyingKey(name, number, ed25519(seed)[0]).key_id.hex()
    return SigningKey.from_text(f"PRIVATE+KEY+{name}+{key_id}+{base64_of(bytes((number,)) + seed)}")


LOG: Final = _key(ORIGIN, 1)
WITNESS: Final = _key("w.example", 4)
POLICY: Final = Policy.of([LOG.verifying], [WITNESS.verifying], 1)


def _checkpoint(size: int) -> bytes:
    head = Checkpoint(ORIGIN, size, LEAVES.root(size))
    return add_signatures(sign(head, [LOG]), [cosign(head, WITNESS, NOW)]).encode()


SIZES: Final = {size: _checkpoint(size) for size in (1, 7, 8, 13)}
OLDER: Final = SIZES[7]


def note(data: bytes) -> None:
    """A note, written again; what a checkpoint of it says is in its text."""
    parsed = parse_note(data)
    assert parsed.encode() == data
    head = Checkpoint.parse(parsed.text)
    assert head.text() == parsed.text
    verdict = POLICY.check(data, now=NOW)
    assert verdict.checkpoint.root == LEAVES.root(verdict.checkpoint.size)


def inclusion_file(data: bytes) -> None:
    """A proof, written again; where it holds of an entry, the log has that entry there."""
    file = InclusionFile.parse(data)
    assert file.encode() == data
    entry = LOGGED[min(file.index, 12)]
    file.check(entry, POLICY, now=NOW)
    assert file.index < 13


def consistency_file(data: bytes) -> None:
    """A growth, written again; where it holds, it begins at the checkpoint of seven."""
    file = ConsistencyFile.parse(data)
    assert file.encode() == data
    verdict = file.check(OLDER, POLICY, now=NOW)
    assert (file.old, verdict.checkpoint.size) in {(7, 7), (7, 8), (7, 13)}


def witness_request(data: bytes) -> None:
    """A request to a witness that knows a tree of seven."""
    latest = {ORIGIN: Latest(7, LEAVES.root(7))}
    answer = decide(data, latest, logs={ORIGIN: [LOG.verifying]}, keys=[WITNESS], now=NOW)
    assert answer.status in {200, 400, 403, 404, 409, 422}
    assert (answer.status == 200) == (answer.new_state is not None)
    if answer.new_state is None:
        raise ProofError("not cosigned")
    assert answer.new_state.size in SIZES
    assert answer.new_state.root == LEAVES.root(answer.new_state.size)


def witness_answer(data: bytes) -> None:
    """An answer of a witness, to its lines and to its size."""
    keys = [WITNESS.verifying]
    try:
        said = read_answer(409, "text/x.tlog.size", data, note=OLDER, old=1, witness_keys=keys)
    except ProofError:
        said = read_answer(200, "text/plain", data, note=OLDER, old=1, witness_keys=keys, now=NOW)
        assert said.signatures
    assert said.behind is None or 0 <= said.behind <= 7


def policy(data: bytes) -> None:
    """A policy; what it says of a checkpoint is a verdict."""
    found = Policy.parse(data)
    assert found.quorum
    found.check(OLDER, now=NOW)


def vkey(data: bytes) -> None:
    """A vkey, written again."""
    text = data.decode("utf-8", "replace")
    assert VerifyingKey.from_text(text).to_text() == text


def bundle(data: bytes) -> None:
    """A bundle of three entries, written again."""
    assert encode_bundle(decode_bundle(data, BUNDLE)) == data


def proof_seeds() -> dict[str, list[bytes]]:
    """Seeds for each of these."""
    inclusions = [
        InclusionFile(index, tuple(inclusion_path(index, size, LEAVES.hash_at)), SIZES[size], extra)
        for index, size, extra in ((0, 1, None), (6, 7, b"beside"), (3, 13, None), (12, 13, b""))
    ]
    growths = [
        ConsistencyFile(old, tuple(consistency_path(old, new, LEAVES.hash_at)), SIZES[new])
        for old, new in ((7, 8), (7, 13), (7, 7), (0, 1))
    ]
    keys = LOG.verifying.to_text(), WITNESS.verifying.to_text()
    head = Checkpoint(ORIGIN, 7, LEAVES.root(7))
    return {
        "note": list(SIZES.values()),
        "inclusion_file": [each.encode() for each in inclusions],
        "consistency_file": [each.encode() for each in growths],
        "witness_request": [each.encode() for each in growths],
        "witness_answer": [cosign(head, WITNESS, NOW).encode() * 2, b"3\n", b"7\n"],
        "policy": [
            f"log {keys[0]} https://log.example\nquorum none\n".encode(),
            f"# all\nlog {keys[0]}\nwitness w\t{keys[1]}\ngroup g 1 w\nquorum g\n".encode(),
        ],
        "vkey": [each.encode() for each in keys],
        "bundle": [encode_bundle([b"", b"a", b"entry" * 20])],
    }
