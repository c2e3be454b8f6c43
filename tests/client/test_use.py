"""A connected store in use: names, sizes, waiting, watching, order."""

from __future__ import annotations

import asyncio
import gc
import queue
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import transit
from rigs.server.serving import Serving

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120
NAMES = ["a", "a/b/c", "é", "e\u0301", "日本/語", "a b", "%2F", "a%20b", "?q=1&x", "#x", "..",
         "a//b", "/a", "a/", "+", "😍/x", "a" * 512, "'\"<>"]  # fmt: skip


def test_names_of_every_kind_are_found(log: transit.Log, opened: transit.Log) -> None:
    for name in NAMES:
        stream = log.create(name, {"name": name})
        assert stream.append(name.encode(), headers={name: name}).stream == name
    for name in NAMES:
        assert name in log
        assert log.stream(name)[0].payload == name.encode()
        assert opened.stream(name)[0].headers == {name: name}
        assert [each.name for each in log.streams(where={"name": name})] == [name]
    assert [each.name for each in log.streams()] == NAMES


@pytest.mark.parametrize("name", ["", "$a", "$$" + "0" * 32, "\n", " a", "a" * 513, "\ud800", 5])
def test_what_is_no_name_is_refused_as_by_an_embedded_store(
    log: transit.Log, opened: transit.Log, name: str
) -> None:
    for call in ("create", "stream", "__contains__"):
        outcomes = []
        for store in (opened, log):
            try:
                outcomes.append(getattr(store, call)(name))
            except transit.TransitError as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1], call


def test_ten_megabytes_go_and_come_in_one_record(log: transit.Log) -> None:
    stream = log.create("a")
    data = bytes(range(256)) * 40_960
    assert stream.append(data).offset == 0
    assert stream[0].payload == data
    with pytest.raises(transit.InvalidInputError, match="record_bytes_max"):
        stream.append(bytes(log.settings.record_bytes_max + 1))
    with pytest.raises(transit.InvalidInputError, match="the server takes"):
        stream.append_many([data, data])
    assert len(stream) == 1


def test_long_streams_come_in_pages_that_end_where_they_ended(log: transit.Log) -> None:
    stream = log.create("a")
    stream.append_many([b"x" * 1000] * 5000, headers={"k": "v"})
    reading = stream.read()
    first = next(reading)
    stream.append(b"later")
    rest = list(reading)
    assert (first.offset, len(rest), rest[-1].offset) == (0, 4999, 4999)
    batches = list(stream.batches(10, 4000))
    assert batches[0].offsets[0] == 10
    assert sum(map(len, batches)) == 3990
    assert len(batches) > 1
    assert [each.payload for each in stream.read(where={"k": ["x"]})] == []


def test_records_at_once_in_a_batch_are_what_an_embedded_store_makes_of_them(
    log: transit.Log, opened: transit.Log
) -> None:
    maps = [{"k": "v"}, None, {}]
    found = []
    for number, store in enumerate((opened, log)):
        stream = store.create(f"s{number}")
        with store.batch() as batch:
            staged = batch.create(f"new{number}")
            batch.append(stream, b"0", timestamp=1)
            batch.append_many(
                stream, iter([b"1", b"2", bytearray(b"3")]), headers=maps, timestamps=[4, 3, 2]
            )
            batch.append_many(stream, [b"4", b"5"], expect=4)
            batch.append_many(staged, [b"6"], headers={"k": "w"})
            batch.append_many(stream, [], expect=99)
            batch.append(stream, b"7", expect=6)
        receipts = [(r.stream.rstrip("01"), r.offset, r.count) for r in batch.receipts]
        records = [
            (each.offset, each.payload, dict(each.headers)) for each in (*stream, *staged.stream)
        ]
        given = [each.timestamp for each in stream]
        assert [r.timestamp for r in batch.receipts if r.stream == stream.name] == given
        found.append((receipts, records, given[:4]))
    assert found[0] == found[1]
    assert [offset for _, offset, _ in found[1][0]] == [0, 1, 2, 3, 4, 5, 0, 6]


def test_records_at_once_in_a_batch_are_refused_as_by_an_embedded_store(
    log: transit.Log, opened: transit.Log
) -> None:
    opened.create("s").append(b"0")
    opened.create("closed").finish()
    large = b"x" * (opened.settings.record_bytes_max + 1)

    def outcome(store: transit.Log, target: str, payloads: object, options: object) -> str:
        with pytest.raises(transit.TransitError) as caught, store.batch() as batch:
            batch.append_many(target, payloads, **options)  # type: ignore[arg-type]
        return f"{type(caught.value).__name__}: {caught.value}"

    for target, payloads, options in (
        ("s", [b"1", large], {}), ("s", [b"1", 2], {}), ("s", b"12", {}), ("s", 5, {}),
        ("s", [b"1"], {"expect": 7}), ("s", [b"1"], {"expect": -1}),
        ("s", [b"1"], {"headers": {"k": 1}}), ("s", [b"1"], {"headers": []}),
        ("s", [b"1"], {"timestamps": []}), ("s", [b"1"], {"timestamps": ["1"]}),
        ("closed", [b"1"], {}), ("absent", [b"1"], {}),
    ):  # fmt: skip
        wanted = outcome(opened, target, payloads, options)
        assert outcome(log, target, payloads, options) == wanted
    assert [record.payload for record in opened.stream("s")] == [b"0"]


def test_listings_come_in_pages(log: transit.Log) -> None:
    with log.batch() as batch:
        for number in range(900):
            batch.create(f"s/{number}")
    with log.batch() as batch:
        for number in range(900, 1300):
            batch.create(f"s/{number}")
    names = [stream.name for stream in log.streams("s/")]
    assert names == [f"s/{number}" for number in range(1300)]
    assert [each.name for each in log.streams("s/", after="s/1", limit=1100)] == names[2:1102]
    assert list(log.streams(limit=0)) == []


def test_what_was_submitted_comes_before_what_is_asked_after_it(log: transit.Log) -> None:
    stream, other = log.create("a"), log.create("b")
    futures = [stream.submit(b"s", timestamp=n if n % 3 else None) for n in range(50)]
    futures += [other.submit(b"t", durability="local" if n % 2 else None) for n in range(10)]
    assert len(stream) == 50
    assert stream.append(b"after").offset == 50
    assert all(future.done() for future in futures)
    assert [record.timestamp for record in stream.read(1, 3)] == [1, 2]
    assert {future.result().durability for future in futures[50:]} == {"os", "local"}


def test_one_finished_stream_does_not_keep_the_others_from_being_written(
    log: transit.Log, opened: transit.Log
) -> None:
    good, bad = log.create("good"), log.create("bad")
    opened.stream("bad").finish()
    futures = [(good if n % 2 else bad).submit(b"x") for n in range(40)]
    errors = [type(future.exception(DEADLINE_S)) for future in futures]
    assert errors == [transit.StreamFinishedError, type(None)] * 20
    assert len(good) == 20


def test_a_callback_of_a_submitted_record_may_use_the_store(log: transit.Log) -> None:
    stream = log.create("a")
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    future = stream.submit(b"x")
    future.add_done_callback(lambda _: done.put(stream.append(b"y").offset))
    assert done.get(timeout=DEADLINE_S) == 1


def test_what_was_submitted_is_sent_when_a_program_ends(
    serving: Serving, opened: transit.Log
) -> None:
    program = """
import sys, transit
log = transit.connect(sys.argv[1])
stream = log.create("a")
for number in range(3000):
    stream.submit(b"x")
"""
    done = subprocess.run([sys.executable, "-c", program, serving.url], cwd=ROOT, check=True)
    assert done.returncode == 0
    assert len(opened.stream("a")) == 3000


def test_a_connection_that_is_forgotten_sends_what_was_submitted(
    serving: Serving, opened: transit.Log
) -> None:
    log = transit.connect(serving.url)
    stream = log.create("a")
    stream.submit(b"x")
    del log, stream
    gc.collect()
    assert len(opened.stream("a")) == 1


def test_many_follow_at_once_and_each_gets_all(log: transit.Log) -> None:
    streams = [log.create(f"s{number}") for number in range(30)]

    async def follow(stream: transit.Stream) -> list[bytes]:
        found = []
        async for record in stream.follow(0):
            found.append(record.payload)
        return found

    async def all_of_them() -> list[list[bytes]]:
        tasks = [asyncio.create_task(follow(stream)) for stream in streams]
        for number in range(3):
            await asyncio.sleep(0.05)
            for stream in streams:
                await asyncio.to_thread(stream.append, str(number).encode())
        for stream in streams:
            await asyncio.to_thread(stream.finish)
        return await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE_S)

    assert asyncio.run(all_of_them()) == [[b"0", b"1", b"2"]] * 30


def test_a_tail_hears_of_what_another_process_appends(
    log: transit.Log, opened: transit.Log
) -> None:
    stream = log.create("a")
    tailing = stream.tail()
    threading.Timer(0.1, opened.stream("a").append, [b"x"]).start()
    assert next(tailing).payload == b"x"
    with pytest.raises(transit.OffsetError):
        stream.tail(9)
    with pytest.raises(transit.InvalidInputError):
        stream.tail(timeout=-1)


def test_a_watch_of_all_tells_of_streams_that_are_made_finished_and_hidden(
    log: transit.Log,
) -> None:
    told: queue.SimpleQueue[tuple[transit.Stream, ...]] = queue.SimpleQueue()
    watch = log.watch(told.put)
    stream = log.create("a")
    stream.append(b"x")
    assert told.get(timeout=DEADLINE_S) == (stream,)
    stream.finish()
    assert told.get(timeout=DEADLINE_S) == (stream,)
    watch.close()
    watch.close()
    assert watch.closed
    assert watch.error is None


def test_a_watch_ends_with_its_connection_and_says_why(serving: Serving) -> None:
    told: queue.SimpleQueue[tuple[transit.Stream, ...]] = queue.SimpleQueue()
    log = transit.connect(serving.url)
    log.create("a")
    watch = log.watch(told.put, ["a"])
    assert len(told.get(timeout=DEADLINE_S)) == 1
    log.close()
    assert told.get(timeout=DEADLINE_S) == ()
    assert isinstance(watch.error, transit.ClosedError)


def test_importing_the_package_loads_nothing_of_the_client() -> None:
    program = "import sys, transit; transit.Log; print('urllib3' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == "False\n"
