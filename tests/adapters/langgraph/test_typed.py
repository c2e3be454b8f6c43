"""Threads are read as typed events, by `transit.trace` and by the command."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt

from transit import trace
from transit.adapters.langgraph import TransitSaver

from .making import agent, calls, config, put, texts


def kinds(saver: TransitSaver, stream: str) -> list[str]:
    """The kinds of the events of a stream."""
    return [type(record.event).__name__ for record in trace.read(saver.log, stream)]


def ran(saver: TransitSaver, thread: str = "t", **more: Any) -> Any:
    """An agent that called one tool."""
    usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
    last = AIMessage("done", id="end", usage_metadata=usage, response_metadata={"model": "m-1"})
    app = agent(saver, [calls("ls", 1), last, AIMessage("other", id="o")])
    app.invoke({"messages": [HumanMessage("go")]}, config(thread), durability="sync", **more)
    return app


def test_a_run_is_read_as_events(saver: TransitSaver) -> None:
    ran(saver)
    found = list(trace.read(saver.log, "langgraph/t"))
    events = [record.event for record in found]
    said = [each for each in events if not isinstance(each, trace.Checkpoint | trace.Custom)]
    assert [type(each).__name__ for each in said] == [
        "Message", "ModelCall", "ToolRequest", "ToolResult", "ModelCall",
    ]  # fmt: skip
    message, first, request, result, last = said
    assert (message.role, message.content) == ("user", "go")
    assert [each["content"] for each in first.request["messages"]] == ["go"]
    assert (request.tool_name, request.arguments) == ("bash", {"cmd": "ls"})
    assert (result.tool_name, result.tool_status, result.result) == ("bash", "success", "ran ls")
    assert [each["content"] for each in last.request["messages"]] == ["go", "", "ran ls"]
    assert (last.request_model, last.input_tokens, last.output_tokens) == ("m-1", 10, 2)
    assert last.response["content"] == "done"
    assert len(found) == len(saver.log.stream("langgraph/t"))


def test_runs_are_listed_and_searched(saver: TransitSaver) -> None:
    ran(saver)
    [run] = trace.runs(saver.log)
    assert (run.name, run.status) == ("langgraph/t", "unfinished")
    totals = trace.read(saver.log, "langgraph/t").totals
    assert (totals.model_calls, totals.tools) == (2, {"bash": (1, 0)})
    assert totals.tokens["m-1"] == (10, 2)
    assert [hit.run for hit in trace.find(saver.log, text="ran ls")] == ["langgraph/t"]


def test_a_fork_is_read_with_what_it_inherits(saver: TransitSaver) -> None:
    app = ran(saver)
    before = next(s for s in app.get_state_history(config("t")) if len(s.values["messages"]) == 3)
    app.invoke(None, before.config, durability="sync")
    found = trace.read(saver.log, "langgraph/t~1")
    assert (found.trace_kind, found.task_id) == ("fork", "t")
    assert any(isinstance(record.event, trace.ModelCall) for record in found)
    assert texts(app.get_state(config("t")))[-1] == "other"
    assert {record.origin.stream for record in found} == {"langgraph/t", "langgraph/t~1"}


def test_interrupts_errors_and_other_values_have_events(saver: TransitSaver) -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("ask", lambda state: {"messages": [AIMessage(interrupt({"which": 1}))]})
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    app = graph.compile(checkpointer=saver)
    app.invoke({"messages": [HumanMessage("go")]}, config("i"))
    handoffs = [
        record.event
        for record in trace.read(saver.log, "langgraph/i")
        if getattr(record.event, "checkpoint_kind", "") == "handoff"
    ]
    assert "'which': 1" in handoffs[0].reason
    where = put(saver, config("e"), {"a": 1})
    saver.put_writes(where, [("__error__", ValueError("broken"))], "task")
    saver.put_writes(where, [("a", {"n": 2}), ("b", [1])], "task-2", "~path")
    saver.put_writes(
        where, [("messages", ToolMessage("no", tool_call_id="c", name="t", status="error"))], "t3"
    )
    events = [record.event for record in trace.read(saver.log, "langgraph/e")]
    assert isinstance(events[0], trace.Checkpoint)
    assert "broken" in str(events[1].data)
    assert events[2].data == {"task": "~path", "values": {"a": {"n": 2}, "b": [[1]]}}
    assert (events[3].tool_name, events[3].tool_status) == ("t", "failure")


def test_messages_in_other_values_are_not_taken_for_one_another(saver: TransitSaver) -> None:
    where = config("t")
    for number in range(50):
        given = {"__start__": {"messages": [HumanMessage(f"{number}")], "n": number}}
        where = put(saver, where, given, metadata={"source": "input"})
    events = [record.event for record in trace.read(saver.log, "langgraph/t")]
    assert [event.content for event in events] == [f"{number}" for number in range(50)]


def test_what_is_enciphered_is_not_looked_into(saver: TransitSaver) -> None:
    encrypted = pytest.importorskip("langgraph.checkpoint.serde.encrypted")

    class Cipher:
        def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
            return "flip", plaintext[::-1]

        def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
            return ciphertext[::-1]

    saver.serde = encrypted.EncryptedSerializer(Cipher())
    ran(saver)
    assert set(kinds(saver, "langgraph/t")) == {"Checkpoint", "Custom"}
    assert "ran ls" not in str([record.event for record in trace.read(saver.log, "langgraph/t")])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("show", "langgraph/t", "--format", "table"), "ran ls"),
        (("show", "langgraph/t"), '"event":"tool_result"'),
        (("why", "langgraph/t@1"), "langgraph/t"),
        (("diff", "langgraph/t", "langgraph/u"), "langgraph/u"),
    ],
)
def test_the_command_takes_a_thread(
    saver: TransitSaver, arguments: tuple[str, ...], expected: str
) -> None:
    ran(saver)
    saver.copy_thread("t", "u")
    put(saver, config("u"), {"a": 1})
    done = subprocess.run(
        [sys.executable, "-m", "transit", *arguments, "--store", saver.log.path],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
