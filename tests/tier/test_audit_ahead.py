"""An audit that decodes blocks ahead finds what it found one by one, and stops as it did."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

import transit
from rigs.hostile.hostile import Shelf
from transit.auditor import run
from transit.format.digest import digest
from transit.format.record import Chunk
from transit.format.segment import TAIL, decode_footer, decode_tail
from transit.store import open_store
from transit.verify import segments
from transit.verify.streams import StreamCheck

Objects = dict[str, bytes]


def segment_in(objects: Objects) -> str:
    (key,) = (key for key in objects if key.startswith("segments/"))
    return key


def long_segment(path: Path) -> tuple[Objects, list[int]]:
    """A bucket with one segment of many large chunks, and where its blocks begin."""
    settings = transit.Settings(block_bytes=64 * 1024)
    with transit.open(path / "s", remote=path / "r", durability="os", settings=settings) as log:
        stream = log.create("s")
        rng = random.Random(7)
        for _ in range(40):
            stream.append_many([rng.randbytes(16 * 1024) for _ in range(4)])
        log.seal()
        log.publish()
    store = open_store(path / "r")
    objects = {key: store.get(key, 2**30) or b"" for key, _ in store.list("")}
    key = segment_in(objects)
    data = objects[key]
    stated, size = decode_tail(data[-TAIL.size :], key)
    footer = decode_footer(data[-TAIL.size - size : -TAIL.size], stated, key)
    return objects, [block.position for block in footer.blocks[:-1]]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_findings_are_told_in_the_order_of_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(run, "_THREADS", threads)
    objects, starts = long_segment(tmp_path)
    assert len(starts) > 30
    key = segment_in(objects)
    damaged = bytearray(objects[key])
    chosen = [starts[place] for place in (1, 2, 5, 6, 17, len(starts) - 1)]
    for position in chosen:
        damaged[position + 9] ^= 1
    report = transit.audit(Shelf({**objects, key: bytes(damaged)}))
    # Between them: that a stream does not go on where it was.
    told = [int(f.place.rpartition(" ")[2]) for f in report.findings if ", byte " in f.place]
    assert told == chosen
    assert report.counts["blocks"] == len(starts) - len(chosen)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_large_chunk_of_another_digest_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Planted: the digest that a thread worked out is that of other bytes."""
    monkeypatch.setattr(run, "_THREADS", threads)
    objects, _ = long_segment(tmp_path)
    assert transit.audit(Shelf(objects)).ok
    monkeypatch.setattr(segments, "_digest_of_first", lambda raw, place: digest(raw[1:]))
    assert [finding.expected[:9] for finding in transit.audit(Shelf(objects)).findings] == [
        "the root "
    ]


@pytest.mark.parametrize("threads", [1, 4])
def test_an_interrupted_audit_leaves_no_thread_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(run, "_THREADS", threads)
    objects, starts = long_segment(tmp_path)
    before = set(threading.enumerate())

    def interrupt(check: StreamCheck, chunk: Chunk, place: str) -> list[tuple[int, int]]:
        if chunk.first > len(starts):
            raise KeyboardInterrupt
        return real(check, chunk, place)

    real = StreamCheck.chunk
    monkeypatch.setattr(StreamCheck, "chunk", interrupt)
    with pytest.raises(KeyboardInterrupt):
        transit.audit(Shelf(objects))
    assert set(threading.enumerate()) <= before
