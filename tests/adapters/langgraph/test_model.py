"""A saver beside LangGraph's own saver in memory: the same calls, the same answers."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from transit.adapters.langgraph import TransitSaver

from .making import config

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), st.text(max_size=5),
    st.binary(max_size=5), st.just("long " * 60),
)  # fmt: skip
MESSAGES = st.one_of(
    st.builds(HumanMessage, content=st.text(max_size=8), id=st.sampled_from("abc")),
    st.builds(
        lambda text, n: AIMessage(
            text, id="ai", tool_calls=[{"name": "t", "args": {"n": n}, "id": "c"}]
        ),
        st.text(max_size=8), st.integers(0, 3),
    ),
    st.builds(ToolMessage, content=st.text(max_size=8), tool_call_id=st.just("c")),
)  # fmt: skip
VALUES = st.one_of(
    SCALARS,
    st.lists(st.one_of(SCALARS, MESSAGES), max_size=4),
    st.dictionaries(st.text(max_size=3), SCALARS, max_size=3),
    st.lists(st.dictionaries(st.text(max_size=3), SCALARS, max_size=2), max_size=3),
)
CHANNELS = ("messages", "notes", "count")
# How a list goes on: with more, without its first, changed in the middle, or turned round.
CHANGES = ("more", "less", "middle", "reverse", "same")


def changed(value: Any, how: str, new: Any) -> Any:
    """The value of a channel one step later."""
    if not isinstance(value, list) or how == "same":
        return new
    if how == "more":
        return [*value, new, new]
    if how == "less":
        return value[1:]
    if how == "middle":
        return [*value[: len(value) // 2], new, *value[len(value) // 2 + 1 :]]
    return value[::-1]


class Both:
    """The same calls to both savers."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.ours = TransitSaver.open(folder, durability="os")
        self.theirs = InMemorySaver()
        # Configuration, values and versions of all checkpoints, in order.
        self.put: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = []
        self.count = 0

    def checkpoint(self, parent: int | None, thread: str, ns: str, data: st.DataObject) -> None:
        """Put a checkpoint after the one with this number."""
        where, values, versions = config(thread, ns), {}, {}
        if parent is not None and self.put:
            where, values, versions = self.put[parent % len(self.put)]
        values, new = dict(values), data.draw(st.sets(st.sampled_from(CHANNELS)))
        for name in sorted(new):
            how, value = data.draw(st.sampled_from(CHANGES)), data.draw(VALUES)
            values[name] = changed(values.get(name), how, value)
        if "count" in new and data.draw(st.booleans()):
            # A channel that has no value any more.
            del values["count"]
        self.count += 1
        # In memory two checkpoints with one version of a channel have one value of it.
        versions = {**versions, **dict.fromkeys(new, self.count)}
        made = {
            "v": 4, "id": f"{self.count:08}", "ts": "2026-01-01", "channel_values": values,
            "channel_versions": versions, "versions_seen": {"n": dict(versions)},
            "updated_channels": sorted(new),
        }  # fmt: skip
        metadata = {"source": "loop", "step": self.count % 3, "parents": {}}
        # Values that did not change need not be said again.
        said = dict(made, channel_values={**values})
        news = {name: versions[name] for name in new}
        found = [each.put(where, said, metadata, news) for each in (self.ours, self.theirs)]
        assert found[0] == found[1]
        self.put.append((found[0], values, versions))

    def writes(self, number: int, task: str, path: str, writes: list[tuple[str, Any]]) -> None:
        """Put the writes of a task after the checkpoint with this number."""
        if self.put:
            where = self.put[number % len(self.put)][0]
            for each in (self.ours, self.theirs):
                each.put_writes(where, writes, task, path)

    def reopen(self) -> None:
        """Another process goes on."""
        self.ours.close()
        self.ours = TransitSaver.open(self.folder, durability="os")

    def compare(self) -> None:
        """All that can be asked has the same answers."""
        for where, _, _ in self.put:
            assert plain(self.ours.get_tuple(where)) == plain(self.theirs.get_tuple(where))
        for thread in ("a", "b/~c"):
            for ns in ("", "child:1"):
                where = config(thread, ns)
                assert plain(self.ours.get_tuple(where)) == plain(self.theirs.get_tuple(where))
                for more in ({}, {"filter": {"step": 1}}, {"limit": 2}):
                    found = [list(s.list(where, **more)) for s in (self.ours, self.theirs)]
                    assert [*map(plain, found[0])] == [*map(plain, found[1])]


def plain(found: Any) -> Any:
    """A tuple of a checkpoint, so that 1 and True are two."""
    if found is None:
        return None
    # Older versions have pending writes in another order; test_saver.py holds ours.
    said = {**found._asdict(), "pending_writes": sorted(found.pending_writes, key=repr)}
    return repr(normal(said))


def normal(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: normal(value[key]) for key in sorted(value, key=repr)}
    if isinstance(value, list | tuple):
        return [normal(each) for each in value]
    return value


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("checkpoint"), st.one_of(st.none(), st.just(-1), st.integers(0, 6)),
            st.sampled_from(("a", "b/~c")), st.sampled_from(("", "child:1")),
        ),
        st.tuples(
            st.just("writes"), st.integers(0, 6), st.sampled_from("xy"), st.sampled_from(("", "p")),
            st.lists(
                st.tuples(st.sampled_from((*CHANNELS, "__error__", "__interrupt__")), VALUES),
                min_size=1, max_size=3,
            ),
        ),
        st.tuples(st.just("reopen")),
    ),
    max_size=14,
)  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, data=st.data())
def test_it_answers_as_a_saver_in_memory_does(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as folder:
        both = Both(folder)
        try:
            for name, *given_ in steps:
                note(f"{name} {given_!r}")
                if name == "checkpoint":
                    both.checkpoint(*given_, data)
                elif name == "writes":
                    both.writes(*given_)
                else:
                    both.reopen()
            both.compare()
            both.reopen()
            both.compare()
        finally:
            both.ours.close()
