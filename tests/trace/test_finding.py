"""Finding what was said in many runs: where it stands, once, and in the run it belongs to."""

from __future__ import annotations

import re
from typing import Any

import pytest

import transit
from transit import trace
from transit.trace import finding

CONVERSATION = "a text of the conversation that is longer than what is written inline"


def places(log: transit.Log, prefix: str = "", **options: Any) -> list[tuple[str, int, str]]:
    return [(each.run, each.offset, each.where) for each in trace.find(log, prefix, **options)]


def converse(task: trace.Task, turns: int) -> list[dict[str, object]]:
    """A conversation whose requests repeat all of it; each answer is a text of its own."""
    said: list[dict[str, object]] = [{"role": "user", "content": f"{CONVERSATION} needle 0"}]
    task.message("user", said[0]["content"])
    for turn in range(1, turns + 1):
        answer = {"role": "assistant", "content": f"{CONVERSATION} needle {turn}"}
        task.model_call(
            model="m", request={"messages": list(said)}, response={"choices": [{"message": answer}]}
        )
        said.append(answer)
    return said


@pytest.mark.parametrize(
    ("write", "where"),
    [
        (lambda task: task.message("user", "a Needle here"), "message.content"),
        (lambda task: task.message("user", [{"type": "text", "text": "needle"}]),
         "message.content[0].text"),
        (lambda task: task.model_call(model="m", request={"prompt": "NEEDLE" * 20}),
         "request.prompt"),
        (lambda task: task.model_call(model="m", response=["x", "needle"]), "response[1]"),
        (lambda task: task.model("m", {"messages": [{"role": "user", "content": "needle"}]}),
         "request.messages[0].content"),
        (lambda task: task.tool("bash", {"cmd": ["needle"]}), "arguments.cmd[0]"),
        (lambda task: task.tool("bash").result({"out": "needle"}), "result.out"),
        (lambda task: task.tool("bash").failure(ValueError("needle")), "error.message"),
        (lambda task: task.call("f", {"x": "needle"}, lambda x: None), "arguments.kwargs.x"),
        (lambda task: task.evaluate("judge", decision="x", reason="needle"), "reason"),
        (lambda task: task.custom("mine", {"deep": {"er": "needle"}}), "data.deep.er"),
        (lambda task: task.checkpoint("final", status="success", reason="needle"), "reason"),
        (lambda task: task.end(ValueError("needle")), "error.message"),
        (lambda task: task.stream.append(b'{"event":"later","text":"needle"}'), "data.text"),
    ],
)  # fmt: skip
def test_a_text_is_found_where_it_stands(log: transit.Log, write: Any, where: str) -> None:
    task = trace.task(log, "t")
    task.message("user", "hay")
    write(task)
    found = list(trace.find(log, text="needle"))
    if where.startswith("arguments.kwargs"):
        assert len(found) == 1
    else:
        assert [each.where for each in found] == [where]
    (each,) = found
    assert each.run == "t"
    assert each.excerpt[each.start : each.stop].lower() == "needle"
    record = list(trace.read(log, "t"))[each.offset]
    assert (each.record.offset, each.record.event) == (each.offset, record.event)


@pytest.mark.parametrize("turns", [1, 5])
def test_what_requests_repeat_is_found_where_it_is_said_first(log: transit.Log, turns: int) -> None:
    converse(trace.task(log, "t"), turns)
    found = places(log, text="needle")
    assert [offset for _, offset, _ in found] == list(range(turns + 1))
    assert found[0][2] == "message.content"
    assert {where for _, _, where in found[1:]} == {"response.choices[0].message.content"}
    for turn in range(turns + 1):
        assert [offset for _, offset, _ in places(log, text=f"needle {turn}")] == [turn]


def test_a_planted_search_that_sees_repeats_is_noticed(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    converse(trace.task(log, "t"), 5)
    monkeypatch.setattr(finding._Said, "_is_said", lambda said, value: False)
    assert len(places(log, text="needle 0")) == 6


def test_what_is_said_again_is_found_again(log: transit.Log) -> None:
    task = trace.task(log, "t")
    for _ in range(3):
        task.message("user", f"{CONVERSATION} needle")
        task.tool("bash").result(f"{CONVERSATION} needle")
    assert [offset for _, offset, _ in places(log, text="needle")] == [0, 2, 3, 5, 6, 8]


def test_what_is_only_in_a_request_is_found_there(log: transit.Log) -> None:
    task = trace.task(log, "t")
    messages = [{"role": "system", "content": f"{CONVERSATION} needle"}]
    task.model_call(model="m", request={"messages": messages})
    task.model_call(model="m", request={"messages": messages})
    found = places(log, text="needle")
    assert found == [("t", 0, "request.messages[0].content")]
    # One that is not asked for has said it all the same.
    assert places(log, text="needle", role="system") == found
    assert places(log, text="needle", role="user") == []


def test_a_record_is_found_once_however_often_it_says_so(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.tool("bash", {"a": "needle needle", "b": ["needle"]})
    assert places(log, text="needle") == [("t", 0, "arguments.a")]


def test_what_a_branch_or_merge_inherits_is_found_in_the_run_it_belongs_to(
    log: transit.Log,
) -> None:
    task = trace.task(log, "t")
    said = converse(task, 2)
    branch = task.retry(name="b")
    branch.model_call(model="m", request={"messages": said}, response={"content": "own needle"})
    merged = trace.merge(log, [task, branch], policy="append", name="m")
    merged.model_call(model="m", request={"messages": said}, response={"content": "last needle"})
    found = places(log, text="needle")
    assert [place[:2] for place in found if place[0] == "t"] == [("t", 0), ("t", 1), ("t", 2)]
    assert [place for place in found if place[0] == "b"] == [("b", 3, "response.content")]
    (of_merge,) = [place for place in found if place[0] == "m"]
    assert of_merge[1] == merged.last


def test_records_are_found_by_what_they_are(log: transit.Log) -> None:
    with trace.task(log, "a") as task:
        task.message("user", "ask")  # 0
        task.model_call(model="m-1", response={"role": "assistant", "content": "answer"})  # 1
        task.tool("bash", {"cmd": "x"}).failure("no such file")  # 2, 3
        task.tool("edit", {"cmd": "x"}).result("done")  # 4, 5
        task.model("m-2").failure(TimeoutError("late"))  # 6, 7
    other = trace.task(log, "b")
    other.message("user", "ask")
    other.end(ValueError("boom"))

    def offsets(**options: Any) -> list[int]:
        return [offset for _, offset, _ in places(log, "a", **options)]

    assert offsets(tool="bash") == [2, 3]
    assert offsets(tool="bash", failed=True) == [3]
    assert offsets(failed=True) == [3, 7]
    assert offsets(failed=False) == [1, 5, 8]
    assert offsets(model="m-1") == [1]
    assert offsets(model="m-2") == [6, 7]
    assert offsets(kind="message") == [0]
    assert offsets(role="user") == [0]
    assert offsets(role="assistant") == [1]
    assert offsets(error="NO SUCH") == [3]
    assert offsets(error="late", text="LATE") == [7]
    assert offsets(error="late", text="other") == []
    assert offsets(text=re.compile("^do.e$")) == [5]
    assert offsets(text="done", tool="bash") == []
    assert [place[:2] for place in places(log, failed=True, kind="run_end")] == [("b", 1)]
    assert len(list(trace.find(log, limit=3))) == 3
    assert list(trace.find(log, limit=0)) == []
    times = [record.timestamp for record in log.stream("a")]
    assert offsets(since=times[4]) == [n for n, each in enumerate(times) if each >= times[4]]
    assert offsets(until=times[4]) == [n for n, each in enumerate(times) if each < times[4]]


def test_an_excerpt_is_short_and_shows_the_match(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.tool("bash", "x" * 1000 + "needle" + "y" * 1000)
    task.tool("bash", "z" * 5000)
    found, = trace.find(log, text="needle")  # fmt: skip
    assert len(found.excerpt) == 6 + 2 * 40 + 2
    assert found.excerpt[found.start : found.stop] == "needle"
    assert found.excerpt.startswith("…x")
    assert found.excerpt.endswith("y…")
    for each in trace.find(log, text=re.compile("z+")):
        assert len(each.excerpt) < 200
        assert each.excerpt[each.start : each.stop].strip("z…") == ""
        assert each.stop <= len(each.excerpt)


def test_streams_that_are_no_runs_and_layers_are_not_looked_at(log: transit.Log) -> None:
    log.create("plain").append(b'{"event":"message","message":{"value":{"content":"needle"}}}')
    trace.task(log, "t").artifact(b"needle", kind="file")
    assert places(log, text="needle") == []


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": 3}, {"tool": 3}, {"failed": "x"}, {"error": ""}, {"text": ""}, {"text": 3},
        {"text": re.compile(b"x")}, {"role": 1}, {"kind": "odd"}, {"model": 2}, {"since": "x"},
        {"until": 0.5}, {"limit": "3"},
    ],
)  # fmt: skip
def test_what_cannot_be_looked_for_is_refused_at_once(
    log: transit.Log, options: dict[str, Any]
) -> None:
    with pytest.raises(transit.InvalidInputError):
        trace.find(log, **options)


def test_deep_values_and_odd_records_are_no_error(log: transit.Log) -> None:
    task = trace.task(log, "t")
    deep: object = "needle"
    for _ in range(100):
        deep = [deep]
    task.tool("bash", deep)
    for payload in (b"\x00", b"{", b'{"event":3}', b'{"event":"tool_request"}', b"[[["):
        log.stream("t").append(payload)
    assert [offset for _, offset, _ in places(log, text="needle")] == [0]
    assert len(places(log)) == 6
