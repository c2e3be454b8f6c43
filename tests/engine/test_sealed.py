"""What is sealed as of a head: the same in every process, whatever was added since."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transit

SMALL = transit.Settings(block_bytes=65536, seal_bytes=65536)
Rows = list[tuple[str, int, bytes]]


def filled(log: transit.Log, first: int, streams: int = 5) -> None:
    """More records of some streams, sealed."""
    for number in range(streams):
        name = f"s{number}"
        stream = log.stream(name) if name in log else log.create(name)
        stream.append_many([b"%d %d " % (first + n, number) * 400 for n in range(60)])
    log.seal()


def rows(sealed: transit.Sealed) -> Rows:
    """Every record of the user's streams, as its segment has it."""
    return [
        (batch.source.stream, offset, payload)
        for segment in sealed.segments()
        for _, batch in segment.batches()
        if not batch.source.stream.startswith("$")
        for offset, payload in zip(batch.offsets, batch.payloads, strict=True)
    ]


def histories(sealed: transit.Sealed) -> dict[str, list[bytes]]:
    return {
        stream.name: [record.payload for record in stream.read(0, sealed.count(stream))]
        for stream in sealed.streams()
    }


@pytest.fixture(params=["folder", "remote"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[transit.Log, str]]:
    """A store that is written to, and where it is read."""
    how: dict[str, Any] = {"remote": tmp_path / "r", "durability": "os", "settings": SMALL}
    with transit.open(tmp_path / "s", **how) as log:
        yield log, str(tmp_path / ("s" if request.param == "folder" else "r"))


def test_a_head_is_of_what_was_sealed_then(place: tuple[transit.Log, str]) -> None:
    log, url = place
    filled(log, 0)
    log.stream("s1").branch("b", at=10).append(b"own")
    log.merge("m", ["s0", "b"], policy="append")
    log.hide("s3")
    log.seal()
    log.publish()
    head = log.sealed().head
    wanted, read = rows(log.sealed()), histories(log.sealed())
    assert read == {s.name: [record.payload for record in s] for s in log.streams()}
    assert set(read) == {"s0", "s1", "s2", "s4", "b", "m"}
    log.stream("s0").append(b"not sealed yet")
    assert log.sealed().head == head
    log.show(next(log.hidden()))
    filled(log, 100, streams=7)
    log.hide("s0")
    log.create("s0").append(b"another")
    log.stream("m").append(b"more")
    log.seal()
    log.publish()
    with transit.open(url, mode="read") as reader:
        sealed = reader.sealed(pickle.loads(pickle.dumps(head)))
        assert sealed.head == head
        assert rows(sealed) == wanted
        assert histories(sealed) == read
        assert reader.sealed().head == log.sealed().head != head
        assert {stream.name for stream in sealed.streams(hidden=True)} == {*read, "s3"}
        (only,) = sealed.streams(range(2, 3))
        assert only.name == "s1"
        with pytest.raises(transit.NotFoundError):
            sealed.count(reader.stream("s6"))


def test_blocks_share_out_a_segment(place: tuple[transit.Log, str]) -> None:
    log, url = place
    filled(log, 0, streams=9)
    log.publish()
    with transit.open(url, mode="read") as reader:
        for segment in reader.sealed().segments():
            blocks = segment.blocks()
            whole = [(each, list(batch.offsets)) for each, batch in segment.batches()]
            assert len(blocks) > 1
            assert sum(block.stored_bytes for block in blocks) < segment.stored_bytes
            parts = []
            for number, block in enumerate(blocks):
                found = list(segment.batches(range(number, number + 1)))
                parts += [(each, list(batch.offsets)) for each, batch in found]
                own = sum(len(batch) for _, batch in found)
                assert own <= block.records
            assert parts == whole
            runs = [(each, list(offsets)) for each, offsets in segment.runs()]
            assert runs == whole
            some = [list(segment.runs(range(each, each + 1))) for each in range(len(blocks))]
            assert [run for each in some for run in each] == list(segment.runs())
            assert sum(block.records for block in blocks) == len(segment)
            assert list(segment.batches(range(len(blocks), len(blocks)))) == []
            for wrong in (range(-1, 2), range(0, 9, 2), range(99, 100), 3):
                with pytest.raises(transit.InvalidInputError):
                    next(segment.batches(wrong))  # type: ignore[arg-type]
            first, last = segment.written
            assert first <= last


def test_a_head_of_another_store_or_of_one_to_come_is_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        with transit.open(tmp_path / name, settings=SMALL) as log:
            assert log.sealed().head == transit.Head(0, "")
            assert not list(log.sealed().segments())
            for n in range(3):
                filled(log, n)
    with transit.open(tmp_path / "one") as one, transit.open(tmp_path / "other") as other:
        head = one.sealed().head
        with pytest.raises(transit.CorruptError, match="root"):
            other.sealed(head)
        earlier = transit.Head(1, head.root)
        with pytest.raises(transit.CorruptError, match="commit 0"):
            one.sealed(earlier)
        with pytest.raises(transit.NotFoundError, match="commits, and not"):
            one.sealed(transit.Head(head.commits + 1, "0" * 64))
        with pytest.raises(transit.InvalidInputError):
            one.sealed("head")  # type: ignore[arg-type]
        assert one.sealed(transit.Head(0, "")).hidden() == frozenset()


def test_deleted_records_are_gone_of_every_head(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s", settings=SMALL) as log:
        filled(log, 0)
        head = log.sealed().head
        log.delete("s2", reason="asked for")
        assert {name for name, _, _ in rows(log.sealed(head))} == {"s0", "s1", "s3", "s4"}
        counted = Counter(name for name, _, _ in rows(log.sealed(head)))
        assert set(counted.values()) == {60}
        log.stream("s3").trim(before=7)

        def wanted(stream_id: int, name: str) -> bool:
            return name in ("s1", "s3", "s2")

        for segment in log.segments():
            found = [(each, list(batch.offsets)) for each, batch in segment.batches(None, wanted)]
            assert [(n, list(offsets)) for n, offsets in segment.runs(None, wanted)] == found
        own = log.stream("s3").id
        offsets = [o for s in log.segments() for each, o in s.runs() if each == own]
        assert min(each.start for each in offsets) == 7
