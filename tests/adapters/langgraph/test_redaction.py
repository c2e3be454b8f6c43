"""What must not be recorded is nowhere, and values keep their types."""

from __future__ import annotations

import dataclasses
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.types import Send, interrupt

from tests.engine.canary import places_with
from transit import trace
from transit.adapters.langgraph import TransitSaver, TransitStore
from transit.adapters.langgraph.redacting import FAILED, Cleaner

from .making import agent, calls, config, put, texts, values_of

CANARY = "canary-9d2e"
POLICY = trace.Redaction(patterns=[CANARY], fields=["password"])


def places(folder: Path) -> list[str]:
    return places_with(folder, CANARY.encode())


def test_a_canary_is_nowhere(tmp_path: Path) -> None:
    store, remote = tmp_path / "store", tmp_path / "remote"
    with TransitSaver.open(store, remote=str(remote), redact=POLICY) as saver:
        app = agent(saver, [calls(CANARY, 1), AIMessage(CANARY, name=CANARY)])
        where = config(f"thread {CANARY}")
        where["metadata"] = {"user": CANARY, "password": "secret-77"}
        app.invoke({"messages": [HumanMessage(f"go {CANARY}", id=CANARY)]}, where)
        found = texts(app.get_state(where))
        assert found == ["go [redacted]", "", "ran [redacted]", "[redacted]"]
        child = put(saver, config(f"t {CANARY}", f"ns:{CANARY}"), {CANARY: {CANARY: CANARY}})
        saver.put_writes(child, [(CANARY, [CANARY]), ("__error__", ValueError(CANARY))], CANARY)
        assert saver.get_tuple(child).pending_writes[1][2] == ["[redacted]"]
        assert places(store) == []
        names = [stream.name for stream in saver.log.streams("langgraph/")]
        assert all(name.startswith("langgraph/~") for name in names)
        record = saver.log.stream(names[0])[0]
        assert int(record.headers["redacted"]) >= 2
        # Whoever has the thread's id finds it, and nobody else's.
        assert saver.get_tuple(config(f"other {CANARY}")) is None
    assert places(store) == []
    assert places(remote) == []
    assert places_with(store, b"secret-77") == []


def test_a_canary_is_in_no_item(tmp_path: Path) -> None:
    with TransitStore.open(tmp_path / "store", redact=POLICY) as items:
        items.put(("users", CANARY), CANARY, {"text": f"is {CANARY}", "password": "x"})
        found = items.get(("users", CANARY), CANARY)
        assert found.value == {"text": "is [redacted]", "password": "[redacted]"}
        assert len(items.search(("users",))) == 1
        assert places(tmp_path / "store") == []


def test_without_a_policy_state_is_what_it_was(saver: TransitSaver) -> None:
    where = put(saver, config("t"), {"a": CANARY, "password": "x"})
    assert values_of(saver, where) == {"a": CANARY, "password": "x"}


class Pair(NamedTuple):
    left: str
    right: object


@dataclasses.dataclass(frozen=True)
class Note:
    text: str
    password: str = "x"


class Opaque:
    def __repr__(self) -> str:
        return f"<{CANARY}>"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (f"a {CANARY}", "a [redacted]"),
        ([f"{CANARY}", 1], ["[redacted]", 1]),
        ((CANARY, None), ("[redacted]", None)),
        ({CANARY}, {"[redacted]"}),
        (deque([CANARY], 3), deque(["[redacted]"], 3)),
        (Pair(CANARY, [CANARY]), Pair("[redacted]", ["[redacted]"])),
        (Note(CANARY), Note("[redacted]", "[redacted]")),
        ({CANARY: 1, "password": 2}, {"[redacted]": 1, "password": "[redacted]"}),
        (CANARY.encode(), b"[redacted]"),
        (Send("node", {"x": CANARY}), Send("node", {"x": "[redacted]"})),
        (ValueError(CANARY), "ValueError('[redacted]')"),
        (Opaque(), FAILED),
    ],
)
def test_values_keep_their_types(given: Any, expected: Any) -> None:
    cleaner = Cleaner(POLICY)
    found = cleaner.value(given)
    assert found == expected
    assert type(found) is type(expected)
    assert cleaner.count
    # The same once more: what stands for it has nothing to hide.
    assert repr(Cleaner(POLICY).value(given)) == repr(found)


def test_what_is_given_is_not_changed() -> None:
    message = AIMessage(CANARY, additional_kwargs={"deep": [{"password": CANARY}]}, id="a")
    before = message.model_dump()
    found = Cleaner(POLICY).value(message)
    assert (type(found), found.content) == (AIMessage, "[redacted]")
    assert found.additional_kwargs == {"deep": [{"password": "[redacted]"}]}
    assert message.model_dump() == before
    clean = {"messages": [AIMessage("fine")], "n": (1, [2])}
    assert Cleaner(POLICY).value(clean) is clean


def test_what_cannot_be_looked_into_is_left_out() -> None:
    deep: Any = CANARY
    for _ in range(5000):
        deep = [deep]
    assert Cleaner(POLICY).value(deep) == FAILED


def test_an_interrupt_is_redacted(tmp_path: Path) -> None:
    from langgraph.graph import END, START, MessagesState, StateGraph

    with TransitSaver.open(tmp_path / "store", redact=POLICY) as saver:
        graph = StateGraph(MessagesState)
        graph.add_node("ask", lambda state: {"messages": [interrupt(CANARY)]})
        graph.add_edge(START, "ask")
        graph.add_edge("ask", END)
        app = graph.compile(checkpointer=saver)
        app.invoke({"messages": [HumanMessage("go")]}, config("t"))
        assert app.get_state(config("t")).interrupts[0].value == "[redacted]"
    assert places(tmp_path / "store") == []
