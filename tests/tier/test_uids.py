"""A stream's uid goes where the stream goes; a branch that a rebase makes has one of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import transit
from transit.engine.rebasing import _Copier
from transit.format.lineage import LineageRecord

from .conftest import Place, write_history
from .test_fencing import diverged


def uids(log: transit.Log) -> dict[str, str]:
    """The uid of every stream, each found by it."""
    found = {stream.name: stream.uid for stream in log.streams()}
    assert len(set(found.values())) == len(found)
    assert {log.stream(uid=uid).name: uid for uid in found.values()} == found
    return found


def test_a_uid_is_the_same_in_the_remote_and_in_whatever_is_made_of_it(place: Place) -> None:
    with place.open("a") as log:
        write_history(log)
        before = uids(log)
        log.release()
    for name, lazy in (("whole", False), ("lazy", True)):
        transit.restore(place.store, place.path / name, lazy=lazy)
        with place.open(name, mode="read") as log:
            assert uids(log) == before
    transit.restore(place.store, place.path / "some", streams=["task-1/retry"])
    with transit.open(place.path / "some", mode="read", remote=place.store) as log:
        assert log.stream("task-1/retry").uid == before["task-1/retry"]
    with transit.open(place.store.url, mode="read") as log:
        assert uids(log) == before
    with place.open("b") as log:  # an empty folder: it continues what is there
        before["more"] = log.create("more").uid
        assert uids(log) == before
        with pytest.raises(transit.AlreadyExistsError):
            log.create("copy", uid=before["task-0"])
    report = transit.audit(place.store)
    assert report.ok, report.findings


def check_rebase(place: Place) -> None:
    """Our streams keep their uids; the branches of those that both have get others."""
    log, _ = diverged(place)
    ours = uids(log)
    with place.open("a", mode="read") as other:
        theirs = uids(other)
    both = {uid for uid in ours.values() if uid in theirs.values()}
    rebased = log.rebase_onto_remote()
    with place.open("b") as log:
        after = uids(log)
        assert {name: after[name] for name in theirs} == theirs
        for name, moved in rebased.streams.items():
            if ours[name] in both:
                assert after[moved] not in {*ours.values(), *theirs.values()}, name
            else:
                assert after[moved] == ours[name], name
        report = log.verify()
        assert report.ok, report.findings
        log.publish()
    report = transit.audit(place.store)
    assert report.ok, report.findings


def test_a_rebase_keeps_the_uids_of_our_streams_and_makes_new_ones_for_branches(
    place: Place,
) -> None:
    check_rebase(place)


def test_a_stream_that_both_imported_gets_a_new_uid_in_a_rebase(place: Place) -> None:
    uid = "0123456789abcdef" * 2
    with place.open("a") as log:
        log.create("s")
        log.publish()
    shutil.copytree(place.path / "a", place.path / "b")
    b = place.open("b")
    b.create("same", uid=uid).append(b"b")
    with place.open("a") as a:
        a.create("same", uid=uid).append(b"a")
        a.publish()
    with pytest.raises(transit.FencedError):
        b.publish()
    rebased = b.rebase_onto_remote()
    with place.open("b") as b:
        assert b.stream("same").uid == uid
        assert b.stream(rebased.streams["same"]).uid != uid
        assert b.verify().ok


# Planted bugs


def changed(change: Callable[[_Copier, int, LineageRecord, LineageRecord], LineageRecord]) -> Any:
    right = _Copier._translated

    def wrong(copier: _Copier, stream: int, record: LineageRecord) -> LineageRecord:
        return change(copier, stream, record, right(copier, stream, record))

    return wrong


def reused(
    copier: _Copier, stream: int, record: LineageRecord, made: LineageRecord
) -> LineageRecord:
    """A branch has the uid of the stream that it is a branch of."""
    return msgspec.structs.replace(made, uid=record.uid)


def dropped(
    copier: _Copier, stream: int, record: LineageRecord, made: LineageRecord
) -> LineageRecord:
    """A stream of ours is a new one."""
    return msgspec.structs.replace(made, uid="")


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])
@pytest.mark.parametrize("plant", [reused, dropped])
def test_a_planted_bug_is_found(
    plant: Any, guarded: bool, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Copier, "_translated", changed(plant))
    if not guarded:
        monkeypatch.setattr("transit.engine.staging.Staging._with_uid", lambda staging, uid: None)
    with pytest.raises((AssertionError, transit.TransitError)):
        check_rebase(place)
