"""A stream's uid: made with it, its own, kept, found again, and given by a caller that has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

import transit
from transit.engine.staging import Staging
from transit.format import uid as uids
from transit.handle.handle import Handle
from transit.log import seal
from transit.log.catalog import Catalog
from transit.verify import streams as verified

OTHER = "0123456789abcdef" * 2


@pytest.fixture
def log(tmp_path: Path) -> Iterator[transit.Log]:
    with transit.open(tmp_path / "store", durability="os") as log:
        yield log


def made(log: transit.Log) -> dict[str, str]:
    """A stream of each kind, by each call that makes one; the uid of each."""
    a = log.create("a")
    a.append_many([b"1", b"2"])
    b = a.branch("b", at=0)
    b.append(b"3")
    with log.batch() as batch:
        batch.branch(batch.create("c"), "d")
    log.merge("m", [a, b], policy="append")
    room = log.layer("room")
    room.branch(room.create("x"), "y")
    return all_uids(log)


def all_uids(log: transit.Log) -> dict[str, str]:
    found = [*log.streams(), *log.streams("$"), *log.hidden()]
    for stream in found:
        assert log.stream(uid=stream.uid) == stream
    return {stream.name: stream.uid for stream in found}


def check_kept(path: Path) -> None:
    """Each stream has a uid of its own, the same however the store is opened and written."""
    with transit.open(path, durability="os") as log:
        before = made(log)
        assert len(before) == len(set(before.values())) == 7
        assert {UUID(uid).hex for uid in before.values()} == set(before.values())
        log.seal()
        log.create("late")
        before = all_uids(log)
        log.hide("a")
        assert all_uids(log) == before
    with transit.open(path, mode="read") as log:
        assert all_uids(log) == before
        report = log.verify()
        assert report.ok, report.findings
    with (
        transit.open(path, mode="shared", durability="os") as log,
        transit.open(path, mode="shared") as other,
    ):
        log.create("a")
        assert all_uids(other) == all_uids(log)


def test_a_uid_is_of_one_stream_and_stays(tmp_path: Path) -> None:
    check_kept(tmp_path)


def test_the_uid_is_in_the_stream_and_its_kind_changes_nothing(log: transit.Log) -> None:
    uid = made(log)["m"]
    with pytest.raises(AttributeError):
        log.stream("m").uid = OTHER  # type: ignore[misc]
    # Merging again is the same merge.
    a, b = log.stream("a"), log.stream("b")
    assert log.merge("m", [a, b], policy="append").uid == uid


# Given


GIVEN: dict[str, Callable[[transit.Log, str], transit.Stream]] = {
    "create": lambda log, uid: log.create("new", uid=uid),
    "branch": lambda log, uid: log.stream("a").branch("new", uid=uid),
    "merge": lambda log, uid: log.merge("new", ["a", "b"], policy="append", uid=uid),
    "batch": lambda log, uid: batched(log, "create", uid),
    "batch branch": lambda log, uid: batched(log, "branch", uid),
    "batch merge": lambda log, uid: batched(log, "merge", uid),
}


def batched(log: transit.Log, kind: str, uid: str) -> transit.Stream:
    with log.batch() as batch:
        if kind == "create":
            staged = batch.create("new", uid=uid)
        elif kind == "merge":
            staged = batch.merge("new", ["a", "b"], policy="append", uid=uid)
        else:
            staged = batch.branch("a", "new", uid=uid)
    return staged.stream


@pytest.mark.parametrize("way", GIVEN)
def test_a_stream_is_made_with_the_uid_that_is_given(log: transit.Log, way: str) -> None:
    made(log)
    stream = GIVEN[way](log, str(UUID(OTHER)).upper())
    assert (stream.uid, stream.name) == (OTHER, "new")
    assert log.stream(uid=str(UUID(OTHER))) == stream


@pytest.mark.parametrize("where", ["in the WAL", "sealed", "hidden", "sealed and hidden"])
@pytest.mark.parametrize("way", GIVEN)
def test_a_uid_that_is_taken_makes_nothing(log: transit.Log, way: str, where: str) -> None:
    made(log)
    log.create("has it", uid=OTHER)
    if "sealed" in where:
        log.seal()
    if "hidden" in where:
        log.hide("has it")
    count = log.status().records
    with pytest.raises(transit.AlreadyExistsError, match=f"'has it' has the uid {OTHER}"):
        GIVEN[way](log, OTHER)
    assert log.status().records == count
    assert "new" not in log


def test_a_batch_gives_a_uid_to_one_stream_only(log: transit.Log) -> None:
    def work() -> None:
        with log.batch() as batch:
            batch.create("one", uid=OTHER)
            batch.create("two", uid=OTHER)

    with pytest.raises(transit.AlreadyExistsError, match="'one' has the uid"):
        work()
    assert list(log.streams()) == []


def test_a_merge_that_was_made_has_the_uid_it_has(log: transit.Log) -> None:
    made(log)
    for merge_id in (None, "mine"):
        name = f"again {merge_id}"
        again = {"policy": "append", "merge_id": merge_id}
        first = log.merge(name, ["a", "b"], uid=uuid4().hex, **again)  # type: ignore[arg-type]
        assert log.merge(name, ["a", "b"], uid=first.uid, **again) == first  # type: ignore[arg-type]
        assert log.merge(name, ["a", "b"], uid=OTHER, **again) == first  # type: ignore[arg-type]


@pytest.mark.parametrize("way", GIVEN)
@pytest.mark.parametrize("uid", ["", "no", "0" * 31, b"0" * 32, 7, UUID(OTHER)], ids=repr)
def test_what_is_no_uid_is_refused(log: transit.Log, way: str, uid: Any) -> None:
    made(log)
    with pytest.raises(transit.InvalidInputError, match="a uid is text of 32 hex digits"):
        GIVEN[way](log, uid)
    with pytest.raises(transit.InvalidInputError, match="a uid is text of 32 hex digits"):
        log.stream(uid=uid)
    assert "new" not in log


def test_a_stream_is_asked_for_by_name_or_by_uid(log: transit.Log) -> None:
    a = log.create("a")
    for given in ({}, {"name": "a", "uid": a.uid}, {"name": None, "uid": None}):
        with pytest.raises(transit.InvalidInputError, match="takes a name or a uid"):
            log.stream(**given)
    with pytest.raises(transit.NotFoundError, match=f"no stream with the uid '{OTHER}'"):
        log.stream(uid=OTHER)


# Two streams with one


def twins(path: Path, monkeypatch: pytest.MonkeyPatch, *, sealed: int) -> None:
    """A store as a faulty writer makes it; `sealed`: how many of the two are in a segment."""
    with monkeypatch.context() as patch, transit.open(path, durability="os") as log:
        patch.setattr(Staging, "_with_uid", lambda staging, uid: None)
        for number in range(2):
            log.create(f"s{number}", uid=OTHER)
            if number < sealed:
                log.seal()


def test_two_streams_with_one_uid_in_wal_files_are_refused_at_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins(tmp_path, monkeypatch, sealed=0)
    for mode in ("exclusive", "read"):
        with pytest.raises(transit.CorruptError, match=f"that of stream 1: {OTHER}") as caught:
            transit.open(tmp_path, mode=mode)
        assert caught.value.place == "$lineage@2"


@pytest.mark.parametrize("sealed", [1, 2])
def test_two_streams_with_one_uid_of_which_one_is_sealed_are_found(
    sealed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins(tmp_path, monkeypatch, sealed=sealed)
    with transit.open(tmp_path) as log:
        with pytest.raises(transit.CorruptError, match=f"that of stream 1: {OTHER}"):
            log.stream(uid=OTHER)
        with pytest.raises(transit.CorruptError, match=f"that of stream 1: {OTHER}"):
            log.create("third", uid=OTHER)
        (finding,) = log.verify().findings
        assert finding.place == "$lineage@2"
        assert finding.found == f"that of stream 1: {OTHER}"


# Planted bugs


def not_noted_from_frames(patch: pytest.MonkeyPatch) -> None:
    """Uids of frames that are read are not known."""
    right = Catalog.note_stream

    def wrong(catalog: Catalog, wal: Any, stream_id: int, record: Any) -> None:
        right(catalog, wal, stream_id, record)
        wal.uids.pop(record.uid, None)

    patch.setattr(Catalog, "note_stream", wrong)


def not_in_the_index(patch: pytest.MonkeyPatch) -> None:
    """Segments do not list uids."""
    right = seal._keys

    def wrong(wal: Any, hidden: Any) -> list[tuple[int, int]]:
        wal.uids.clear()
        return right(wal, hidden)

    patch.setattr(seal, "_keys", wrong)


def nor_asked_of_the_index(patch: pytest.MonkeyPatch) -> None:
    """Neither do they, nor does `verify` ask them to: lookups alone see it."""
    not_in_the_index(patch)
    right = verified.keys_of

    def wrong(stream_id: int, record: Any) -> list[tuple[int, int]]:
        keys = right(stream_id, record)
        return [key for key in keys if key[0] != uids.uid_key(record.uid)]

    patch.setattr(verified, "keys_of", wrong)


def drawn_from_the_name(patch: pytest.MonkeyPatch) -> None:
    """Two streams of one name have one uid."""
    right = Staging.create

    def wrong(staging: Staging, record: Any) -> Any:
        patch.setattr(uids, "urandom", lambda size: record.name.encode().ljust(size)[:size])
        return right(staging, record)

    patch.setattr(Staging, "create", wrong)


def the_same_for_all(patch: pytest.MonkeyPatch) -> None:
    """Every stream has the same."""
    patch.setattr(uids, "urandom", bytes)


def found_under_another_key(patch: pytest.MonkeyPatch) -> None:
    """A hash that two uids share finds the wrong stream: uids themselves are not compared."""
    right = Catalog.find_uid

    def wrong(catalog: Catalog, uid: str) -> int | None:
        return right(catalog, uid) and 1

    patch.setattr(Catalog, "find_uid", wrong)


@pytest.mark.parametrize(
    "plant",
    [
        not_noted_from_frames,
        not_in_the_index,
        nor_asked_of_the_index,
        drawn_from_the_name,
        the_same_for_all,
        found_under_another_key,
    ],
)
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles: list[Handle] = []
    right = Handle.__init__

    def kept(handle: Handle, *given: Any, **named: Any) -> None:
        handles.append(handle)
        right(handle, *given, **named)

    monkeypatch.setattr(Handle, "__init__", kept)
    plant(monkeypatch)
    try:
        with pytest.raises((AssertionError, transit.TransitError)):
            check_kept(tmp_path)
    finally:
        for handle in handles:
            handle.close()
