"""Reads over the network: chunks, tags for caches, live reads, what a payload cannot do."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from tests.server.calling import JSON, TEXT, Caller, call, served
from transit.protocol.offsets import encode_offset
from transit.server import reading
from transit.server.settings import ServerSettings

QUICK = ServerSettings(long_poll_s=0.05, sse_s=0.2, ping_s=0.05, chunk_bytes=100)


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    with served(tmp_path / "store", settings=QUICK) as caller:
        yield caller


def fields_of(event: bytes) -> tuple[str, bytes]:
    """Name and data of an event, by the rules of the HTML standard."""
    name, data = "", []
    for line in event.split(b"\n"):
        key, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if key == b"event":
            name = value.decode()
        elif key == b"data":
            data.append(value)
    return name, b"\n".join(data)


def events(body: bytes) -> list[tuple[str, bytes]]:
    return [fields_of(each) for each in body.split(b"\n\n") if each.strip(b": ")]


def test_a_long_stream_is_read_in_chunks_that_join_to_the_whole(caller: Caller) -> None:
    caller("PUT", "s", headers=TEXT)
    for number in range(40):
        caller("POST", "s", b"%09d." % number, TEXT)
    token, parts = "-1", []
    while True:
        answer = caller("GET", f"s?offset={token}")
        parts.append(answer.body)
        token = answer.headers["stream-next-offset"]
        if "stream-up-to-date" in answer.headers:
            break
    assert b"".join(parts) == b"".join(b"%09d." % number for number in range(40))
    assert len(parts) == 4
    assert token == encode_offset(40)


def test_a_record_larger_than_a_chunk_comes_whole(caller: Caller) -> None:
    caller("PUT", "s", b"[" + b"1" * 500 + b",2]", JSON)
    first = caller("GET", "s")
    assert first.body == b"[" + b"1" * 500 + b"]"
    assert caller("GET", f"s?offset={first.headers['stream-next-offset']}").body == b"[2]"


def test_an_unchanged_chunk_is_answered_without_a_read(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller("PUT", "s", headers=TEXT)
    for _ in range(30):
        caller("POST", "s", b"0123456789", TEXT)
    full, last = caller("GET", "s"), caller("GET", f"s?offset={encode_offset(25)}")
    reads: list[object] = []
    monkeypatch.setattr("transit.server.streams.read_chunk", lambda *given: reads.append(given))
    caller.app.streams._chunks = reading.Chunks(1)
    for path, tag in (("s", full), (f"s?offset={encode_offset(25)}", last)):
        again = caller("GET", path, headers={"if-none-match": f'"x", W/{tag.headers["etag"]}'})
        assert (again.status, again.body) == (304, b"")
    assert reads == []
    monkeypatch.undo()
    caller("POST", "s", b"more", TEXT)
    # What ended for its size is what it was; what ended at the head goes on now.
    assert caller("GET", "s", headers={"if-none-match": full.headers["etag"]}).status == 304
    goes_on = caller(
        "GET", f"s?offset={encode_offset(25)}", headers={"if-none-match": last.headers["etag"]}
    )
    assert goes_on.status == 200


def test_closing_changes_the_tag(caller: Caller) -> None:
    caller("PUT", "s", b"x", TEXT)
    tag = caller("GET", "s").headers["etag"]
    caller("POST", "s", headers={"stream-closed": "true"})
    closed = caller("GET", "s", headers={"if-none-match": tag})
    assert (closed.status, closed.headers["stream-closed"]) == (200, "true")


def test_answers_that_are_kept_are_dropped_by_size(tmp_path: Path) -> None:
    settings = ServerSettings(answers_bytes_max=8_000)
    with served(tmp_path / "store", settings=settings) as caller:
        for number in range(20):
            caller("PUT", f"s{number}", b"x" * 900, TEXT)
            caller("GET", f"s{number}")
        chunks = caller.app.streams._chunks
        assert chunks._size <= 8_000
        assert chunks._size == sum(len(each.body) for each in chunks._kept.values()) > 0


def test_a_long_poll_returns_what_comes_and_a_cursor_that_goes_on(caller: Caller) -> None:
    caller("PUT", "s", b"x", TEXT)
    caller.app.streams._service.settings  # noqa: B018

    async def both() -> Any:
        waiting = asyncio.create_task(
            call(caller.app, "GET", f"s?offset=now&live=long-poll&cursor={10**12}")
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await call(caller.app, "POST", "s", b"y", TEXT)
        return await waiting

    answer = caller.run(both())
    assert (answer.status, answer.body) == (200, b"y")
    assert int(answer.headers["stream-cursor"]) > 10**12
    nothing = caller("GET", f"s?offset={encode_offset(2)}&live=long-poll")
    assert (nothing.status, nothing.headers["stream-up-to-date"]) == (204, "true")


def test_a_wait_ends_when_the_stream_is_deleted(tmp_path: Path) -> None:
    with served(tmp_path / "store", settings=ServerSettings(long_poll_s=600)) as caller:
        caller("PUT", "s", headers=TEXT)

        async def both() -> Any:
            path = "s?offset=now&live=long-poll"
            waiting = asyncio.create_task(call(caller.app, "GET", path))
            await asyncio.sleep(0.01)
            await call(caller.app, "DELETE", "s")
            return await waiting

        # It looks again, and there is nothing any more.
        assert caller.run(both()).status in (204, 404)
        assert caller.app.streams.tails.count == 0


def test_each_event_of_data_is_followed_by_where_to_go_on(caller: Caller) -> None:
    caller("PUT", "s", b"[" + b",".join(b'"%040d"' % each for each in range(9)) + b"]", JSON)
    told = events(caller("GET", "s?offset=-1&live=sse").body)
    assert [name for name, _ in told[:10]] == ["data", "control"] * 5
    assert b"upToDate" not in told[1][1]
    assert b'"upToDate":true' in told[9][1]


def test_readers_get_what_is_appended_while_they_wait_once_and_in_order(caller: Caller) -> None:
    caller("PUT", "s", headers=JSON)

    async def all_of_it() -> list[Any]:
        readers = [
            asyncio.create_task(call(caller.app, "GET", "s?offset=-1&live=sse")) for _ in range(5)
        ]
        for number in range(30):
            await call(caller.app, "POST", "s", b"%d" % number, JSON)
            if number % 7 == 0:
                await asyncio.sleep(0.005)
        await call(caller.app, "POST", "s", headers={"stream-closed": "true"})
        return await asyncio.gather(*readers)

    for answer in caller.run(all_of_it()):
        told = events(answer.body)
        data = b"".join(data for name, data in told if name == "data")
        assert data.replace(b"][", b",").replace(b",\n", b",") == (
            b"[" + b",".join(b"%d" % number for number in range(30)) + b"]"
        )
        assert b'"streamClosed":true' in told[-1][1]
    assert caller.app.streams.tails.count == 0


def test_a_reader_that_comes_when_the_stream_is_closed_is_told_so_at_once(caller: Caller) -> None:
    caller("PUT", "s", b"x", TEXT | {"stream-closed": "true"})
    told = events(caller("GET", "s?offset=now&live=sse").body)
    assert len(told) == 1
    assert b'"streamClosed":true' in told[0][1]
    assert b"streamCursor" not in told[0][1]


@pytest.mark.parametrize(
    "payload",
    [
        b"a\nb\r\nc\rd", b"\n\nevent: control\ndata:{}\n\n", b" leads", b"data: x", b": a comment",
        b"", b"\xff\xfe not text", "é\u2028\u0085".encode(),
    ],
)  # fmt: skip
def test_no_payload_can_be_another_event(caller: Caller, payload: bytes) -> None:
    caller("PUT", "s", headers=TEXT)
    if payload:
        caller("POST", "s", payload, TEXT)
    caller("POST", "s", headers={"stream-closed": "true"})
    body = caller("GET", "s?offset=-1&live=sse").body
    body.decode()
    told = events(body)
    shown = payload.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n").encode()
    assert [name for name, _ in told] == (["data"] if payload else []) + ["control"]
    assert not payload or told[0][1] == shown
    assert caller("GET", "s").body == payload


def test_bytes_are_sent_as_base64(caller: Caller) -> None:
    caller("PUT", "s", bytes(range(256)), {"content-type": "application/x-own"})
    answer = caller("GET", "s?offset=-1&live=sse")
    assert answer.headers["stream-sse-data-encoding"] == "base64"
    assert b64decode(events(answer.body)[0][1]) == bytes(range(256))


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/octet-stream"])
def test_what_a_browser_would_run_is_not_shown_by_it(caller: Caller, kind: str) -> None:
    caller("PUT", "s", b"<script>alert(1)</script>", {"content-type": kind})
    answer = caller("GET", "s")
    assert answer.headers["content-disposition"] == "attachment"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "offset",
    ["", "../x", "1,2", "1 2", "1" * 21, "-2", "0000", encode_offset(9), "NOW", "%00", "٣" * 20],
)
def test_an_offset_that_is_none_is_refused(caller: Caller, offset: str) -> None:
    caller("PUT", "s", b"x", TEXT)
    assert caller("GET", f"s?offset={offset}").status == 400


def test_a_parameter_that_is_there_twice_is_refused(caller: Caller) -> None:
    caller("PUT", "s", b"x", TEXT)
    assert caller("GET", "s?offset=-1&offset=now").status == 400


def test_more_readers_than_allowed_are_sent_away(tmp_path: Path) -> None:
    with served(tmp_path / "store", settings=ServerSettings(readers_max=1)) as caller:
        caller("PUT", "s", headers=TEXT)

        async def two() -> Any:
            path = "s?offset=now&live=sse"
            first = asyncio.create_task(call(caller.app, "GET", path))
            await asyncio.sleep(0.01)
            second = await call(caller.app, "GET", path)
            first.cancel()
            return second

        answer = caller.run(two())
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")


def test_readers_are_let_go_when_the_server_ends(tmp_path: Path) -> None:
    with served(tmp_path / "store", settings=ServerSettings(sse_s=600, ping_s=600)) as caller:
        caller("PUT", "s", b"x", TEXT)

        async def reader_of_an_ending_server() -> Any:
            reading = asyncio.create_task(call(caller.app, "GET", "s?offset=-1&live=sse"))
            await asyncio.sleep(0.01)
            caller.app.end()
            return await reading

        told = events(caller.run(reader_of_an_ending_server()).body)
        assert told[0] == ("data", b"x")
        assert b'"upToDate":true' in told[-1][1]


def test_a_reader_of_a_store_that_is_closed_meanwhile_is_told_by_an_end(tmp_path: Path) -> None:
    with transit.open(tmp_path / "store", durability="os") as log:
        log.create("s", {"http.content-type": "text/plain"})
        caller = Caller(served_app(log))

        async def reader() -> Any:
            waiting = asyncio.create_task(call(caller.app, "GET", "s?offset=-1&live=long-poll"))
            await asyncio.sleep(0.01)
            log.close()
            return await waiting

        assert caller.run(reader()).status == 503
        caller.close()


def served_app(log: transit.Log) -> Any:
    from transit.server.app import App  # Here: the test above makes it over a store of its own.

    return App(log, ServerSettings(long_poll_s=600))


def test_a_browser_that_connects_again_goes_on_where_it_was(caller: Caller) -> None:
    caller("PUT", "s", b'["a","b"]', JSON)
    body = caller("GET", "s?offset=-1&live=sse").body
    ids = [line[3:].decode() for line in body.split(b"\n") if line.startswith(b"id:")]
    caller("POST", "s", b'"c"', JSON)
    again = events(caller("GET", "s?offset=-1&live=sse", headers={"last-event-id": ids[-1]}).body)
    assert again[0] == ("data", b'["c"]')
    # The name is another stream's now, which has as many records.
    caller("DELETE", "s")
    caller("PUT", "s", b'["x","y","z"]', JSON)
    other = events(caller("GET", "s?offset=-1&live=sse", headers={"last-event-id": ids[-1]}).body)
    assert other[0] == ("data", b'["x",\n"y",\n"z"]')
    odd = {"last-event-id": ids[-1][:-1] + "x"}
    assert events(caller("GET", "s?offset=now&live=sse", headers=odd).body)[0][0] == "control"


def test_what_is_kept_for_readers_is_bounded_by_bytes_and_waits_leave_nothing(
    caller: Caller,
) -> None:
    caller("PUT", "s", headers=TEXT)

    async def look() -> None:
        tail = caller.app.streams.tails.join(caller.app.service.log.stream("s"))
        for _ in range(50):
            assert not await tail.wait(tail.stop, 0.001)
        assert not tail._waiting
        for _ in range(6):
            stop = tail.stop
            await call(caller.app, "POST", "s", b"x" * 700_000, TEXT)
            while not await tail.wait(stop, 60):
                pass
        kept = [len(payload) for run in tail.runs.values() for payload in run]
        assert kept == [700_000]
        assert tail._kept == sum(kept)
        caller.app.streams.tails.leave(tail)

    caller.run(look())


def test_what_was_trimmed_is_in_no_answer_that_was_kept(tmp_path: Path) -> None:
    with served(tmp_path / "store") as ask:
        assert ask("PUT", "a", headers=TEXT).status == 201
        for payload in (b"0", b"1", b"2"):
            ask("POST", "a", payload, TEXT)
        places = ["a?offset=-1", f"a?offset={1:020}", f"a?offset={2:020}"]
        first = [ask("GET", place) for place in places]
        assert [each.body for each in first] == [b"012", b"12", b"2"]
        tag = first[1].headers["etag"]
        assert ask("GET", places[1], headers={"if-none-match": tag}).status == 304
        assert ask("POST", "/v1/trim/a", b'{"before":2}', JSON).status == 200
        for place in places[:2]:
            gone = ask("GET", place)
            assert (gone.status, gone.json["error"]) == (410, "ErasedError")
            assert ask("GET", f"{place}&live=sse").status == 410
        assert ask("GET", places[1], headers={"if-none-match": tag}).status == 410
        assert ask("GET", places[2]).body == b"2"
        assert all(chunk.body == b"2" for chunk in ask.app.streams._chunks._kept.values())
