"""Changes to subscribers as events: in order, again until they are done, and to whom they go."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from tests.server.api.calling import Reply, Server, messages, scope_of
from transit import Log, views
from transit.server.access import APPEND, READ, Grant
from transit.server.settings import ServerSettings

from .declared import DECLARED, event, tally

PATH = "/v1/views/tally/changes"
DONE = "/v1/views/tally/done"
WAIT_S = 90


class Heard:
    """Events of one stream of events: ids, kinds and data."""

    def __init__(self, text: bytes, kind: str = "", count: int = 0) -> None:
        self.events: list[tuple[str, str, Any]] = []
        for block in text.split(b"\n\n"):
            fields = dict(
                line.split(b": ", 1) for line in block.split(b"\n") if not line.startswith(b":")
                if b": " in line
            )  # fmt: skip
            if b"data" in fields:
                self.events.append((
                    fields[b"event"].decode(), fields.get(b"id", b"").decode(),
                    msgspec.json.decode(fields[b"data"]),
                ))  # fmt: skip
        kinds = [each[0] for each in self.events]
        if count and kinds.count(kind) > count:
            # Several come in one part.
            last = [number for number, each in enumerate(kinds) if each == kind][count - 1]
            del self.events[last + 1 :]

    @property
    def changes(self) -> list[Any]:
        return [data for kind, _, data in self.events if kind == "change"]

    @property
    def positions(self) -> list[str]:
        return [each["position"] for each in self.changes]


def hear(
    server: Server,
    count: int,
    headers: dict[str, str] | None = None,
    do: Any = None,
    kind: str = "change",
    **query: Any,
) -> Heard:
    """Events until there are so many of a kind; `do` is called once the reader is heard."""
    given = {"stream": "runs/task", "subscriber": "mailer", **query}
    scope = scope_of("GET", PATH, headers, given)

    async def work() -> bytes:
        text, todo = b"", do
        async with asyncio.timeout(WAIT_S), aclosing(messages(server.app, scope)) as parts:
            async for part in parts:
                if part["type"] == "http.response.start":
                    assert part["status"] == 200, part
                    continue
                text += part.get("body", b"")
                if todo is not None:
                    await asyncio.to_thread(todo)
                    todo = None
                if sum(each[0] == kind for each in Heard(text).events) >= count:
                    return text
        return text

    return Heard(server.start(work()).result(WAIT_S + 30), kind, count)


def done(server: Server, position: str, **more: Any) -> Reply:
    given = {"stream": "runs/task", "subscriber": "mailer", "position": position, **more}
    return server.post(DONE, given)


def test_changes_come_in_order_as_the_library_has_them(server: Server, log: Log) -> None:
    view = views.open(log, tally, persist="ephemeral")
    wanted = []
    for change in view.changes("runs/task", "library"):
        wanted.append([change.table, change.offset, change.number])
        change.done()
    found = hear(server, len(wanted)).changes
    assert [[each["table"], each["offset"], each["number"]] for each in found] == wanted
    assert found[0]["after"] == {"name": "run-0", "status": "error", "tokens": 10}
    assert found[0]["before"] is None
    assert found[1]["key"] == ["run-0", 0]
    uid = log.stream("runs/task").uid
    assert [each["id"] for each in found[:2]] == [f"mailer/{uid}@0.0", f"mailer/{uid}@0.1"]


def test_more_come_while_a_reader_listens(server: Server, log: Log) -> None:
    task = log.stream("runs/task")
    heard = hear(server, 2, do=lambda: task.append(event("run-7")), start=6)
    assert heard.positions == ["6.0", "6.1"]
    task.finish()
    ended = hear(server, 1, kind="finished")
    assert len(ended.changes) == 14


def test_what_was_not_done_comes_again_and_what_was_does_not(server: Server) -> None:
    first = hear(server, 5)
    assert hear(server, 5).positions == first.positions
    status = done(server, "1.0")
    assert status.status == 200
    assert (status.value["position"], status.value["lag"]) == (1, 5)
    assert first.positions == ["0.0", "0.1", "1.0", "1.1", "2.0"]
    assert hear(server, 3).positions == ["1.1", "2.0", "2.1"]
    assert done(server, "0.0").value["position"] == 1
    assert hear(server, 1).positions == ["1.1"]
    assert hear(server, 1, subscriber="other").positions == ["0.0"]
    assert done(server, "5.1").value["lag"] == 0
    listed = server.get("/v1/views/tally/subscribers", stream="runs/task").lines
    assert [(each["name"], each["position"]) for each in listed] == [("mailer", 6)]


def test_a_reader_that_comes_back_goes_on_behind_what_it_heard(server: Server) -> None:
    heard = hear(server, 4)
    last = heard.events[2][1]
    assert hear(server, 1, {"last-event-id": last}).positions == [heard.positions[3]]
    for other in ("", "x", "x:1.0", last.split(":")[0] + ":99.0", last.split(":")[0] + ":x"):
        assert hear(server, 1, {"last-event-id": other}).positions == ["0.0"]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"position": "0.9"}, 400), ({"position": "99.0"}, 400), ({"position": "x"}, 400),
        ({"position": "1"}, 400), ({"position": "-1.0"}, 400), ({"subscriber": ""}, 400),
        ({"stream": "no"}, 404), ({"step": "no"}, 400), ({"more": 1}, 400),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(server: Server, given: dict[str, Any], status: int) -> None:
    assert done(server, **{"position": "0.0", **given}).status == status
    assert server.get("/v1/views/tally/subscribers", stream="runs/task").lines == []


def test_an_effect_that_was_announced_comes_again_as_repeated(server: Server) -> None:
    assert done(server, "0.0", step="intent").value["open"].endswith("@0.0")
    first, second = hear(server, 2).changes
    assert (first["position"], first.get("is_repeated")) == ("0.0", True)
    assert second.get("is_repeated") is None
    assert done(server, "0.0").value["open"] is None
    assert hear(server, 1).positions == ["0.1"]


def test_records_without_changes_are_passed(server: Server, log: Log) -> None:
    many = log.create("runs/same")
    many.append_many([event("a")] * 2)
    found = hear(server, 4, stream="runs/same")
    assert found.positions == ["0.0", "0.1", "1.0", "1.1"]


def test_a_record_that_stops_the_view_is_told(server: Server, log: Log) -> None:
    log.stream("runs/task").append(b"no event")
    heard = hear(server, 1, kind="stopped")
    assert len(heard.changes) == 12
    assert heard.events[-1][2]["error"] == "EventError"
    assert heard.events[-1][2]["offset"] == 6


def test_another_history_is_told(server: Server, log: Log) -> None:
    assert done(server, "5.1").status == 200
    log.hide("runs/task")
    log.create("runs/task").append(event("x"))
    # Of another stream: it begins anew.
    assert hear(server, 1).positions == ["0.0"]


def test_a_reader_is_told_that_the_server_is_there(log: Log) -> None:
    server = Server(log, ServerSettings(ping_s=0.05, sse_s=0.4), DECLARED)
    try:
        reply = server.get(PATH, stream="runs/task", subscriber="m", start=6)
        assert reply.status == 200
        assert reply.body.count(b": \n\n") >= 3
    finally:
        server.close()


# Rights


def test_changes_need_what_tables_need_and_done_the_right_of_the_subscriber(server: Server) -> None:
    read, append = frozenset((READ,)), frozenset((APPEND,))
    server.app.granted = Grant("t", (
        ("runs/", read), ("$views/tally", read), ("$views/tally/subscribers/mailer", append),
    ))  # fmt: skip
    assert hear(server, 1).positions == ["0.0"]
    assert done(server, "0.0").status == 200
    assert done(server, "0.0", subscriber="other").status == 403
    assert done(server, "0.0", stream="secret/plan").status == 403
    query = {"stream": "secret/plan", "subscriber": "mailer"}
    assert server.get(PATH, **query).status == 403
    assert server.get("/v1/views/tally/subscribers", stream="secret/plan").status == 403
    assert server.get("/v1/views/other/changes", stream="runs/task", subscriber="m").status == 404
    server.app.granted = Grant("t", (("runs/", read), ("$views/tally", read)))
    assert done(server, "0.0").status == 403
    server.app.granted = Grant("t", (("runs/", read | append),))
    assert done(server, "0.0").status == 404


def test_a_store_that_is_read_delivers_and_takes_no_done(log: Log, tmp_path: Path) -> None:
    with transit.open(tmp_path / "store", mode="read") as reading:
        server = Server(reading, declared=DECLARED)
        try:
            assert hear(server, 1).positions == ["0.0"]
            assert done(server, "0.0").status == 403
        finally:
            server.close()
