"""Deleting and trimming: what is gone for readers, and what must not go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import transit

HOUR = 3600


@pytest.fixture
def log(tmp_path: Path) -> Iterator[transit.Log]:
    with transit.open(tmp_path / "store") as opened:
        yield opened


def filled(log: transit.Log, name: str, count: int = 5) -> transit.Stream:
    stream = log.create(name)
    stream.append_many([b"%d" % number for number in range(count)])
    return stream


def payloads(stream: transit.Stream) -> list[bytes]:
    return [record.payload for record in stream]


def test_a_deleted_stream_is_gone_for_readers(log: transit.Log) -> None:
    stream = filled(log, "a")
    done = log.delete("a", reason="asked to", basis="gdpr-17", writer="ada")
    assert (done.streams, done.records, done.refused) == (("a",), 5, False)
    assert stream.deleted
    assert stream.hidden
    assert stream.finished
    assert "a" not in log
    assert stream.first_offset == stream.next_offset == 5
    assert log.stream(uid=stream.uid) == stream
    for read in (
        lambda: stream[0],
        lambda: stream[-1],
        lambda: stream[:],
        lambda: list(stream),
        lambda: list(stream.read(2)),
        lambda: list(stream.batches()),
        lambda: list(stream.pieces()),
        lambda: list(stream.tail(0, timeout=0)),
        lambda: stream.branch("b"),
        lambda: stream.branch("b", at=1),
        lambda: stream.cursor("c").advance(1),
        lambda: log.show(stream),
        lambda: stream.hold("h"),
        lambda: log.merge("m", [stream, filled(log, "other")], policy="append"),
    ):
        with pytest.raises(transit.ErasedError) as caught:
            read()
        error = caught.value
        assert (error.stream, error.first_offset, error.state) == ("a", None, "deleted")
        assert (error.by, error.basis, error.reason) == ("ada", "gdpr-17", "asked to")
        assert error.when > 0
        assert "gdpr-17: asked to" in str(error)
    with pytest.raises(transit.StreamFinishedError):
        stream.append(b"more")
    assert payloads(filled(log, "a", 2)) == [b"0", b"1"]
    assert log.verify().ok


def test_a_trimmed_stream_begins_later(log: transit.Log) -> None:
    stream = filled(log, "a")
    done = stream.trim(before=3, reason="old")
    assert (done.streams, done.records) == (("a",), 3)
    assert stream.first_offset == 3
    assert len(stream) == 5
    assert payloads(stream) == [b"3", b"4"]
    assert [record.offset for record in stream.read()] == [3, 4]
    assert [record.offset for record in stream[:]] == [3, 4]
    assert [record.offset for record in stream[:2]] == []
    assert [record.offset for record in stream.read(4)] == [4]
    for read in (
        lambda: stream[0],
        lambda: stream[-4],
        lambda: stream[1:4],
        lambda: list(stream.read(0)),
        lambda: list(stream.batches(2)),
        lambda: list(stream.tail(0, timeout=0)),
    ):
        with pytest.raises(transit.ErasedError, match="its first offset is 3 now") as caught:
            read()
        assert caught.value.first_offset == 3
        assert caught.value.state == "trimmed"
    assert stream.offset_at(0) == 3
    stream.append(b"5")
    assert payloads(stream) == [b"3", b"4", b"5"]
    assert stream.trim(before=2).streams == ()
    assert log.verify().ok


def test_what_is_gone_is_gone_after_opening_again(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s") as log:
        filled(log, "a")
        filled(log, "b").trim(before=2)
        log.delete("a", reason="r")
        uid = log.stream("b").uid
    for _ in range(2):
        with transit.open(tmp_path / "s") as log:
            assert log.stream("b").first_offset == 2
            assert payloads(log.stream(uid=uid)) == [b"2", b"3", b"4"]
            assert "a" not in log
            log.seal()


def test_records_that_others_need_stay(log: transit.Log) -> None:
    parent = filled(log, "p")
    child = parent.branch("c", at=2)
    child.append(b"own")
    log.hide(child)
    with pytest.raises(transit.DependentsError) as caught:
        log.delete("p", reason="r")
    assert caught.value.dependents == (("c", 0, 2),)
    with pytest.raises(transit.DependentsError):
        parent.trim(before=1)
    tried = log.delete("p", reason="r", dry_run=True)
    assert tried.refused
    assert tried.dependents == (("c", 0, 2),)
    # A child that begins later needs less, and at last nothing.
    child.trim(before=2)
    parent.trim(before=2)
    with pytest.raises(transit.DependentsError):
        parent.trim(before=3)
    child.trim(before=3)
    log.delete("p", reason="r")
    assert payloads(child) == [b"own"]
    assert log.verify().ok


def test_a_merge_needs_what_its_plan_has(log: transit.Log) -> None:
    one, two = filled(log, "a"), filled(log, "b")
    merged = log.merge("m", [one, two], policy="append")
    with pytest.raises(transit.DependentsError) as caught:
        log.delete(two, reason="r")
    assert caught.value.dependents == (("m", 0, 4),)
    merged.trim(before=5)
    log.delete(one, reason="r")
    assert payloads(merged) == [b"0", b"1", b"2", b"3", b"4"]
    assert log.verify().ok


def test_a_cascade_deletes_children_first_in_one_frame(log: transit.Log) -> None:
    parent = filled(log, "p")
    child = parent.branch("c")
    child.append(b"own")
    grandchild = child.branch("g")
    merged = log.merge("m", [grandchild, filled(log, "x")], policy="append")
    cursor = parent.cursor("reader")
    cursor.advance(2, state=b"private")
    notes = log.layer("room").create(f"notes/{parent.uid}")
    notes.append(b"private")
    before = log._handle.catalog.names_state().next_offset
    done = log.delete("p", reason="r", cascade=True)
    assert set(done.streams) == {
        "p", "c", "g", "m", f"$room/notes/{parent.uid}", f"$cursors/{parent.id}/reader",
    }  # fmt: skip
    assert [name for name in done.streams if name in "mgcp"] == ["m", "g", "c", "p"]
    assert log._handle.catalog.names_state().next_offset == before + 6
    assert all(s.deleted for s in (parent, child, grandchild, merged, notes))
    assert not log.stream("x").deleted
    assert cursor.position == 0
    assert list(log.cursors()) == []
    assert log.verify().ok


def test_a_stream_made_from_a_trimmed_one_begins_where_records_are(log: transit.Log) -> None:
    parent = filled(log, "p")
    parent.trim(before=3)
    child = parent.branch("c")
    assert child.first_offset == 3
    assert payloads(child) == [b"3", b"4"]
    assert parent.branch("early", at=1).first_offset == 2
    merged = log.merge("m", [child, parent.branch("d")], policy="interleave")
    assert merged.first_offset == 3
    assert payloads(merged) == [b"3", b"4"]
    other = filled(log, "o")
    with pytest.raises(transit.ErasedError, match="would be one that was"):
        log.merge("n", [other, parent], policy="append")
    assert log.merge("k", [parent, other], policy="append").first_offset == 3
    with log.batch() as batch:
        made = batch.branch(parent, "b")
        batch.branch(made, "bb")
    assert log.stream("bb").first_offset == 3
    assert log.verify().ok


def test_a_hold_keeps_a_stream_whatever_is_asked(log: transit.Log) -> None:
    parent = filled(log, "p")
    child = parent.branch("c")
    child.hold("case 7")
    child.hold("audit")
    child.hold("audit")
    assert child.holds == ("audit", "case 7")
    for basis in ("owner", "gdpr-17", "court"):
        with pytest.raises(transit.RetainedError) as caught:
            log.delete("p", reason="r", basis=basis, cascade=True)
        assert caught.value.holds == ("audit", "case 7")
        assert caught.value.streams == ("c",)
    with pytest.raises(transit.RetainedError):
        child.trim(before=1)
    assert log.delete("p", reason="r", cascade=True, dry_run=True).holds == ("audit", "case 7")
    child.release_hold("audit")
    with pytest.raises(transit.NotFoundError, match="no hold 'audit'"):
        child.release_hold("audit")
    child.release_hold("case 7")
    log.delete("p", reason="r", cascade=True)
    assert child.deleted


def test_records_are_kept_as_long_as_was_said(log: transit.Log) -> None:
    stream = log.create("a", retention=transit.Retention(keep_for=HOUR))
    assert stream.retention == transit.Retention(keep_for=HOUR)
    stream.append(b"x")
    written = stream[0].written
    with pytest.raises(transit.RetainedError, match="to be kept until") as caught:
        log.delete("a", reason="r")
    assert caught.value.until == written + HOUR * 10**9
    assert caught.value.streams == ("a",)
    with pytest.raises(transit.RetainedError):
        stream.trim(before=1)
    assert log.delete("a", reason="r", dry_run=True).until == written + HOUR * 10**9
    log.delete("a", reason="r", basis="court")
    other = log.create("b", retention=transit.Retention(keep_for=HOUR))
    other.append(b"x")
    other.retain(transit.Retention())
    log.delete("b", reason="r")


def test_what_cannot_be_asked_is_refused(log: transit.Log) -> None:
    stream = filled(log, "a")
    for call in (
        lambda: log.delete("a", reason="r", basis="because"),
        lambda: log.delete("a", reason=7),
        lambda: stream.hold(""),
        lambda: stream.retain(transit.Retention(keep_for=0)),
        lambda: log.create("b", retention=transit.Retention(count_max=1.5)),
        lambda: stream.retain({"keep_for": 1}),
        lambda: stream.trim(before="x"),
        lambda: stream.trim(before=6),
        lambda: stream.trim(before=-1),
    ):
        with pytest.raises(transit.InvalidInputError):
            call()
    with pytest.raises(transit.ConflictError):
        log.delete("a", reason="r", expect=4)
    with pytest.raises(transit.ConflictError):
        stream.trim(before=1, expect=4)
    assert not stream.deleted
    assert stream.first_offset == 0


def test_a_tail_that_stands_below_is_told(log: transit.Log) -> None:
    stream = filled(log, "a")
    tail = stream.tail(0, timeout=0)
    assert next(tail).offset == 0
    reading = stream.read()
    assert next(reading).offset == 0
    stream.append(b"5")
    stream.trim(before=6)
    stream.append(b"6")
    # What was read with the first record is given out; what would be read now is gone.
    with pytest.raises(transit.ErasedError) as caught:
        list(tail)
    assert caught.value.first_offset == 6
    cursor = stream.cursor("c")
    with pytest.raises(transit.ErasedError):
        next(stream.read(cursor.position))
    cursor.advance(stream.first_offset)
    assert [record.offset for record in stream.read(cursor.position)] == [6]


def test_readers_in_other_handles_see_it(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s") as log, transit.open(tmp_path / "s", mode="read") as reader:
        filled(log, "a")
        filled(log, "b")
        there, other = reader.stream("a"), reader.stream("b")
        assert len(payloads(there)) == 5
        log.delete("a", reason="r")
        log.stream("b").trim(before=4)
        with pytest.raises(transit.ErasedError):
            payloads(there)
        assert payloads(other) == [b"4"]
        with pytest.raises(transit.ReadOnlyError):
            reader.delete("b", reason="r")
