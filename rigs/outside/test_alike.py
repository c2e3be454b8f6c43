"""Two witnesses are sent the same requests, ours and one that is not: they answer alike."""

from __future__ import annotations

import random
import time
from base64 import b64encode
from dataclasses import replace

import pytest

from rigs.outside.conftest import Start
from rigs.outside.foreign import ForeignWitness
from tests.proof.logs import (
    ENTRIES,
    FORK,
    LOG,
    LOG_PQ,
    OTHER_LOG,
    STRANGER,
    W1,
    W2,
    consistency,
    note,
)
from transit.client.witnesses import asker
from transit.proof.files import ConsistencyFile
from transit.proof.keys import VerifyingKey
from transit.proof.notes import parse_note
from transit.proof.paths import LeafHashes
from transit.proof.tree import leaf_hash
from transit.proof.witness import SIZE_TYPE, Latest, decide, read_answer

NAME = LOG.verifying.name
CHANGES = 100
SECOND = LeafHashes(map(leaf_hash, [b"another", *ENTRIES[1:]]))


class Both:
    """Two witnesses of one log; every request goes to both."""

    def __init__(self, foreign: ForeignWitness) -> None:
        self.foreign = foreign
        self.key = VerifyingKey.from_text(foreign.vkey)
        self.evidence: set[str] = set()
        """The texts of the checkpoints that ours would keep."""
        self._ask = asker(foreign.url, 60, None)
        self._latest: dict[str, Latest] = {}

    def ask(self, body: bytes) -> tuple[int, int]:
        """The status of ours, and that of the other; what they say with it is the same."""
        ours = decide(
            body, self._latest, logs={NAME: [LOG.verifying]}, keys=[W1], now=int(time.time())
        )
        if ours.new_state is not None:
            self._latest[NAME] = ours.new_state
        if ours.evidence:
            self.evidence.add(parse_note(ours.evidence).text)
        status, kind, said = self._ask(body)
        if ours.status == status == 409:
            assert (kind, said) == (ours.content_type, ours.body) == (SIZE_TYPE, said)
        if ours.status == status == 200:
            checkpoint = body.partition(b"\n\n")[2]
            for answer, key in (
                ((200, kind, said), self.key),
                ((200, "", ours.body), W1.verifying),
            ):
                read_answer(*answer, note=checkpoint, old=0, witness_keys=[key])
        return ours.status, status


@pytest.fixture
def both(start: Start) -> Both:
    made = Both(start(LOG.verifying.to_text()))
    assert made.ask(consistency(0, 100).encode()) == (200, 200)
    assert made.ask(consistency(100, 300).encode()) == (200, 200)
    return made


def body(old: int, new: int, checkpoint: bytes) -> bytes:
    return consistency(old, new, checkpoint).encode()


def forged(data: bytes) -> bytes:
    """The note with one bit of its last signature changed."""
    parsed = parse_note(data)
    last = parsed.signatures[-1]
    bad = replace(last, data=last.data[:-1] + bytes((last.data[-1] ^ 1,)))
    return replace(parsed, signatures=(*parsed.signatures[:-1], bad)).encode()


def spelled(data: bytes, old: str, new: str) -> bytes:
    found = data.replace(old.encode(), new.encode(), 1)
    assert found != data
    return found


GROWTH = consistency(300, 600)
CHECKPOINT = GROWTH.checkpoint
ZERO = b64encode(bytes(32)).decode() + "\n"
OWN_LINE_300 = note(300)[note(300).rindex(b"\n", 0, -1) + 1 :]
SENT = GROWTH.encode()

TAKEN = {
    "the same again": body(300, 300, note(300)),
    "growth": SENT,
    "signed by a stranger too": body(300, 600, note(600, [STRANGER, LOG])),
    "cosigned by others": body(300, 600, note(600, witnesses=[W1, W2])),
    "signed with two kinds of key": body(300, 600, note(600, [LOG_PQ, LOG])),
}
REFUSED = {
    "from nothing": (409, body(0, 300, note(300))),
    "from before": (409, body(100, 600, CHECKPOINT)),
    "from after": (409, body(301, 600, CHECKPOINT)),
    "a smaller tree": (409, body(100, 200, note(200))),
    "a fork from nothing": (409, consistency(0, 300, tree=SECOND).encode()),
    "another root for the same size": (422, body(300, 300, note(300, tree=FORK))),
    "a fork": (422, consistency(300, 600, tree=FORK).encode()),
    "a fork with the path of the other": (422, body(300, 600, note(600, tree=FORK))),
    "no path": (422, replace(GROWTH, hashes=()).encode()),
    "a hash too few": (422, replace(GROWTH, hashes=GROWTH.hashes[:-1]).encode()),
    "a hash too many": (422, replace(GROWTH, hashes=(*GROWTH.hashes, bytes(32))).encode()),
    "a path to the same size": (422, replace(GROWTH, checkpoint=note(300)).encode()),
    "old is larger": (400, spelled(body(100, 200, note(200)), "old 100", "old 300")),
    "a stranger's signature": (403, body(300, 600, note(600, [STRANGER]))),
    "a signature of another kind": (403, body(300, 600, note(600, [LOG_PQ]))),
    "a forged signature": (403, body(300, 600, forged(CHECKPOINT))),
    "a log that it does not know": (404, body(300, 600, note(600, [OTHER_LOG]))),
    "nothing": (400, b""),
    "no checkpoint": (400, b"old 300\n\n"),
    "no old": (400, SENT.partition(b"\n")[2]),
    "a zero before old": (400, spelled(SENT, "old 300", "old 0300")),
    "a plus before old": (400, spelled(SENT, "old 300", "old +300")),
    "old below zero": (400, spelled(SENT, "old 300", "old -1")),
    "a return": (400, spelled(SENT, "old 300\n", "old 300\r\n")),
    "no newline at the end": (400, SENT[:-1]),
    "a short hash": (400, spelled(SENT, "\n", f"\n{b64encode(bytes(31)).decode()}\n")),
    "64 hashes": (400, spelled(SENT, "\n", "\n" + ZERO * 64)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_request_that_one_cosigns_the_other_cosigns_too(both: Both, name: str) -> None:
    assert both.ask(TAKEN[name]) == (200, 200)


def test_a_request_that_one_refuses_the_other_refuses_for_the_same_reason(both: Both) -> None:
    found = {name: both.ask(request) for name, (_, request) in REFUSED.items()}
    assert found == {name: (status, status) for name, (status, _) in REFUSED.items()}
    kept = [ConsistencyFile.parse(each).checkpoint for each in both.foreign.evidence()]
    assert {parse_note(each).text for each in kept} == both.evidence != set()
    # Nothing of it moved either of them.
    assert both.ask(GROWTH.encode()) == (200, 200)


def test_what_they_tell_apart_is_named_here(both: Both) -> None:
    """A line that is there twice counts once here, and is refused there: we send none."""
    assert both.ask(spelled(SENT, "\n600\n", f"\n{2**63}\n")) == (400, 403)
    assert both.ask(spelled(SENT, "example.com", "example+com")) == (404, 400)
    assert both.ask(body(300, 300, note(300) + OWN_LINE_300)) == (200, 403)


def test_requests_changed_at_random_are_taken_or_refused_alike(both: Both) -> None:
    """Why they are refused is the same, too, but for what was looked at first."""
    rng = random.Random(30)
    originals = [body(300, 300, note(300)), SENT, consistency(300, 600, tree=FORK).encode()]
    first_looks = {400, 403, 404}
    for _ in range(CHANGES):
        data = bytearray(rng.choice(originals))
        place = rng.randrange(len(data))
        kind = rng.randrange(3)
        byte = rng.choice([*b"\r\n =+0A\xff", data[place] ^ 1 << rng.randrange(8)])
        data[place : place + (kind < 2)] = bytes((byte,))[: kind != 0]
        ours, other = both.ask(bytes(data))
        assert ours == other or {ours, other} <= first_looks, bytes(data)
