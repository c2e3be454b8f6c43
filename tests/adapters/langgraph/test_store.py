"""Long-term memory: items by namespace and key, beside LangGraph's own store in memory."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.store.base import GetOp, ListNamespacesOp, MatchCondition, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from tests.engine.canary import places_with
from transit import InvalidInputError
from transit.adapters.langgraph import Removed, TransitStore, shelves

NAMESPACES = st.sampled_from([("a",), ("a", "b"), ("a/b",), ("a", "~", " ü"), ("c", "%2F")])
VALUES = st.dictionaries(
    st.sampled_from("xyz"), st.one_of(st.integers(0, 3), st.text(max_size=3), st.lists(st.just(1)))
)
FILTERS = st.one_of(
    st.none(),
    st.builds(lambda v: {"x": v}, st.integers(0, 3)),
    st.builds(lambda op, v: {"x": {op: v}}, st.sampled_from(["$eq", "$ne"]), st.integers(0, 3)),
)
OPS = st.one_of(
    st.builds(
        PutOp, NAMESPACES, st.sampled_from("kl"), st.one_of(st.none(), VALUES), st.none(), st.none()
    ),
    st.builds(GetOp, NAMESPACES, st.sampled_from("kl"), st.just(True)),
    st.builds(
        SearchOp, st.sampled_from([(), ("a",), ("a", "b")]), FILTERS, st.just(100), st.just(0),
        st.none(), st.just(True),
    ),
)  # fmt: skip


def plain(found: Any) -> Any:
    if isinstance(found, list):
        # Namespaces come in the order in which they were made, which in memory reading changes.
        return sorted(map(plain, found))
    return None if found is None else repr((found.namespace, found.key, found.value))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(st.lists(OPS, max_size=5), max_size=6))
def test_it_answers_as_a_store_in_memory_does(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Any]]
) -> None:
    theirs = InMemoryStore()
    with (
        tempfile.TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as folder,
        TransitStore.open(folder, durability="os") as ours,
    ):
        for batch in batches:
            found = [[plain(each) for each in store.batch(batch)] for store in (ours, theirs)]
            assert found[0] == found[1]
        again = TransitStore(ours.log)
        assert plain(again.search(())) == plain(theirs.search(()))


@pytest.fixture
def items(tmp_path: Path) -> Any:
    with TransitStore.open(tmp_path / "store", durability="os") as opened:
        yield opened


def test_pages_and_comparisons(items: TransitStore) -> None:
    for number in range(6):
        items.put(("n",), f"k{number}", {"n": number, "deep": {"m": number % 2}})
    assert [each.key for each in items.search(("n",), limit=2, offset=3)] == ["k3", "k4"]
    assert [each.key for each in items.search(("n",), filter={"n": {"$gt": 1, "$lte": 3}})] == [
        "k2", "k3",
    ]  # fmt: skip
    found = items.search(("n",), filter={"deep": {"m": 1}, "n": {"$gte": 3}})
    assert [each.key for each in found] == ["k3", "k5"]
    assert items.search(("n",), filter={"deep": {"$lt": 1}}) == []
    with pytest.raises(InvalidInputError, match=r"\$near"):
        items.search(("n",), filter={"n": {"$near": 1}})


def test_namespaces_are_listed(items: TransitStore) -> None:
    for namespace in (("a", "b", "c"), ("a", "b", "d"), ("x", "b", "c"), ("gone",)):
        items.put(namespace, "k", {"n": 1})
    items.delete(("gone",), "k")
    assert items.list_namespaces(prefix=("a",)) == [("a", "b", "c"), ("a", "b", "d")]
    assert items.list_namespaces(suffix=("*", "c")) == [("a", "b", "c"), ("x", "b", "c")]
    assert items.list_namespaces(max_depth=2) == [("a", "b"), ("x", "b")]
    assert items.list_namespaces(limit=1, offset=1) == [("a", "b", "d")]
    with pytest.raises(InvalidInputError, match="match_type"):
        items.batch([ListNamespacesOp((MatchCondition("middle", ("a",)),))])  # type: ignore[arg-type]


def test_times_of_an_item_are_told(items: TransitStore) -> None:
    items.put(("n",), "k", {"n": 1})
    first = items.get(("n",), "k")
    items.put(("n",), "k", {"n": 2})
    second = TransitStore(items.log).get(("n",), "k")
    assert second.created_at == first.created_at
    assert second.updated_at >= first.updated_at
    assert second.updated_at > second.created_at


def test_what_has_expired_is_not_there(
    items: TransitStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    items.put(("n",), "k", {"n": 1}, ttl=1.5)
    items.put(("n",), "kept", {"n": 1})
    now = [items.get(("n",), "k", refresh_ttl=False).updated_at.timestamp()]
    monkeypatch.setattr(shelves.time, "time_ns", lambda: int(now[0] * 10**9))
    now[0] += 80
    assert items.get(("n",), "k", refresh_ttl=False) is not None
    now[0] += 20
    assert items.get(("n",), "k") is None
    assert [each.key for each in items.search(("n",))] == ["kept"]
    # Its record stays where it is.
    assert items.log.stream("langgraph-store/n")[0].headers["key"] == "k"


def test_reading_begins_the_time_to_live_again(items: TransitStore) -> None:
    items.put(("n",), "k", {"n": 1}, ttl=1.5)
    items.get(("n",), "k")
    items.search(("n",))
    items.get(("n",), "k", refresh_ttl=False)
    kinds = [record.headers["kind"] for record in items.log.stream("langgraph-store/n")]
    assert kinds == ["put", "touch", "touch"]
    shelf = shelves.Shelf(("n",))
    shelf.refresh(items.log)
    last = items.log.stream("langgraph-store/n")[-1].timestamp
    assert shelf.get("k").expires == last + 90 * 10**9  # type: ignore[union-attr]


def test_a_default_time_to_live_is_taken(tmp_path: Path) -> None:
    with TransitStore.open(tmp_path / "store", ttl={"default_ttl": 2.0}) as items:
        items.put(("n",), "k", {"n": 1})
        assert items.log.stream("langgraph-store/n")[0].headers["ttl"] == "2.0"


def test_meanings_are_not_searched(items: TransitStore) -> None:
    with pytest.raises(NotImplementedError, match="TransitStore"):
        items.search(("n",), query="what is it like?")


def test_a_namespace_goes_with_all_it_ever_had(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with TransitStore.open(store, mode="exclusive") as items:
        items.put(("n", "user"), "k", {"text": "canary-1a"})
        items.put(("n", "user"), "k", {"text": "later"})
        items.delete(("n", "user"), "k")
        items.log.seal()
        assert places_with(store, b"canary-1a")
        assert items.delete_namespace(("n", "user")).state == "erased"
        assert not places_with(store, b"canary-1a")
        assert items.delete_namespace(("n", "user")) == Removed()
        items.put(("n", "user"), "k", {"text": "new"})
        assert items.get(("n", "user"), "k").value == {"text": "new"}


def test_it_is_all_or_nothing(items: TransitStore) -> None:
    with pytest.raises(Exception, match="serializable"):
        items.batch([PutOp(("n",), "k", {"n": 1}), PutOp(("n",), "l", {"n": object()})])
    assert items.search(()) == []


def test_asynchronous_calls(items: TransitStore) -> None:
    async def main() -> Any:
        await items.aput(("n",), "k", {"n": 1})
        return await items.aget(("n",), "k")

    assert asyncio.run(main()).value == {"n": 1}


def test_two_stores_see_each_other(items: TransitStore) -> None:
    other = TransitStore(items.log)
    items.put(("n",), "k", {"n": 1})
    assert other.get(("n",), "k").value == {"n": 1}
    other.delete_namespace(("n",))
    assert items.get(("n",), "k") is None
    items.put(("n",), "k", {"n": 2})
    assert other.get(("n",), "k").value == {"n": 2}
