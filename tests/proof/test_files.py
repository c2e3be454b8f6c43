"""Files of proofs: written and read in one spelling, and what is checked of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import InvalidInputError, ProofError
from transit.proof.files import (
    EXTRA_BYTES_MAX,
    ConsistencyFile,
    InclusionFile,
    check_pair,
)
from transit.proof.notes import NOTE_BYTES_MAX

from .logs import (
    ENTRIES,
    LOG,
    LOG_PQ,
    NOW,
    OTHER_LOG,
    W1,
    W_PQ,
    consistency,
    inclusion,
    note,
    policy,
)

PROOF = inclusion(40, 50)
GROWTH = consistency(40, 50)
HASH = "A" * 43 + "="


def test_a_proof_file_is_as_the_standard_writes_it() -> None:
    lines = PROOF.encode().split(b"\n")
    assert lines[:2] == [b"c2sp.org/tlog-proof@v1", b"index 40"]
    at = lines.index(b"")
    assert len(lines[2:at]) == len(PROOF.hashes) == 6
    assert PROOF.encode().endswith(b"\n\n" + PROOF.checkpoint)
    assert InclusionFile.parse(PROOF.encode()) == PROOF
    extra = replace(PROOF, extra=b"age-v1.2.1")
    assert extra.encode().split(b"\n")[1] == b"extra YWdlLXYxLjIuMQ=="
    assert InclusionFile.parse(extra.encode()) == extra
    # No extra data and empty extra data are two things.
    empty = replace(PROOF, extra=b"")
    assert InclusionFile.parse(empty.encode()) == empty != PROOF


def test_the_body_of_add_checkpoint_is_as_the_standard_writes_it() -> None:
    data = GROWTH.encode()
    assert data.startswith(b"old 40\n")
    assert data.endswith(b"\n\n" + GROWTH.checkpoint)
    assert ConsistencyFile.parse(data) == GROWTH
    first = consistency(0, 50)
    assert first.encode() == b"old 0\n\n" + first.checkpoint


@pytest.mark.parametrize("size", [1, 2, 256, 257, 700])
def test_every_entry_and_every_growth_of_a_log_is_proved(size: int) -> None:
    data = note(size, witnesses=[W1, W_PQ])
    by = policy(W1, W_PQ)
    for index in {0, size // 2, size - 1}:
        file = InclusionFile.parse(inclusion(index, size, data).encode())
        verdict = file.check(ENTRIES[index], by, now=NOW)
        assert (verdict.checkpoint.size, set(verdict.witnesses)) == (size, {"w1", "w2"})
        with pytest.raises(ProofError, match="the path leads to another root"):
            file.check(ENTRIES[index] + b"!", by, now=NOW)
    for old in {0, 1, size - 1, size} - {0} | {1}:
        older = note(old, witnesses=[W1, W_PQ]) if old else note(0, witnesses=[W1, W_PQ])
        file_ = ConsistencyFile.parse(consistency(old, size, data).encode())
        assert file_.check(older, by, now=NOW).checkpoint.size == size


def test_a_proof_needs_the_quorum_on_all_its_checkpoints() -> None:
    bare, full = note(50), note(50, witnesses=[W1])
    by = policy(W1)
    inclusion(40, 50, full).check(ENTRIES[40], by, now=NOW)
    calls = [
        lambda: inclusion(40, 50, bare).check(ENTRIES[40], by, now=NOW),
        lambda: consistency(40, 50, full).check(note(40), by, now=NOW),
        lambda: consistency(40, 50, bare).check(note(40, witnesses=[W1]), by, now=NOW),
        lambda: check_pair(full, bare, by, now=NOW),
    ]
    for call in calls:
        with pytest.raises(ProofError, match="cosigned by nobody"):
            call()


def test_a_growth_begins_at_the_older_checkpoint_of_the_same_log() -> None:
    with pytest.raises(ProofError) as refused:
        GROWTH.check(note(41), policy(), now=NOW)
    assert str(refused.value) == ("consistency: it begins at size 40, the older checkpoint has 41")
    two = policy(logs=[LOG, OTHER_LOG])
    with pytest.raises(ProofError, match="consistency: two logs"):
        GROWTH.check(note(40, [OTHER_LOG]), two, now=NOW)
    with pytest.raises(ProofError, match="pair: two logs"):
        check_pair(note(40), note(40, [OTHER_LOG]), two, now=NOW)
    with pytest.raises(ProofError, match="origin"):
        GROWTH.check(note(40), two, now=NOW, origin="example.com/other")


def test_two_checkpoints_of_two_sizes_are_no_split_view_and_no_proof() -> None:
    first, second = check_pair(note(40), note(50, [LOG, LOG_PQ]), policy(), now=NOW)
    assert (first.checkpoint.size, second.checkpoint.size) == (40, 50)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("", "expected c2sp.org/tlog-proof@v1, found ''"),
        ("c2sp.org/tlog-proof@v2\nindex 1", "expected c2sp.org/tlog-proof@v1, found"),
        ("c2sp.org/tlog-proof@v1", "expected index and a number, found ''"),
        ("c2sp.org/tlog-proof@v1\nindex", "expected index and a number, found 'index'"),
        ("c2sp.org/tlog-proof@v1\nINDEX 1", "expected index and a number"),
        ("c2sp.org/tlog-proof@v1\nindex  1", "index: expected a decimal number"),
        ("c2sp.org/tlog-proof@v1\nindex 01", "index: expected a decimal number"),
        ("c2sp.org/tlog-proof@v1\nindex -1", "index: expected a decimal number"),
        ("c2sp.org/tlog-proof@v1\nindex 1\r", "index: expected a decimal number"),
        ("c2sp.org/tlog-proof@v1\nindex 1 ", "index: expected a decimal number"),
        ("c2sp.org/tlog-proof@v1\nextra AA", "extra is no base64"),
        ("c2sp.org/tlog-proof@v1\nextra AB==\nindex 1", "extra is no base64"),
        ("c2sp.org/tlog-proof@v1\nextra AA==\nextra AA==", "expected index and a number"),
        ("c2sp.org/tlog-proof@v1\nindex 1\nextra AA==", "hash 0: expected base64"),
        (f"c2sp.org/tlog-proof@v1\nindex 1\n{HASH[:-1]}", "hash 0: expected base64"),
        (f"c2sp.org/tlog-proof@v1\nindex 1\n{HASH}\n{HASH}\r", "hash 1: expected base64"),
        (f"c2sp.org/tlog-proof@v1\nindex 1\n{HASH} ", "hash 0: expected base64"),
        ("c2sp.org/tlog-proof@v1\nindex \u0661", "not ASCII before the checkpoint"),
    ],
)
def test_what_is_no_proof_file_is_refused_and_the_error_says_why(head: str, says: str) -> None:
    with pytest.raises(ProofError) as refused:
        InclusionFile.parse(f"{head}\n\n".encode() + PROOF.checkpoint)
    assert str(refused.value).startswith(f"proof: {says}")


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("", "expected old and a number, found ''"),
        ("old", "expected old and a number, found 'old'"),
        ("old 05", "old: expected a decimal number"),
        ("old +5", "old: expected a decimal number"),
        (f"old 5\n{HASH}\n{HASH[1:]}", "hash 1: expected base64"),
        ("index 5", "expected old and a number"),
        ("old 5\n" + f"{HASH}\n" * 63 + HASH, "more than 63 hashes"),
    ],
)
def test_what_is_no_consistency_file_is_refused_and_the_error_says_why(
    head: str, says: str
) -> None:
    with pytest.raises(ProofError) as refused:
        ConsistencyFile.parse(f"{head}\n\n".encode() + GROWTH.checkpoint)
    assert str(refused.value).startswith(f"consistency: {says}")


def test_63_hashes_and_much_extra_data_are_read() -> None:
    most = InclusionFile((1 << 63) - 1, (bytes(32),) * 63, PROOF.checkpoint, bytes(EXTRA_BYTES_MAX))
    assert InclusionFile.parse(most.encode()) == most
    for kind in (
        replace(most, extra=None),
        ConsistencyFile(most.index, most.hashes, most.checkpoint),
    ):
        assert type(kind).parse(kind.encode()) == kind


@pytest.mark.parametrize(
    "file",
    [
        replace(PROOF, index=-1), replace(PROOF, index=1 << 63), replace(PROOF, hashes=(b"",)),
        replace(PROOF, hashes=(bytes(32),) * 64), replace(PROOF, extra=bytes(EXTRA_BYTES_MAX + 1)),
        replace(PROOF, checkpoint=bytes(NOTE_BYTES_MAX + 1)), replace(GROWTH, old=-1),
    ],
)  # fmt: skip
def test_what_would_not_be_read_as_this_proof_is_not_written(
    file: InclusionFile | ConsistencyFile,
) -> None:
    with pytest.raises(InvalidInputError):
        file.encode()


@given(st.data())
def test_a_file_with_any_bit_changed_or_cut_off_proves_nothing(data: st.DataObject) -> None:
    whole = PROOF.encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes((whole[at] ^ 1 << data.draw(st.integers(0, 7)),)) + whole[at + 1 :]
    with pytest.raises(ProofError):
        InclusionFile.parse(changed).check(ENTRIES[40], policy(), now=NOW)
    with pytest.raises(ProofError):
        InclusionFile.parse(whole[:at]).check(ENTRIES[40], policy(), now=NOW)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_an_error_of_ours(data: bytes) -> None:
    for kind in (InclusionFile, ConsistencyFile):
        with pytest.raises(ProofError):
            kind.parse(data)
