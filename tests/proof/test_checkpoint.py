"""Checkpoints and cosignatures: who signed, what is signed, and which keys may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import InvalidInputError, ProofError
from transit.proof.checkpoint import (
    Checkpoint,
    Signed,
    add_cosignature,
    add_signatures,
    cosign,
    open_checkpoint,
    sign,
)
from transit.proof.cosignature import (
    check_signature,
    cosignature_message,
    sign_head,
    signed_message,
    subtree_message,
)
from transit.proof.keys import SigningKey
from transit.proof.notes import NOTE_BYTES_MAX, parse_note
from transit.proof.paths import EMPTY_ROOT

from .logs import LOG, LOG_PQ, NOW, ORIGIN, OTHER_LOG, STRANGER, W1, W2, W_PQ, head, key, note

HEAD = head(5)


def test_what_is_signed_is_what_the_standard_says() -> None:
    text = HEAD.text()
    assert text.split("\n") == [ORIGIN, "5", text.split("\n")[2], ""]
    assert (
        cosignature_message(text, 1679315147)
        == b"cosignature/v1\ntime 1679315147\n" + text.encode()
    )
    name, origin = b"pq.example/witness", ORIGIN.encode()
    assert subtree_message("pq.example/witness", HEAD, NOW) == (
        b"subtree/v1\n\x00" + bytes((len(name),)) + name + NOW.to_bytes(8, "big")
        + bytes((len(origin),)) + origin + bytes(8) + (5).to_bytes(8, "big") + HEAD.root
    )  # fmt: skip
    assert signed_message(LOG.verifying, HEAD, 0) == text.encode()
    assert signed_message(W1.verifying, HEAD, 7) == cosignature_message(text, 7)
    assert signed_message(W_PQ.verifying, HEAD, 7) == subtree_message(W_PQ.verifying.name, HEAD, 7)


def test_a_line_holds_the_time_before_the_signature() -> None:
    assert len(sign_head(LOG, HEAD, 0).data) == 64
    for signer, size in ((W1, 72), (W_PQ, 2428)):
        data = cosign(HEAD, signer, NOW).data
        assert (len(data), int.from_bytes(data[:8], "big")) == (size, NOW)
        assert check_signature(signer.verifying, HEAD, data) == NOW
        for wrong in (data[:-1], data + b"\0", b""):
            with pytest.raises(ProofError, match=f"expected {size} bytes, found {len(wrong)}"):
                check_signature(signer.verifying, HEAD, wrong)
        with pytest.raises(ProofError, match="it does not verify"):
            check_signature(signer.verifying, HEAD, (NOW + 1).to_bytes(8, "big") + data[8:])


def test_a_checkpoint_names_all_who_signed_it() -> None:
    made = sign(HEAD, [LOG, LOG_PQ])
    made = add_cosignature(made, W1, NOW)
    made = add_cosignature(made, W_PQ, NOW + 1)
    data = add_cosignature(made, W2, NOW).encode()
    found = open_checkpoint(
        data,
        [LOG.verifying, LOG_PQ.verifying],
        witness_keys=[W_PQ.verifying, W1.verifying],
        origin=ORIGIN,
        now=NOW,
    )
    assert (found.checkpoint, found.note) == (HEAD, data)
    assert found.logs == (Signed(LOG.verifying, 0), Signed(LOG_PQ.verifying, 0))
    assert found.witnesses == (Signed(W1.verifying, NOW), Signed(W_PQ.verifying, NOW + 1))
    # Who is not known is ignored, who is not asked for too.
    assert open_checkpoint(data, [LOG.verifying]).witnesses == ()


def test_a_log_that_signs_with_ml_dsa_44_alone_is_believed_and_may_state_a_time() -> None:
    for at_s in (0, NOW):
        found = open_checkpoint(sign(HEAD, [LOG_PQ], at_s=at_s).encode(), [LOG_PQ.verifying])
        assert found.logs == (Signed(LOG_PQ.verifying, at_s),)


def test_a_newer_cosignature_takes_the_place_of_an_older_one() -> None:
    first = add_cosignature(add_cosignature(sign(HEAD, [LOG]), W1, NOW), W2, NOW)
    second = add_cosignature(first, W1, NOW + 5)
    assert [each.name for each in second.signatures] == [
        ORIGIN, W2.verifying.name, W1.verifying.name,
    ]  # fmt: skip
    found = open_checkpoint(
        second.encode(), [LOG.verifying], witness_keys=[W1.verifying, W2.verifying]
    )
    assert {each.key.name: each.at_s for each in found.witnesses} == {
        W1.verifying.name: NOW + 5, W2.verifying.name: NOW,
    }  # fmt: skip
    assert add_signatures(second, second.signatures[1:]) == second


def test_the_latest_of_two_times_of_one_witness_counts_and_both_are_verified() -> None:
    lines = b"".join(cosign(HEAD, W1, at_s).encode() for at_s in (NOW + 5, NOW))
    data = sign(HEAD, [LOG]).encode() + lines
    found = open_checkpoint(data, [LOG.verifying], witness_keys=[W1.verifying])
    assert found.witnesses == (Signed(W1.verifying, NOW + 5),)
    with pytest.raises(ProofError, match="in the future"):
        open_checkpoint(data, [LOG.verifying], witness_keys=[W1.verifying], now=NOW, skew_s=4.5)


def test_the_empty_log_has_a_checkpoint() -> None:
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert open_checkpoint(sign(empty, [LOG]).encode(), [LOG.verifying]).checkpoint == empty
    with pytest.raises(InvalidInputError, match="size 0 has the root of no leaves"):
        sign(Checkpoint(ORIGIN, 0, bytes(32)), [LOG])


def test_the_first_and_the_last_second_can_be_stated() -> None:
    for at_s in (1, (1 << 63) - 1):
        for signer in (W1, W_PQ):
            assert check_signature(signer.verifying, HEAD, cosign(HEAD, signer, at_s).data) == at_s


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sign(HEAD, []), "signed by at least one key"),
        (lambda: sign(HEAD, [OTHER_LOG]), "has another name than the origin"),
        (lambda: sign(HEAD, [key(ORIGIN, 4)]), "is the key of a witness"),
        (lambda: add_cosignature(sign(HEAD, [LOG]), LOG, NOW), "is not the key of a witness"),
        (lambda: cosign(HEAD, W1, 0), "a time from 1 on, not 0"),
        (lambda: cosign(HEAD, W1, 1 << 63), "cannot state the time"),
        (lambda: sign(HEAD, [LOG_PQ], at_s=-1), "cannot state the time -1"),
        (lambda: sign_head(LOG, HEAD, NOW), "cannot state the time"),
        (lambda: open_checkpoint(note(5), [W1.verifying]), "it cannot be a log's"),
        (
            lambda: open_checkpoint(note(5), [LOG.verifying], witness_keys=[STRANGER.verifying]),
            "it cannot be a witness's",
        ),
        (
            lambda: open_checkpoint(note(5), [LOG_PQ.verifying], witness_keys=[LOG_PQ.verifying]),
            "a log cannot be its own witness",
        ),
    ],
)
def test_a_key_has_the_part_that_its_type_and_name_say(call: object, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        call()  # type: ignore[operator]


@pytest.mark.parametrize(
    "made",
    [
        Checkpoint("", 1, bytes(32)), Checkpoint("a\nb", 1, bytes(32)),
        Checkpoint("a", -1, bytes(32)), Checkpoint("a", 1 << 63, bytes(32)),
        Checkpoint("a", 1, bytes(31)),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_has_no_text(made: Checkpoint) -> None:
    with pytest.raises(InvalidInputError, match=r"^no (checkpoint|origin)"):
        made.text()


def test_a_name_that_ml_dsa_44_has_no_room_for_is_told() -> None:
    long = Checkpoint("x" * 256, 1, bytes(32))
    with pytest.raises(ProofError, match="no room for a name of 256 bytes"):
        cosign(long, W_PQ, NOW)
    # Ed25519 has room for any.
    assert cosign(long, W1, NOW).name == W1.verifying.name


def test_a_signer_that_is_elsewhere_and_signs_wrongly_makes_no_checkpoint() -> None:
    broken = SigningKey.from_callable(ORIGIN, LOG.verifying.public, lambda message: bytes(64))
    with pytest.raises(ProofError, match="it does not verify"):
        sign(HEAD, [broken])


origins = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1).filter(
    lambda origin: not origin.startswith("\ufeff")
)


@given(origins, st.integers(1, (1 << 63) - 1), st.binary(min_size=32, max_size=32))
def test_every_checkpoint_is_read_as_it_was_written(origin: str, size: int, root: bytes) -> None:
    made = Checkpoint(origin, size, root)
    assert Checkpoint.parse(made.text()) == made


@given(st.data())
def test_no_changed_bit_of_a_checkpoint_is_believed(data: st.DataObject) -> None:
    """Only the line of a witness that nobody asked for may change."""
    whole = note(5, [LOG, LOG_PQ], [W1])
    end = len(whole) - len(parse_note(whole).signatures[-1].encode())
    at, bit = data.draw(st.integers(0, end - 1)), data.draw(st.integers(0, 7))
    changed = whole[:at] + bytes((whole[at] ^ 1 << bit,)) + whole[at + 1 :]
    try:
        found = open_checkpoint(changed, [LOG.verifying, LOG_PQ.verifying])
    except ProofError:
        return
    # Name or id of one line became a stranger's: the text and the other line hold.
    assert found.checkpoint == HEAD
    assert len(found.logs) == 1


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(ProofError):
        open_checkpoint(data, [LOG.verifying])
    assert len(data) < NOTE_BYTES_MAX
