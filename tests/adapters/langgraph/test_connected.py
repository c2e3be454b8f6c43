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
from tests.adapters.conftest import Guarded
from transit import RetainedError
from transit.adapters.langgraph import Removed, TransitSaver, TransitStore

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
        done = saver.delete_thread("f")
        assert (done.state, done.denied) == ("hidden", ())
        assert set(done.needed_by) == {"langgraph/copy", "langgraph/copy~1"}
        assert other.get_tuple(config("f")) is None
        assert values_of(saver, config("copy")) == {"a": [1, 3]}
        assert saver.delete_thread("copy").state == "deleted"
        assert "the bytes stay until log.erase()" in caplog.text


def test_a_token_deletes_or_hides_and_that_is_told(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    def work(token: str) -> list[Removed]:
        with TransitSaver.open(guarded.url, token=token) as saver:
            first = put(saver, config("t"), {"a": [1]})
            put(saver, first, {"a": [1, 2]})
            removed = [saver.prune(["t"])]
            assert values_of(saver, config("t")) == {"a": [1, 2]}
            removed.append(saver.delete_thread("t"))
            assert saver.get_tuple(config("t")) is None
        with TransitStore.open(guarded.url, token=token) as items:
            items.put(("a",), "k", {"n": 1})
            removed.append(items.delete_namespace(("a",)))
            assert items.get(("a",), "k") is None
        return removed

    hidden = work(guarded.recording)
    assert {(each.state, each.streams, each.needed_by) for each in hidden} == {("hidden", (), ())}
    assert [each.denied for each in hidden[:2]] == [("langgraph/t",), ("langgraph/t",)]
    assert len(hidden[2].denied) == 1
    assert "the token lacks the right admin on langgraph/t" in caplog.text
    assert not any(stream.deleted for stream in guarded.log.hidden())
    caplog.clear()
    gone = work(guarded.deleting)
    assert {(each.state, each.needed_by, each.denied) for each in gone} == {("deleted", (), ())}
    assert [each.streams for each in gone] == [each.denied for each in hidden]
    # Their bytes are there until the owner erases, and that is said.
    assert caplog.text.count("the bytes stay until log.erase()") == 3
    assert len(guarded.log.erase().streams) == 3


def test_over_a_connection_a_thread_that_is_held_stays(guarded: Guarded) -> None:
    with TransitSaver.open(guarded.url, token=guarded.deleting) as saver:
        put(saver, config("t"), {"a": [1]})
        guarded.log.stream("langgraph/t").hold("case 17")
        with pytest.raises(RetainedError, match="case 17"):
            saver.delete_thread("t")
        assert values_of(saver, config("t")) == {"a": [1]}


def test_items_over_a_connection(url: str) -> None:
    with TransitStore.open(url) as items:
        items.put(("a", "b"), "k", {"n": 1})
        assert items.get(("a", "b"), "k").value == {"n": 1}
        assert items.list_namespaces() == [("a", "b")]
