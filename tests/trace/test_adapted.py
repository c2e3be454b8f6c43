"""Streams whose records are another stack's own: events are made of them by a view."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import transit
from transit import InvalidInputError, Record, Stream, trace
from transit.trace import views

META = {"adapter": "pager", "task_id": "page", "created_at": 1}


def view(stream: Stream) -> Callable[[Record], trace.Event | trace.Unknown]:
    """Of this stack a record is a letter and a text; "+" says the text before again, and more."""
    before = [""]

    def take(record: Record) -> trace.Event | trace.Unknown:
        kind, text = record.payload[:1], record.payload[1:].decode()
        if kind == b"+":
            text = before[0] + text
        before[0] = text
        if kind == b"e":
            return trace.RunEnd(status="completed")
        if kind == b"t":
            return trace.ToolRequest(tool_call_id=text, tool_name="bash", arguments={})
        if kind == b"m":
            return trace.ModelCall(request_model="m", input_tokens=3, output_tokens=4)
        return trace.Message(message={"role": "user", "content": text})

    return take


@pytest.fixture
def pages(log: transit.Log, monkeypatch: pytest.MonkeyPatch) -> Stream:
    monkeypatch.setattr(views, "_views", {})
    trace.register_view("pager", view)
    made = log.create("page", META)
    made.append_many([b"uhello", b"+ world", b"t1", b"m"])
    return made


def test_records_are_read_as_the_view_says(log: transit.Log, pages: Stream) -> None:
    found = trace.read(log, "page")
    events = [record.event for record in found]
    assert [type(event).__name__ for event in events] == [
        "Message", "Message", "ToolRequest", "ModelCall",
    ]  # fmt: skip
    assert events[1].content == "hello world"
    assert [record.payload for record in found][1] == b"+ world"
    assert [record.offset for record in found.open_calls] == [2]
    assert found.totals.tool_calls == 1
    assert found.tokens == (3, 4)
    assert found.ended is None
    pages.append(b"e")
    assert found.ended == trace.RunEnd(status="completed")


def test_a_branch_reads_what_it_inherits_too(log: transit.Log, pages: Stream) -> None:
    other = pages.branch("page-2", at=0, metadata=META)
    other.append(b"+ moon")
    found = trace.read(log, other)
    assert [record.event.content for record in found] == ["hello", "hello moon"]
    assert found.totals.events == 1


def test_they_are_listed_and_found(log: transit.Log, pages: Stream) -> None:
    runs = list(trace.runs(log))
    assert [(run.name, run.status) for run in runs] == [("page", "unfinished")]
    pages.append(b"e")
    assert [run.status for run in trace.runs(log)] == ["completed"]
    assert [(hit.offset, hit.where) for hit in trace.find(log, text="hello world")] == [
        (1, "message.content")
    ]


def test_a_view_is_loaded_when_it_is_needed(log: transit.Log, pages: Stream) -> None:
    trace.register_view("pager", f"{__name__}:missing")
    with pytest.raises(AttributeError):
        list(trace.read(log, "page"))
    trace.register_view("pager", "no_such_stack.here:view")
    assert {record.event for record in trace.read(log, "page")} == {trace.Unknown("pager", None)}


def test_a_stream_of_a_stack_that_nobody_views_is_read_as_events(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "_views", {})
    made = log.create("other", {"adapter": "nobody's"})
    made.append(b'{"event":"custom","name":"x"}')
    assert [record.event for record in trace.read(log, made)] == [trace.Custom(name="x")]


@pytest.mark.parametrize("wrong", [None, 3, "module", "a:b:c"])
def test_what_is_no_view_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidInputError):
        trace.register_view("pager", wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        trace.register_view("", view)
