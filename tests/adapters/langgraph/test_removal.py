"""Threads, runs and checkpoints that are to go: what is there afterwards, and what is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from tests.engine.canary import places_with
from transit import AlreadyExistsError, RetainedError
from transit.adapters.langgraph import Removed, TransitSaver

from .making import agent, config, put, texts, values_of

CANARY = "canary-3b1f"


def holds(folder: Path) -> bool:
    """Whether any file of a folder has the canary, in compressed blocks too."""
    return bool(places_with(folder, CANARY.encode()))


def said(saver: TransitSaver, thread: str, run_id: str = "") -> None:
    """A run that says the canary."""
    app = agent(saver, [AIMessage(CANARY)])
    more = {"metadata": {"run_id": run_id}} if run_id else {}
    app.invoke({"messages": [HumanMessage(f"go {CANARY}")]}, {**config(thread), **more})


def count(saver: TransitSaver, thread: str) -> int:
    return len(list(saver.list({"configurable": {"thread_id": thread}})))


def test_in_an_exclusive_store_the_bytes_go_at_once(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with TransitSaver.open(store, mode="exclusive", remote=str(tmp_path / "remote")) as saver:
        said(saver, "t")
        said(saver, "other")
        saver.log.publish()
        saver.prune(["other"], strategy="delete")
        said(saver, "t")
        saver.log.publish()
        done = saver.delete_thread("t")
        assert done == Removed("erased", ("langgraph/t",))
        assert not holds(store)
        assert not holds(tmp_path / "remote")
        assert saver.get_tuple(config("t")) is None
        assert saver.log.verify().ok


def test_in_a_shared_store_they_go_when_it_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store"
    with TransitSaver.open(store) as saver:
        said(saver, "t")
        assert saver.delete_thread("t").state == "deleted"
        assert saver.get_tuple(config("t")) is None
        assert holds(store)
    assert not holds(store)
    assert not caplog.records


def test_where_others_have_the_store_open_a_warning_says_what_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TransitSaver.open(tmp_path / "store") as other:
        with TransitSaver.open(tmp_path / "store") as saver:
            said(saver, "t")
            saver.delete_thread("t")
        assert other.get_tuple(config("t")) is None
        assert [each.levelno for each in caplog.records] == [logging.WARNING]
        assert "the bytes stay until log.erase()" in caplog.text
    assert holds(tmp_path / "store")


def test_a_thread_that_was_deleted_may_begin_again(saver: TransitSaver) -> None:
    said(saver, "t")
    saver.delete_thread("t")
    assert saver.delete_thread("t") == Removed()
    put(saver, config("t"), {"a": 1})
    assert count(saver, "t") == 1
    assert values_of(saver, config("t")) == {"a": 1}


def test_a_copy_goes_on_and_is_told(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with TransitSaver.open(store, mode="exclusive") as saver:
        root = put(saver, config("t"), {"a": [CANARY * 100]})
        put(saver, root, {"a": [CANARY * 100, "tip"]})
        put(saver, root, {"a": [CANARY * 100, "fork"]})
        before = saver.log.status().wal_bytes
        saver.copy_thread("t", "copy")
        assert saver.log.status().wal_bytes - before < 2000
        assert count(saver, "copy") == 3
        with pytest.raises(AlreadyExistsError):
            saver.copy_thread("t", "copy")
        done = saver.delete_thread("t")
        assert (done.state, set(done.needed_by)) == (
            "hidden", {"langgraph/copy", "langgraph/copy~1"},
        )  # fmt: skip
        assert count(saver, "t") == 0
        assert values_of(saver, config("copy"))["a"][1] == "fork"
        put(saver, config("copy", checkpoint=root["configurable"]["checkpoint_id"]), {"a": []})
        assert count(saver, "copy") == 4
        # With the last that needs them the hidden records go too.
        assert saver.delete_thread("copy").state == "erased"
        assert not holds(store)


def test_a_copy_of_a_copy_goes_on(saver: TransitSaver) -> None:
    root = put(saver, config("t"), {"a": [1]})
    put(saver, root, {"a": [1, 2]})
    put(saver, root, {"a": [1, 3]})
    saver.copy_thread("t", "u")
    fork = put(saver, config("u", checkpoint=root["configurable"]["checkpoint_id"]), {"a": [1, 4]})
    saver.copy_thread("u", "v")
    put(saver, config("v", checkpoint=fork["configurable"]["checkpoint_id"]), {"a": [1, 4, 5]})
    found = [each.checkpoint["channel_values"]["a"] for each in saver.list(config("v"))]
    assert found == [[1, 4, 5], [1, 4], [1, 3], [1, 2], [1]]
    assert TransitSaver(saver.log).get_tuple(config("v")).checkpoint["channel_values"] == {
        "a": [1, 4, 5]
    }
    saver.copy_thread("nobody", "w")
    assert count(saver, "w") == 0


def test_a_thread_that_is_held_stays(saver: TransitSaver) -> None:
    said(saver, "t")
    saver.log.stream("langgraph/t").hold("case 17")
    for remove in (saver.delete_thread, lambda t: saver.prune([t])):
        with pytest.raises(RetainedError, match="case 17"):
            remove("t")
    assert count(saver, "t") == 3


def test_the_newest_of_each_namespace_stays(tmp_path: Path) -> None:
    with TransitSaver.open(tmp_path / "store", mode="exclusive") as saver:
        first = put(saver, config("t"), {"a": [CANARY, {"n": 1}], "b": "kept"})
        second = put(saver, first, {"a": [{"n": 1}], "b": "kept"}, new=["a"])
        child = put(saver, config("t", "child:1"), {"c": [1]})
        saver.put_writes(second, [("a", "pending"), ("__error__", "e")], "task", "~1")
        whole = [saver.get_tuple(where) for where in (second, child)]
        done = saver.prune(["t", "nobody"])
        assert done.state == "erased"
        assert not holds(tmp_path / "store")
        assert [saver.get_tuple(where) for where in (second, child)] == whole
        assert count(saver, "t") == 2
        # Again nothing is there to be done, and the thread goes on.
        assert saver.prune(["t"]) == Removed()
        put(saver, second, {"a": [{"n": 1}, 2], "b": "kept"}, new=["a"])
        assert values_of(saver, config("t")) == {"a": [{"n": 1}, 2], "b": "kept"}
        assert saver.get_tuple(second) == whole[0]


def test_runs_go_with_what_they_wrote(tmp_path: Path) -> None:
    with TransitSaver.open(tmp_path / "store", mode="exclusive") as saver:
        said(saver, "only", "run-2")
        app = agent(saver, [AIMessage("first"), AIMessage(CANARY), AIMessage("third")])
        for number, text in enumerate(("one", f"two {CANARY}")):
            where = {**config("t"), "metadata": {"run_id": f"run-{number + 1}"}}
            app.invoke({"messages": [HumanMessage(text)]}, where)
        assert saver.delete_for_runs(["run-2", "nobody"]).state == "erased"
        assert not holds(tmp_path / "store")
        assert count(saver, "only") == 0
        assert texts(app.get_state(config("t"))) == ["one", "first"]
        assert saver.delete_for_runs(["run-2"]) == saver.delete_for_runs([]) == Removed()
        app.invoke({"messages": [HumanMessage("more")]}, config("t"))
        assert texts(app.get_state(config("t"))) == ["one", "first", "more", "third"]


def test_what_delta_channels_are_made_of_stays(saver: TransitSaver) -> None:
    delta = pytest.importorskip("langgraph.channels.delta", reason="this version has none")
    graph_ = pytest.importorskip("langgraph.graph")

    def joined(old: list[Any], new: list[Any]) -> list[Any]:
        return [*old, *(item for write in new for item in write)]

    class State(TypedDict):
        seen: Annotated[list[Any], delta.DeltaChannel(joined)]
        turns: int

    State.__annotations__ = {
        "seen": Annotated[list[Any], delta.DeltaChannel(joined)], "turns": int,
    }  # fmt: skip
    graph = graph_.StateGraph(State)
    graph.add_node("step", lambda s: {"seen": [s["turns"]], "turns": s["turns"] + 1})
    graph.add_edge(graph_.START, "step")
    graph.add_conditional_edges(
        "step", lambda s: "step" if s["turns"] < 8 else graph_.END, ["step", graph_.END]
    )
    app = graph.compile(checkpointer=saver)
    app.invoke({"seen": [], "turns": 0}, {**config("t"), "recursion_limit": 50})
    saver.prune(["t"])
    assert app.get_state(config("t")).values["seen"] == list(range(8))
    app.update_state(config("t"), {"seen": ["on"]}, as_node="step")
    assert app.get_state(config("t")).values["seen"] == [*range(8), "on"]


def test_another_strategy_is_refused(saver: TransitSaver) -> None:
    with pytest.raises(ValueError, match="keep_latest or delete"):
        saver.prune(["t"], strategy="some")
