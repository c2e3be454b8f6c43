"""What became of a stream, and the checkpoints that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit


def whats(stream: transit.Stream) -> list[str]:
    return [each.what for each in stream.became()]


def test_each_change_of_a_stream_is_told_once_with_who_and_why(path: Path) -> None:
    with transit.open(path) as log:
        stream = log.create("s")
        assert stream.became() == ()
        stream.append_many([b"0", b"1", b"2"])
        stream.hold("law", writer="ada")
        stream.hold("law", writer="bob")
        stream.retain(transit.Retention(keep_for=7), reason="policy", writer="ada")
        stream.release_hold("law", writer="bob")
        stream.retain(transit.Retention(), writer="ada")
        log.hide(stream, reason="tidy")
        log.show(stream)
        stream.trim(before=1, reason="old", basis="court", writer="eve")
        stream.finish()
        log.delete(stream, reason="wish", basis="gdpr-17", writer="eve")
        log.erase()
        found = stream.became()
        assert [(each.what, each.by, each.reason) for each in found] == [
            ("held", "ada", "law"),
            ("limited", "ada", "policy"),
            ("released", "bob", "law"),
            ("limited", "ada", ""),
            ("hidden", "", "tidy"),
            ("shown", "", ""),
            ("trimmed", "eve", "old"),
            ("finished", "", ""),
            ("deleted", "eve", "wish"),
            ("erased", "", "wish"),
        ]
        assert [each.when for each in found] == sorted(each.when for each in found)
        by_what = {each.what: each for each in found}
        assert by_what["trimmed"].before == 1
        assert by_what["trimmed"].basis == "court"
        assert (by_what["held"].hold, by_what["released"].hold) == ("law", "law")
        assert found[1].retention == transit.Retention(keep_for=7)
        assert found[3].retention == transit.Retention()
        erased = by_what["erased"]
        assert (erased.before, erased.here, erased.basis) == (None, True, "gdpr-17")
        assert erased.bytes > 0
    with transit.open(path, mode="read") as again:
        assert again.stream(uid=stream.uid).became() == found


def test_a_deletion_is_one_change_and_bytes_that_go_in_parts_are_told_each_time(path: Path) -> None:
    with transit.open(path) as log:
        whole, parts = log.create("whole"), log.create("parts")
        for stream in (whole, parts):
            for payload in (b"0", b"1"):
                stream.append(payload)
                log.seal()
        log.delete(whole, reason="wish")
        assert whats(whole) == ["deleted"]
        parts.trim(before=1)
        log.erase()
        parts.trim(before=2)
        log.erase()
        assert whats(parts) == ["trimmed", "erased", "trimmed", "erased"]
        first, last = (each for each in parts.became() if each.what == "erased")
        assert (first.before, last.before) == (1, 2)
        assert last.bytes > first.bytes


def test_who_writes_is_at_most_so_long(path: Path) -> None:
    with transit.open(path) as log:
        stream = log.create("s")
        for work in (
            lambda: stream.hold("law", writer="x" * 256),
            lambda: stream.retain(transit.Retention(keep_for=1), writer="x" * 256),
            lambda: stream.release_hold("law", writer="x" * 256),
        ):
            with pytest.raises(transit.InvalidInputError):
                work()
        assert stream.became() == ()


def test_checkpoints_are_handed_out_by_their_sizes(path: Path, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    with transit.open(path, remote=remote) as log:
        with pytest.raises(transit.NotFoundError, match="no checkpoint"):
            log.checkpoint_note()
        key = transit.SigningKey.generate(f"example.com/{log.store_id}")
        notes = []
        for number in range(3):
            log.create(f"s{number}")
            notes.append(log.checkpoint(key).note)
        sizes = log.checkpoints()
        assert len(sizes) == 3
        assert [log.checkpoint_note(size) for size in sizes] == notes
        assert log.checkpoint_note() == notes[-1]
        for size in (0, 99):
            with pytest.raises(transit.NotFoundError, match=f"of {size} commits"):
                log.checkpoint_note(size)
        for wrong in (-1, 2**63, "1", 1.0):
            with pytest.raises(transit.InvalidInputError):
                log.checkpoint_note(wrong)  # type: ignore[arg-type]
    with transit.open(f"file://{remote}", mode="read") as afar:
        assert afar.checkpoints() == sizes[-1:]
        assert [afar.checkpoint_note(size) for size in sizes] == notes
        assert afar.checkpoint_note() == notes[-1]
