"""Situations in which savers were reported to go wrong, each tried here.

What was reported: langgraph#4168, #6239, #6890, #7105, #7201, #7206, #8039, #8656, langgraphjs#578,
#1996, #2504.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from transit import ConflictError
from transit.adapters.langgraph import TransitSaver

from .making import config, put, values_of


def ids(found: Any) -> list[str]:
    return [each.checkpoint["id"] for each in found]


def test_a_checkpoint_put_again_keeps_its_writes(saver: TransitSaver) -> None:
    where = put(saver, config("t"), {"a": 1})
    saver.put_writes(where, [("__interrupt__", "which?")], "task")
    found = saver.get_tuple(where)
    again = {**found.checkpoint, "channel_values": {"a": 2}}
    saver.put(config("t"), again, found.metadata, {"a": 1})
    for each in (saver, TransitSaver(saver.log)):
        assert each.get_tuple(where).pending_writes == [("task", "__interrupt__", "which?")]
        assert values_of(each, where) == {"a": 2}


def test_a_checkpoint_put_again_changes_none_that_went_on_from_it(saver: TransitSaver) -> None:
    where = put(saver, config("t"), {"a": [1], "b": "old"})
    tip = put(saver, where, {"a": [1, 2], "b": "old"}, new=["a"])
    found = saver.get_tuple(where)
    again = {**found.checkpoint, "channel_values": {"a": [9], "b": "new"}}
    saver.put(config("t"), again, found.metadata, found.checkpoint["channel_versions"])
    fork = put(saver, where, {"a": [9, 3], "b": "new"}, new=["a"])
    for each in (saver, TransitSaver(saver.log)):
        assert values_of(each, tip)["a"] == [1, 2]
        assert values_of(each, where) == {"a": [9], "b": "new"}
        assert values_of(each, fork)["a"] == [9, 3]


def test_writes_that_are_put_again_after_a_restart_are_one(tmp_path: Path) -> None:
    with TransitSaver.open(tmp_path / "store") as saver:
        where = put(saver, config("t"), {"a": 1})
        saver.put_writes(where, [("a", 1), ("b", 2)], "task", "~p")
        before = saver.get_tuple(where).pending_writes
    with TransitSaver.open(tmp_path / "store") as saver:
        saver.put_writes(where, [("a", 1), ("b", 2)], "task", "~p")
        assert saver.get_tuple(where).pending_writes == before
        assert len(saver.log.stream("langgraph/t")) == 2


def test_any_member_of_the_metadata_is_looked_for(saver: TransitSaver) -> None:
    odd = {"tenant id": "acme", "a.b": 1, "$x": None, "deep": {"n": [1]}}
    put(saver, config("t"), {"a": 1}, metadata=odd)
    put(saver, {**config("u"), "metadata": {"user": "ada"}}, {"a": 1})
    for key, value in odd.items():
        if value is not None:
            assert len(list(saver.list(None, filter={key: value}))) == 1
    assert len(list(saver.list(None, filter={"user": "ada"}))) == 1
    assert list(saver.list(None, filter={"user": "ada'; --"})) == []


def test_a_listing_may_name_no_thread(saver: TransitSaver) -> None:
    for thread in "abc":
        put(saver, config(thread), {"a": 1})
    for where in (None, {"configurable": {}}, {}):
        assert len(list(saver.list(where))) == 3
    assert len(list(saver.list(None, limit=2))) == 2


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_is_none_gives_nothing(saver: TransitSaver, limit: int) -> None:
    put(saver, config("t"), {"a": 1})
    assert list(saver.list(config("t"), limit=limit)) == []


def test_before_may_be_of_another_namespace_or_thread(saver: TransitSaver) -> None:
    first = put(saver, config("t"), {"a": 1})
    child = put(saver, config("t", "child:1"), {"a": 1})
    last = put(saver, first, {"a": 2})
    only = {"configurable": {"checkpoint_id": child["configurable"]["checkpoint_id"]}}
    for before in (child, only):
        found = ids(saver.list(config("t"), before=before))
        assert found == [first["configurable"]["checkpoint_id"]]
    assert len(list(saver.list({"configurable": {"thread_id": "t"}}, before=last))) == 2


def test_a_number_names_a_thread_as_its_text_does(saver: TransitSaver) -> None:
    put(saver, {"configurable": {"thread_id": 1, "checkpoint_ns": ""}}, {"a": 1})
    assert values_of(saver, config("1")) == {"a": 1}
    saver.delete_thread(1)  # type: ignore[arg-type]
    assert saver.get_tuple(config("1")) is None


def test_what_comes_late_does_not_bring_a_thread_back(saver: TransitSaver) -> None:
    where = put(saver, config("t"), {"a": 1})
    other = TransitSaver(saver.log)
    assert other.get_tuple(where) is not None
    saver.delete_thread("t")
    for each in (saver, other):
        with pytest.raises(ConflictError, match="was removed"):
            put(each, where, {"a": 2})
        with pytest.raises(ConflictError, match="was removed"):
            each.put_writes(where, [("a", 2)], "task")
        assert each.get_tuple(config("t")) is None
    put(saver, config("t"), {"a": "new"})
    assert len(list(other.list(config("t")))) == 1


def test_what_changes_while_it_is_serialized_is_recorded_the_next_time(
    saver: TransitSaver,
) -> None:
    class Meanwhile(JsonPlusSerializer):
        """Another thread changes a message at the worst moment."""

        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            found = super().dumps_typed(obj)
            if isinstance(obj, HumanMessage) and obj.content == "before":
                obj.content = "after"
            return found

    saver.serde = Meanwhile()
    state = [HumanMessage("before", id="a")]
    where = put(saver, config("t"), {"messages": state})
    where = put(saver, where, {"messages": [*state, HumanMessage("more", id="b")]})
    assert [each.content for each in values_of(saver, where)["messages"]] == ["after", "more"]


def test_odd_text_is_kept(saver: TransitSaver) -> None:
    for text in ("a\0b", "\u2028", "𝄞", "x" * 100_000):
        where = put(saver, config("t", f"ns {text[:50]}"), {text[:50]: [text, {text: text}]})
        saver.put_writes(where, [(text[:50], text)], f"task {text[:50]}")
        found = TransitSaver(saver.log).get_tuple(where)
        assert found.checkpoint["channel_values"] == {text[:50]: [text, {text: text}]}
        assert found.pending_writes == [(f"task {text[:50]}", text[:50], text)]


def test_records_are_in_the_order_of_the_calls(saver: TransitSaver) -> None:
    where = put(saver, config("t"), {"a": 1})
    saver.put_writes(where, [("a", 2)], "task")
    put(saver, where, {"a": 2})
    kinds = [record.headers["kind"] for record in saver.log.stream("langgraph/t")]
    assert kinds == ["checkpoint", "writes", "checkpoint"]
