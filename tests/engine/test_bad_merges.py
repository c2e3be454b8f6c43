"""Every bad merge or batch gets its own clear error and leaves the store as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import (
    InvalidInputError,
    NotFoundError,
    Position,
)

from .refusals import Contents, Store, ask, batched, refused, shown

# Merges


@pytest.mark.parametrize(
    "choose",
    [
        lambda store: [],
        lambda store: [store.s],
        lambda store: [store.s, store.s],
        lambda store: [store.s, store.child, Position("s", 0)],
        lambda store: [store.s, store.log.stream("s")],
        lambda store: [Position("s", 0), Position("s", 1)],
        lambda store: ["s", b"child"],
        lambda store: "s",
        lambda store: store.s,
        lambda store: None,
        lambda store: 5,
        lambda store: [store.s, None],
        lambda store: [store.s, ("child", 1.5)],
        lambda store: [store.s, ("child",)],
        lambda store: {store.s, 5},
    ],
    ids=range(15),
)
def test_parents_that_are_no_two_distinct_streams_are_refused(
    store: Store, choose: Callable[[Store], Any]
) -> None:
    parents = choose(store)
    refused(InvalidInputError, lambda: store.log.merge("new", parents, policy="append"))
    refused(InvalidInputError, lambda: store.log.plan(parents, policy="append"))
    refused(InvalidInputError, lambda: merge_in_a_batch(store, parents, policy="append"))


def merge_in_a_batch(store: Store, parents: Any, **options: Any) -> None:
    """The same merge, staged; what is wrong is told there or when the batch is written."""
    with store.log.batch() as batch:
        batch.merge("new", parents, **options)


def test_parents_that_do_not_exist_are_not_found(store: Store) -> None:
    parents = [store.s, Position("nobody", 0)]
    refused(NotFoundError, lambda: store.log.merge("new", parents, policy="append"))
    refused(NotFoundError, lambda: store.log.plan(parents, policy="append"))
    refused(NotFoundError, lambda: merge_in_a_batch(store, parents, policy="append"))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (NotFoundError, {"policy": "squash"}),
        (NotFoundError, {"policy": "custom:nobody-registered-this"}),
        (NotFoundError, {"policy": "custom:"}),
        (NotFoundError, {"policy": ""}),
        (InvalidInputError, {"policy": None}),
        (InvalidInputError, {"policy": 5}),
        (InvalidInputError, {"policy": "select"}),
        (InvalidInputError, {"policy": "select", "params": {}}),
        (InvalidInputError, {"policy": "select", "params": {"selected": "empty"}}),
        (InvalidInputError, {"policy": "select", "params": {"selected": 5}}),
        (InvalidInputError, {"policy": "append", "params": []}),
        (InvalidInputError, {"policy": "append", "params": "text"}),
        (InvalidInputError, {"policy": "append", "params": {"k": [1]}}),
        (InvalidInputError, {"policy": "append", "params": {1: 1}}),
        (InvalidInputError, {"policy": "append", "base": "s"}),
        (InvalidInputError, {"policy": "append", "base": 5}),
        (NotFoundError, {"policy": "append", "base": Position("nobody", 0)}),
        (InvalidInputError, {"policy": "append", "base": Position("s", 99)}),
        (transit.MergeBaseError, {"policy": "append", "base": Position("s", 2)}),
        (transit.NotFastForwardError, {"policy": "fast-forward"}),
    ],
    ids=shown,
)
def test_policies_params_and_bases_that_do_not_fit_are_refused(
    store: Store, kind: type[transit.TransitError], options: dict[str, Any]
) -> None:
    parents = [store.s, store.child]
    refused(kind, lambda: store.log.plan(parents, **options))
    refused(kind, lambda: store.log.merge("new", parents, **options))
    refused(kind, lambda: merge_in_a_batch(store, parents, **options))


@pytest.mark.parametrize("merge_id", [5, b"id", "", "\ud800", ["id"]], ids=shown)
def test_merge_ids_that_are_no_text_are_refused(store: Store, merge_id: Any) -> None:
    parents = [store.s, store.child]
    refused(
        InvalidInputError,
        lambda: store.log.merge("new", parents, policy="append", merge_id=merge_id),
    )
    refused(
        InvalidInputError,
        lambda: merge_in_a_batch(store, parents, policy="append", merge_id=merge_id),
    )


POLICIES: dict[str, Callable[..., Any]] = {
    "bad-twice": lambda suffixes, params: suffixes[0] + suffixes[0],
    "bad-none": lambda suffixes, params: None,
    "bad-number": lambda suffixes, params: [5],
    "bad-payloads": lambda suffixes, params: [r.payload for r in suffixes[0]],
    "bad-foreign": lambda suffixes, params: [transit.open],
}


@pytest.mark.parametrize("name", POLICIES)
def test_custom_policies_that_return_something_else_are_refused(store: Store, name: str) -> None:
    transit.register_policy(name, POLICIES[name])
    parents = [store.s, store.child]
    refused(InvalidInputError, lambda: store.log.plan(parents, policy=f"custom:{name}"))
    refused(InvalidInputError, lambda: store.log.merge("new", parents, policy=f"custom:{name}"))


def test_custom_policies_that_raise_pass_their_own_error_on(store: Store) -> None:
    def fails(suffixes: object, params: object) -> list[transit.Record]:
        raise RuntimeError("the caller's own")

    transit.register_policy("bad-raise", fails)
    with pytest.raises(RuntimeError, match="own"):
        store.log.merge("new", [store.s, store.child], policy="custom:bad-raise")


@pytest.mark.parametrize(
    ("name", "function", "version"),
    [
        (5, list, 1),
        ("", list, 1),
        ("name", None, 1),
        ("name", "text", 1),
        ("name", list, 0),
        ("name", list, "1"),
        ("name", list, True),
    ],
)
def test_policies_that_cannot_be_registered_are_refused(
    name: Any, function: Any, version: Any
) -> None:
    refused(InvalidInputError, lambda: transit.register_policy(name, function, version=version))


@pytest.mark.parametrize("node", [None, 5, ["s"], b"s"], ids=shown)
@pytest.mark.parametrize("question", ["ancestors", "children", "parents", "merge_base"])
def test_lineage_refuses_what_is_neither_stream_nor_position(
    store: Store, question: str, node: Any
) -> None:
    nodes = [store.s, node] if question == "merge_base" else [node]
    refused(InvalidInputError, lambda: ask(store, question, *nodes))


@pytest.mark.parametrize("question", ["merge_base", "merge_bases", "is_ancestor"])
def test_lineage_does_not_find_positions_of_unknown_streams(store: Store, question: str) -> None:
    refused(NotFoundError, lambda: ask(store, question, store.s, Position("nobody", 0)))


def test_streams_of_another_store_are_refused(store: Store, tmp_path: Path) -> None:
    with transit.open(tmp_path / "other") as other:
        foreign = other.create("s")
        foreign.append(b"x")
        parents = [store.s, foreign]
        refused(InvalidInputError, lambda: store.log.merge("new", parents, policy="append"))
        refused(InvalidInputError, lambda: batched(store, lambda b: b.append(foreign, b"x")))
        refused(InvalidInputError, lambda: batched(store, lambda b: b.branch(foreign, "new")))
        refused(InvalidInputError, lambda: store.log.lineage.is_ancestor(store.s, foreign))
        assert len(foreign) == 1


# Batches


def test_a_batch_is_refused_after_its_block(store: Store) -> None:
    with store.log.batch() as batch:
        pass
    refused(InvalidInputError, lambda: batch.append(store.s, b"x"))
    refused(InvalidInputError, lambda: batch.create("new"))
    refused(InvalidInputError, lambda: batch.branch(store.s, "new"))

    def enter_again() -> None:
        with batch:
            pass

    refused(InvalidInputError, enter_again)


def test_a_batch_is_refused_before_its_block(store: Store) -> None:
    batch = store.log.batch()
    refused(InvalidInputError, lambda: batch.append(store.s, b"x"))
    refused(InvalidInputError, lambda: batch.create("new"))


def test_a_batch_inside_itself_is_refused(store: Store) -> None:
    def nest() -> None:
        with store.log.batch() as batch, batch:
            batch.append(store.s, b"x")

    refused(InvalidInputError, nest)


def test_a_batch_inside_another_is_refused_or_a_batch_of_its_own(
    path: Path, contents: Contents
) -> None:
    with transit.open(path) as log:
        s = log.create("s")
        outer_batch = log.batch()
        try:
            with outer_batch as outer:
                outer.append(s, b"outer")
                with log.batch() as inner:
                    inner.append(s, b"inner")
        except InvalidInputError:
            assert len(s) == 0
        else:
            assert [r.payload for r in s] == [b"inner", b"outer"]
            assert [r.offset for r in (*inner.receipts, *outer.receipts)] == [0, 1]
        assert s.append(b"after").offset == len(s) - 1


def test_a_staged_stream_of_another_batch_is_refused(store: Store) -> None:
    staged: list[Any] = []

    def abandon() -> None:
        with store.log.batch() as first:
            staged.append(first.create("new"))
            raise RuntimeError("abandoned")

    with pytest.raises(RuntimeError):
        abandon()
    refused(InvalidInputError, lambda: batched(store, lambda b: b.append(staged[0], b"x")))
    refused(InvalidInputError, lambda: batched(store, lambda b: b.branch(staged[0], "child 2")))
    with pytest.raises(transit.TransitError):
        _ = staged[0].stream


def test_a_staged_stream_has_no_stream_before_the_block_ends(store: Store) -> None:
    def look() -> None:
        with store.log.batch() as batch:
            _ = batch.create("new").stream

    refused(InvalidInputError, look)


@pytest.mark.parametrize("target", [None, b"s", 5, Position("s", 1)], ids=shown)
def test_a_batch_refuses_what_is_no_stream(store: Store, target: Any) -> None:
    refused(InvalidInputError, lambda: batched(store, lambda b: b.append(target, b"x")))
    refused(InvalidInputError, lambda: batched(store, lambda b: b.branch(target, "new")))


def test_a_name_taken_before_or_inside_the_batch_is_refused(store: Store) -> None:
    taken = transit.AlreadyExistsError
    refused(taken, lambda: batched(store, lambda b: b.create("s")))
    refused(taken, lambda: batched(store, lambda b: b.branch(store.s, "child")))
    refused(taken, lambda: batched(store, lambda b: b.create("never created")))
    refused(taken, lambda: batched(store, lambda b: b.branch(store.s, "never created")))


def test_an_error_inside_a_batch_that_the_caller_catches_may_be_gone_past(path: Path) -> None:
    with transit.open(path) as log:
        s = log.create("s")
        with log.batch() as batch:
            batch.append(s, b"0")
            with pytest.raises(InvalidInputError):
                batch.append(s, "text")  # type: ignore[arg-type]
            batch.append(s, b"1")
        assert [record.payload for record in s] == [b"0", b"1"]
