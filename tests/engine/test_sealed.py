"""`Log.segments` and `Stream.spans`: what lies in a segment, and where a history was appended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import transit

SMALL = transit.Settings(seal_bytes=8192, block_bytes=4096)


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    with transit.open(path, durability="os", settings=SMALL) as opened:
        yield opened


def filled(log: transit.Log) -> list[transit.Stream]:
    root = log.create("root")
    room = log.layer("room").create("kept")
    for turn in range(4):
        root.append_many([b"r%d-%d" % (turn, n) for n in range(30)], writer=f"w{turn % 2}")
        room.append(b"k%d" % turn)
        log.seal()
    child = root.branch("child", at=40)
    child.append_many([b"c%d" % n for n in range(20)])
    merged = log.merge("merged", [root, child], policy="interleave")
    merged.append(b"after")
    log.hide("child")
    log.seal()
    root.append(b"not sealed")
    return [root, room, child, merged]


def test_segments_hold_each_sealed_record_of_every_stream_once(log: transit.Log) -> None:
    streams = {stream.id: stream for stream in filled(log)}
    found: dict[int, dict[int, bytes]] = {}
    for segment in log.segments():
        ids = []
        for stream_id, batch in segment.batches():
            ids.append(stream_id)
            assert batch.source.stream == streams[stream_id].name
            assert segment.offsets(stream_id).start <= batch.offsets[0]
            found.setdefault(stream_id, {}).update(zip(batch.offsets, batch.payloads, strict=True))
        assert ids == sorted(ids)
        for stream_id in streams:
            offsets = segment.offsets(stream_id)
            assert set(offsets) <= set(found.get(stream_id, {}))
        assert len(segment) >= sum(len(segment.offsets(each)) for each in streams)
    for stream in streams.values():
        own = range(stream.own_start, len(stream) - (stream.name == "root"))
        assert found[stream.id] == {offset: stream[offset].payload for offset in own}


def test_since_leaves_out_what_was_seen(log: transit.Log) -> None:
    filled(log)
    whole = [(each.commit, each.digest) for each in log.segments()]
    assert len(whole) > 3
    for commit, _ in whole:
        later = [(each.commit, each.digest) for each in log.segments(since=commit)]
        assert later == [each for each in whole if each[0] > commit]
    assert list(log.segments(since=10**6)) == []
    with pytest.raises(transit.InvalidInputError):
        log.segments(since=1.5)  # type: ignore[arg-type]


def test_spans_say_where_each_record_was_appended(log: transit.Log) -> None:
    streams = filled(log)
    names = {stream.id: stream.name for stream in streams}
    for stream in streams:
        for start, stop in ((0, None), (3, 50), (len(stream), None)):
            told = [
                (span.first + n, names[span.stream], span.origin + n)
                for span in stream.spans(start, stop)
                for n in range(span.count)
            ]
            assert told == [(record.offset, *record.origin) for record in stream.read(start, stop)]
    with pytest.raises(transit.OffsetError):
        streams[0].spans(10**6)


def test_what_is_open_stays_in_its_process(log: transit.Log) -> None:
    import pickle

    filled(log)
    for each in (log.cache("room"), next(iter(log.segments()))):
        with pytest.raises(transit.UnpicklableError):
            pickle.dumps(each)
