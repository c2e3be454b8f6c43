"""A saver and a store over a connection to a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage

pytest.importorskip("uvicorn", reason="needs the extra server")
pytest.importorskip("urllib3", reason="needs the extra client")

import transit
from rigs.server.serving import Serving
from transit.adapters.langgraph import TransitSaver, TransitStore

from .making import agent, calls, config, put, texts, values_of


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server of a new store."""
    with transit.open(tmp_path / "store", durability="os") as log:
        serving = Serving(log)
        yield serving.url
        serving.close()


def test_a_graph_runs_over_a_connection(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with TransitSaver.open(url) as saver, TransitSaver.open(url) as other:
        app = agent(saver, [calls("ls", 1), AIMessage("done")])
        app.invoke({"messages": [HumanMessage("go")]}, config("t"))
        assert texts(app.get_state(config("t"))) == ["go", "", "ran ls", "done"]
        assert other.get_tuple(config("t")) is not None
        root = put(other, config("f"), {"a": [1]})
        put(saver, root, {"a": [1, 2]})
        put(other, root, {"a": [1, 3]})
        assert values_of(saver, config("f")) == {"a": [1, 3]}
        other.copy_thread("f", "copy")
        assert len(list(saver.list(config("copy")))) == 3
        # What a server has its owner deletes.
        assert saver.delete_thread("f").state == "hidden"
        assert "that is done where the store is" in caplog.text
        assert other.get_tuple(config("f")) is None
        assert values_of(saver, config("copy")) == {"a": [1, 3]}


def test_items_over_a_connection(url: str) -> None:
    with TransitStore.open(url) as items:
        items.put(("a", "b"), "k", {"n": 1})
        assert items.get(("a", "b"), "k").value == {"n": 1}
        assert items.list_namespaces() == [("a", "b")]
