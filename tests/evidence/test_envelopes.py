"""Envelopes: what a proof means, as a document that its proofs bear out word for word."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.evidence.envelope import NON_CLAIMS, Envelope, decode_envelope
from transit.proof.witness import Latest, decide


class Store:
    """A store with a fork that was chosen from, and a checkpoint that a witness cosigned."""

    def __init__(self, path: Path) -> None:
        self.log = log = transit.open(path)
        self.key = transit.SigningKey.generate(f"example.com/runs/{log.store_id}")
        self.witness = transit.SigningKey.generate("witness.example", role="witness")
        genesis = log.create("genesis")
        genesis.append_many([b"%d" % n for n in range(5)])
        self.left, self.right = genesis.branch("left", at=2), genesis.branch("right", at=3)
        self.left.append(b"a block")
        self.right.append(b"another block")
        self.chosen = log.merge(
            "chosen", [self.left, self.right], policy="select", params={"selected": "right"}
        )
        self.mixed = log.merge("mixed", [self.left, self.right], policy="append")
        log.create("empty")
        self.policy = transit.make_policy(
            text=f"log {self.key.verifying.to_text()}\n"
            f"witness w {self.witness.verifying.to_text()}\nquorum w\n"
        )
        self.latest: dict[str, Latest] = {}
        self.checkpoint = self.sign()

    def sign(self) -> transit.SignedCheckpoint:
        asked = transit.Witness(self._ask, self.witness.verifying)
        return self.log.checkpoint(self.key, witnesses=[asked], policy=self.policy)

    def _ask(self, body: bytes) -> tuple[int, str, bytes]:
        name = self.key.verifying.name
        answer = decide(
            body, self.latest, logs={name: [self.key.verifying]}, keys=[self.witness],
            now=int(time.time()),
        )  # fmt: skip
        if answer.new_state is not None:
            self.latest[name] = answer.new_state
        return answer.status, answer.content_type, answer.body

    def check(self, envelope: Any) -> transit.CheckedEnvelope:
        return transit.check_envelope(envelope, policy=self.policy)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    made = Store(tmp_path_factory.mktemp("envelopes") / "store")
    yield made
    made.log.close()


def test_a_finality_says_where_a_stream_ended(store: Store, tmp_path: Path) -> None:
    made = store.log.prove_finality("left", application_block="block 17")
    made.save(str(tmp_path / "x"))
    for given in (made, str(tmp_path / "x")):
        checked = store.check(given)
        assert checked.envelope == made.envelope
        assert checked.proof.shown.end
        assert list(checked.verdict.witnesses) == ["w"]
    head = store.checkpoint.checkpoint
    assert json.loads((tmp_path / "x" / "envelope.json").read_bytes()) == {
        "proof_kind": "transit.finality.v1",
        "origin": head.origin,
        "checkpoint_size": head.size,
        "manifest_root": head.root.hex(),
        "checkpoint_ref": f"checkpoints/{head.size:020}",
        "checkpoint_kind": "finality",
        "stream_id": store.left.uid,
        "stream": "left",
        "head_offset": 3,
        "parent_heads": [
            {
                "stream_id": store.log.stream("genesis").uid,
                "offset": 2,
                "role": "parent-block",
            }
        ],
        "selection_artifacts": [],
        "application_block": "block 17",
        "non_claims": list(NON_CLAIMS),
    }


@pytest.mark.parametrize(
    ("name", "head", "roles"),
    [
        ("genesis", 4, []),
        ("empty", -1, []),
        ("mixed", 5, ["parent-block"] * 2),
        ("chosen", 4, ["superseded", "selected"]),
    ],
)
def test_only_what_descends_from_something_has_parent_heads(
    store: Store, name: str, head: int, roles: list[str]
) -> None:
    envelope = store.check(store.log.prove_finality(name)).envelope
    assert envelope.head_offset == head
    assert [each.role for each in envelope.parent_heads] == roles


def test_a_fork_choice_says_which_head_was_chosen(store: Store) -> None:
    made = store.log.prove_fork_choice("chosen", checkpoint_kind="reorg-selection")
    envelope = store.check(made).envelope
    heads = [(each.stream_id, each.offset, each.role) for each in envelope.parent_heads]
    assert heads == [(store.left.uid, 3, "superseded"), (store.right.uid, 4, "selected")]
    (artifact,) = envelope.selection_artifacts
    assert (artifact.stream_id, artifact.offset, artifact.policy) == (
        "$lineage", store.chosen.id, "select",
    )  # fmt: skip
    assert envelope.checkpoint_kind == "reorg-selection"


def test_a_finality_needs_a_witness(store: Store) -> None:
    made = store.log.prove_finality("left")
    with pytest.raises(transit.ProofError, match="a witness cosigned"):
        transit.check_envelope(made, store.key.verifying)
    # A choice is the log's own.
    transit.check_envelope(store.log.prove_fork_choice("chosen"), store.key.verifying)


def test_a_head_that_went_on_after_the_choice_is_told(path: Path) -> None:
    with transit.open(path) as log:
        key = transit.SigningKey.generate(f"x/{log.store_id}")
        one, other = log.create("one"), log.create("other")
        one.append(b"1")
        other.append(b"2")
        log.merge("chosen", [one, other], policy="select", params={"selected": "one"})
        before = log.checkpoint(key)
        other.append(b"more")
        log.checkpoint(key)
        with pytest.raises(transit.InvalidInputError, match="it went on after the choice"):
            log.prove_fork_choice("chosen")
        transit.check_envelope(log.prove_fork_choice("chosen", checkpoint=before), key.verifying)


def test_what_cannot_be_said_is_refused(store: Store) -> None:
    with pytest.raises(transit.InvalidInputError, match='merge by policy "select"'):
        store.log.prove_fork_choice("mixed")
    with pytest.raises(transit.InvalidInputError, match="must be finality or published-result"):
        store.log.prove_finality("left", checkpoint_kind="fork-choice")
    with pytest.raises(transit.InvalidInputError, match="application_block"):
        store.log.prove_finality("left", application_block="\x1b[2J")


CHANGES: dict[str, Any] = {
    "proof_kind": "transit.finality.v1",
    "origin": "example.com/other",
    "checkpoint_size": 99,
    "manifest_root": "0" * 64,
    "checkpoint_ref": "checkpoints/00000000000000000099",
    "checkpoint_kind": "reorg-selection",
    "stream_id": "0" * 32,
    "stream": "left",
    "head_offset": 3,
    "parent_heads": [],
    "selection_artifacts": [],
    "non_claims": [],
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_document_that_its_proofs_do_not_bear_out_is_refused(store: Store, field: str) -> None:
    made = dict(store.log.prove_fork_choice("chosen"))
    said = json.loads(made["envelope.json"])
    said[field] = CHANGES[field]
    made["envelope.json"] = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    if field == "checkpoint_kind":
        # Which of its kinds a choice is, only its maker says.
        assert store.check(made).envelope.checkpoint_kind == "reorg-selection"
        return
    with pytest.raises(transit.ProofError):
        store.check(made)


def test_roles_cannot_be_exchanged(store: Store) -> None:
    made = dict(store.log.prove_fork_choice("chosen"))
    said = json.loads(made["envelope.json"])
    one, other = said["parent_heads"]
    one["role"], other["role"] = other["role"], one["role"]
    made["envelope.json"] = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(transit.ProofError, match="parent_heads is not what its proofs bear out"):
        store.check(made)


def test_proofs_of_other_streams_do_not_bear_it_out(store: Store) -> None:
    made = dict(store.log.prove_fork_choice("chosen"))
    other = store.log.prove("genesis", end=True)
    for part in ("proof", "heads/0", "heads/1"):
        some = {name: data for name, data in made.items() if not name.startswith(f"{part}/")}
        with pytest.raises(transit.ProofError):
            store.check(some)
        some |= {f"{part}/{name}": data for name, data in other.items()}
        with pytest.raises(transit.ProofError):
            store.check(some)


def test_proofs_of_two_checkpoints_do_not_make_one_envelope(store: Store) -> None:
    made = dict(store.log.prove_fork_choice("chosen", checkpoint=store.checkpoint))
    store.log.create("later").append(b"x")
    newer = store.log.prove(store.left, end=True, checkpoint=store.sign())
    made = {name: data for name, data in made.items() if not name.startswith("heads/0/")}
    made |= {f"heads/0/{name}": data for name, data in newer.items()}
    with pytest.raises(transit.ProofError, match="different checkpoints"):
        store.check(made)


BAD: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "white space": lambda data: data + b"\n",
    "another field": lambda data: data[:-1] + b',"x":1}',
    "a field twice": lambda data: data[:-1] + b',"stream":"x"}',
    "another kind": lambda data: data.replace(b"transit.finality.v1", b"transit.finality.v2"),
    "a kind of the other": lambda data: data.replace(b'"finality"', b'"fork-choice"'),
    "not UTF-8": lambda data: data.replace(b"left", b"\xff"),
    "much": lambda data: data + bytes(2 * 1024 * 1024),
    "deep": lambda data: b"[" * 100_000,
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_document_is_refused(store: Store, what: str) -> None:
    data = store.log.prove_finality("left")["envelope.json"]
    assert isinstance(decode_envelope(data), Envelope)
    with pytest.raises(transit.ProofError):
        decode_envelope(BAD[what](data))


def test_a_folder_that_is_not_there_or_has_no_document_is_told(
    store: Store, tmp_path: Path
) -> None:
    with pytest.raises(transit.NotFoundError):
        store.check(str(tmp_path / "x"))
    with pytest.raises(transit.ProofError, match="no such file"):
        store.check(str(tmp_path))
    made = store.log.prove_finality("left")
    (tmp_path / "y").write_bytes(b"")
    with pytest.raises(transit.AlreadyExistsError):
        made.save(str(tmp_path))
