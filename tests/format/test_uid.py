"""Uids: random, as UUIDs are made, and taken in each spelling of one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import InvalidInputError
from transit.format import uid as uids
from transit.format.names import merge_key, name_key
from transit.format.uid import check_uid, new_uid, uid_key


def test_a_new_uid_is_a_random_uuid_and_no_two_are_alike() -> None:
    made = [new_uid() for _ in range(1000)]
    assert len(set(made)) == 1000
    for uid in made:
        assert UUID(uid).hex == uid
        assert (UUID(uid).version, UUID(uid).variant) == (4, UUID(made[0]).variant)
    # Each bit but the six that are fixed is now one and now the other.
    numbers = [int(uid, 16) for uid in made]
    varying = sum(len({number >> bit & 1 for number in numbers}) == 2 for bit in range(128))
    assert varying == 122


def test_the_bits_are_those_of_the_one_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uids, "urandom", lambda size: bytes(range(size)))
    assert new_uid() == "00010203040546078809" + "0a0b0c0d0e0f"
    monkeypatch.setattr(uids, "urandom", lambda size: b"\xff" * size)
    assert new_uid() == "ffffffffffff4fffbfffffffffffffff"


@given(st.uuids(version=None))
def test_any_uuid_is_taken_in_every_spelling(uuid: UUID) -> None:
    for text in (uuid.hex, str(uuid), str(uuid).upper(), uuid.hex.upper()):
        assert check_uid(text) == uuid.hex


@pytest.mark.parametrize(
    "uid",
    [
        "",
        "0" * 31,
        "0" * 33,
        "g" * 32,
        "0" * 32 + "\n",
        " " + "0" * 32,
        f"{{{'0' * 32}}}",
        "0-" * 16 + "0" * 16,
        "urn:uuid:" + "0" * 32,
        "٣" * 32,
        b"0" * 32,
        7,
        None,
        UUID(int=7),
    ],
    ids=repr,
)
def test_what_is_no_uid_is_refused(uid: Any) -> None:
    with pytest.raises(InvalidInputError, match="a uid is text of 32 hex digits, not"):
        check_uid(uid)


def test_keys_of_uids_lie_apart_from_those_of_names_and_merges() -> None:
    uid = new_uid()
    assert len({uid_key(uid), name_key(uid), merge_key(uid), uid_key(new_uid())}) == 4
