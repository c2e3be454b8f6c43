"""Metadata and plans at the limits of what a lineage record may hold."""

from __future__ import annotations

from typing import Any

import pytest

from transit.errors import CorruptError, InvalidInputError
from transit.format.lineage import (
    METADATA_BYTES_MAX,
    Branch,
    LineageRecord,
    Merge,
    Root,
    Scalar,
    check_metadata,
    decode_lineage,
    encode_lineage,
    kind_of,
    triples,
)

UID = "0123456789abcdef" * 2


def test_metadata_that_is_no_unicode_text_is_refused() -> None:
    for metadata in ({"k": "\ud800"}, {"\udfff": 1}):
        with pytest.raises(InvalidInputError, match="here: metadata is not Unicode text"):
            check_metadata(metadata, "here")


def test_metadata_takes_so_many_bytes_at_most_as_it_is_written() -> None:
    fits = METADATA_BYTES_MAX - len('{"k":""}')
    assert check_metadata({"k": "x" * fits}, "here") == {"k": "x" * fits}
    for value in ("x" * (fits + 1), "é" * (fits // 2 + 1), '"' * (fits // 2 + 1)):
        with pytest.raises(InvalidInputError, match=f"of {METADATA_BYTES_MAX} bytes"):
            check_metadata({"k": value}, "here")


# Whole numbers and plans


TOP = 2**63 - 1


@pytest.mark.parametrize("value", [-(2**63), TOP, 0, True, 1.5, -1.7e308, 5e-324, None, ""])
def test_metadata_at_the_limits_of_its_types_is_taken(value: Scalar) -> None:
    metadata = check_metadata({"k": value}, "here")
    assert metadata == {"k": value}
    record = Root(name="a", uid=UID, metadata=metadata)
    assert decode_lineage(encode_lineage(record), 5) == record


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ([1], "metadata must be a mapping, not list"),
        ({1: 1}, "metadata 1 must be text with a scalar value"),
        ({"k": []}, "metadata 'k' must be text with a scalar value"),
        ({"k": float("nan")}, "metadata 'k' is not a finite number"),
        ({"k": float("-inf")}, "metadata 'k' is not a finite number"),
        ({"k": 2**63}, "metadata 'k' is beyond 64 bits"),
        ({"k": 2**64}, "metadata 'k' is beyond 64 bits"),
        ({"k": -(2**63) - 1}, "metadata 'k' is beyond 64 bits"),
    ],
)
def test_what_is_wrong_with_metadata_is_said(metadata: Any, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_metadata(metadata, "here")
    assert str(caught.value) == f"here: {problem}"


def merge(**changes: Any) -> Merge:
    values: dict[str, Any] = {
        "name": "m",
        "uid": UID,
        "merge_id": "id",
        "parents": ((1, 3), (2, 4)),
        "base": (1, 2),
        "policy": "append",
        "version": 1,
        "params": {},
        "plan": (1, 0, 3),
    }
    return Merge(**{**values, **changes})


def branch(parent: int, fork: int) -> Branch:
    return Branch(name="b", uid=UID, parent=parent, fork=fork)


ID = 50
FITTING: list[LineageRecord] = [
    Root(name="a", uid=UID),
    Root(name="a", uid="0" * 32),
    Root(name="a", uid="f" * 32),
    branch(1, -1),
    branch(ID - 1, TOP - 1),
    merge(parents=((1, -1), (ID - 1, TOP - 1))),
    merge(parents=((3, 0), (2, 0), (1, 0))),
    merge(base=None),
    merge(base=(1, -1)),
    merge(base=(ID - 1, TOP - 1)),
    merge(plan=()),
    merge(plan=(0, 0, 1)),
    merge(plan=(ID - 1, TOP, 1)),
    merge(plan=(1, 0, TOP)),
    merge(plan=(1, 0, TOP - 1, 2, 0, 1)),
    merge(version=-(2**63)),
]


@pytest.mark.parametrize("record", FITTING, ids=repr)
def test_a_record_at_the_limits_comes_back(record: LineageRecord) -> None:
    assert decode_lineage(encode_lineage(record), ID) == record


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (Root(name="a"), "no uid"),
        (Branch(name="b", parent=1, fork=-1), "no uid"),
        (merge(uid=""), "no uid"),
        (branch(0, 0), "a parent out of range"),
        (branch(ID, 0), "a parent out of range"),
        (branch(1, -2), "a parent out of range"),
        (branch(1, TOP), "a parent out of range"),
        (merge(parents=((1, 0),)), "1 parents, 1 of them distinct"),
        (merge(parents=((1, 0), (2, 0), (1, 3))), "3 parents, 2 of them distinct"),
        (merge(parents=((1, 0), (ID, 0))), "a parent out of range"),
        (merge(parents=((ID, 0), (1, 0))), "a parent out of range"),
        (merge(base=(0, 0)), "a base out of range"),
        (merge(base=(ID, 0)), "a base out of range"),
        (merge(base=(1, TOP)), "a base out of range"),
        (merge(plan=(1, 0)), "a plan out of range"),
        (merge(plan=(1, 0, 1, 5)), "a plan out of range"),
        (merge(plan=(-1, 0, 1)), "a plan out of range"),
        (merge(plan=(ID, 0, 1)), "a plan out of range"),
        (merge(plan=(ID + 1, 0, 1)), "a plan out of range"),
        (merge(plan=(1, -1, 1)), "a plan out of range"),
        (merge(plan=(1, 0, 0)), "a plan out of range"),
        (merge(plan=(1, 0, 1, 2, 0, 0)), "a plan out of range"),
        (merge(plan=(1, 0, TOP, 2, 0, 1)), "a plan of too many records"),
        (merge(plan=(1, 0, TOP, 2, 0, 2)), "a plan of too many records"),
    ],
    ids=repr,
)
def test_what_does_not_fit_in_a_record_is_said(record: LineageRecord, problem: str) -> None:
    with pytest.raises(CorruptError) as caught:
        decode_lineage(encode_lineage(record), ID)
    error = caught.value
    assert (error.place, error.expected, error.found) == (
        f"$lineage@{ID}", "a lineage record that fits", problem,
    )  # fmt: skip


def test_another_spelling_is_told_from_other_values() -> None:
    with pytest.raises(CorruptError, match="expected canonical JSON, found another spelling"):
        decode_lineage(b'{"kind":"root", "name":"a"}', ID)
    with pytest.raises(CorruptError, match="expected a lineage record, found"):
        decode_lineage(b'{"kind":"root"}', ID)


def test_own_records_start_after_what_is_inherited() -> None:
    assert Root(name="a").start == 0
    assert [Branch(name="b", parent=1, fork=fork).start for fork in (-1, 0, 9)] == [0, 1, 10]
    assert [merge(plan=plan).start for plan in ((), (1, 7, 3), (1, 7, 3, 2, 9, 4))] == [0, 3, 7]


def test_each_kind_has_its_name_and_a_plan_its_triples() -> None:
    kinds = [
        kind_of(each) for each in (Root(name="a"), Branch(name="b", parent=1, fork=0), merge())
    ]
    assert kinds == ["root", "branch", "merge"]
    assert list(triples((1, 2, 3, 4, 5, 6))) == [(1, 2, 3), (4, 5, 6)]


def test_numbers_of_more_than_64_bits_are_no_record() -> None:
    for number in (2**63, -(2**63) - 1, 2**64):
        payload = encode_lineage(merge()).replace(b'"version":1', b'"version":%d' % number)
        with pytest.raises(CorruptError, match="expected a lineage record, found"):
            decode_lineage(payload, ID)
