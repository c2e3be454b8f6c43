"""Every bad input gets its own clear error and leaves the store as it was, and usable."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import transit
from transit import (
    ClosedError,
    InvalidInputError,
    Log,
    NotFoundError,
    OffsetError,
    Position,
    Settings,
    Stream,
)

Contents = Callable[[Log], object]
Run = Callable[..., str]

SETTINGS = Settings(record_bytes_max=1000, frame_bytes_max=4000, lock_timeout_s=0.2)
HUGE = 2**80


class Store(NamedTuple):
    """An open store and what is in it."""

    log: Log
    s: Stream
    child: Stream
    empty: Stream

    @property
    def cursor(self) -> transit.Cursor:
        return self.s.cursor("c")


@pytest.fixture
def store(path: Path, contents: Contents) -> Iterator[Store]:
    """A store that must be the same after the test as before it, and take appends."""
    with transit.open(path, durability="os", settings=SETTINGS) as log:
        s = log.create("s", {"k": 1})
        s.append_many([b"0", b"1", b"2"])
        child = s.branch("child", at=1)
        child.append(b"own")
        opened = Store(log, s, child, log.create("empty"))
        opened.cursor.advance(1)
        before = contents(log)
        yield opened
        assert contents(log) == before
        assert opened.cursor.position == 1
        assert s.append(b"still usable").offset == 3
        after = contents(log)
        assert log.verify().ok
    with transit.open(path, settings=SETTINGS) as log:
        assert contents(log) == after
        assert log.stream("s").cursor("c").position == 1


def refused(kind: type[transit.TransitError], call: Callable[[], object]) -> str:
    """The message of the error that `call` must raise."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    # A message that only repeats a value tells nobody what to do.
    assert len(message) > 8, message
    return message


def batched(store: Store, stage: Callable[[Any], object]) -> None:
    """Run `stage` in a batch; what it raises ends the batch."""
    with store.log.batch() as batch:
        batch.append(store.s, b"never written")
        batch.append(batch.create("never created"), b"never written")
        stage(batch)


def ask(store: Store, question: str, *nodes: object) -> object:
    """Ask the lineage something."""
    return getattr(store.log.lineage, question)(*nodes)


def shown(value: object) -> str:
    """A test's id, which must be the same in every process that collects it."""
    return re.sub(r" at 0x[0-9a-f]+", "", ascii(value))


# Wrong types and values


BODIES = [None, "text", 5, 1.5, True, [1, 2], {"a": 1}, object()]
TIMES = ["now", 1.5, True, 2**63, -(2**63) - 1, b"1"]
HEADERS = ["text", 5, [("a", "b")], {"a": 1}, {1: "a"}, {b"a": "b"}, {"a": None}, {"a": "\ud800"}]
HEADERS += [{"\ud800": "a"}]
EXPECTS = ["0", 1.5, True, False, b"0", -1, HUGE]
DURABILITIES = ["fast", "", 5, True, "LOCAL", b"local"]
OFFSETS = ["0", 1.5, True, False, b"0", [0]]
METADATA = [
    "text",
    5,
    [("a", 1)],
    {1: "a"},
    {"a": [1]},
    {"a": {"b": 1}},
    {"a": b"x"},
    {"a": object()},
]
METADATA += [{"a": float("nan")}, {"a": float("inf")}, {"a": 2**64}, {"a": "\ud800"}, {"\ud800": 1}]
NAMES = [None, 5, b"bytes", ["a"], True]
SPELLINGS = ["", "$mine", "$", "$lineage", "x" * 513, "é" * 257, "a\nb", "a\0b", "\x7f", "\x1b[0m"]
SPELLINGS += ["\ud800", "a\udfffb", "\u200b", "\u202eabc", "\ue000", " a", "a ", "\ta", "a\u2003"]


@pytest.mark.parametrize("body", BODIES, ids=shown)
def test_payloads_that_are_not_bytes_are_refused(store: Store, body: Any) -> None:
    refused(InvalidInputError, lambda: store.s.append(body))
    refused(InvalidInputError, lambda: store.s.append_many([b"good", body]))
    refused(InvalidInputError, lambda: store.s.submit(body).result(timeout=10))
    refused(InvalidInputError, lambda: batched(store, lambda b: b.append(store.s, body)))


@pytest.mark.parametrize(
    "bodies", [None, 5, b"bytes", bytearray(b"x"), "text", [], (), iter([])], ids=shown
)
def test_append_many_refuses_what_is_no_iterable_of_bytes_or_is_empty(
    store: Store, bodies: Any
) -> None:
    refused(InvalidInputError, lambda: store.s.append_many(bodies))


@pytest.mark.parametrize("time", TIMES, ids=shown)
def test_timestamps_that_are_no_64_bit_integers_are_refused(store: Store, time: Any) -> None:
    s = store.s
    refused(InvalidInputError, lambda: s.append(b"", timestamp=time))
    refused(InvalidInputError, lambda: s.append_many([b"", b""], timestamps=[1, time]))
    refused(InvalidInputError, lambda: s.submit(b"", timestamp=time).result(timeout=10))
    refused(InvalidInputError, lambda: batched(store, lambda b: b.append(s, b"", timestamp=time)))


@pytest.mark.parametrize("headers", HEADERS, ids=shown)
def test_headers_that_are_not_text_to_text_are_refused(store: Store, headers: Any) -> None:
    s = store.s
    refused(InvalidInputError, lambda: s.append(b"", headers=headers))
    refused(InvalidInputError, lambda: s.append_many([b""], headers=[headers]))
    if not isinstance(headers, list):
        refused(InvalidInputError, lambda: s.append_many([b""], headers=headers))
    refused(InvalidInputError, lambda: s.submit(b"", headers=headers).result(timeout=10))
    refused(InvalidInputError, lambda: batched(store, lambda b: b.append(s, b"", headers=headers)))


@pytest.mark.parametrize(
    "columns",
    [
        {"timestamps": [1]},
        {"timestamps": [1, 2, 3]},
        {"timestamps": []},
        {"timestamps": 5},
        {"timestamps": "12"},
        {"headers": [{}]},
        {"headers": [{}, {}, {}]},
        {"headers": []},
    ],
    ids=shown,
)
def test_append_many_refuses_columns_that_do_not_fit_the_payloads(
    store: Store, columns: dict[str, Any]
) -> None:
    refused(InvalidInputError, lambda: store.s.append_many([b"", b""], **columns))


@pytest.mark.parametrize("expect", EXPECTS, ids=shown)
def test_expect_that_is_no_offset_is_refused(store: Store, expect: Any) -> None:
    # A number no stream can have as its next offset is a condition that does not hold.
    number = isinstance(expect, int) and not isinstance(expect, bool)
    kind = transit.TransitError if number else InvalidInputError
    refused(kind, lambda: store.s.append(b"", expect=expect))
    refused(kind, lambda: store.s.append_many([b""], expect=expect))
    refused(kind, lambda: batched(store, lambda b: b.append(store.empty, b"", expect=expect)))


@pytest.mark.parametrize("level", DURABILITIES, ids=shown)
def test_unknown_durabilities_are_refused(store: Store, path: Path, level: Any) -> None:
    log, s = store.log, store.s
    calls: list[Callable[[], object]] = [
        lambda: transit.open(path.with_name("other"), durability=level),
        lambda: log.create("new", durability=level),
        lambda: s.append(b"", durability=level),
        lambda: s.append_many([b""], durability=level),
        lambda: s.submit(b"", durability=level).result(timeout=10),
        lambda: s.branch("new", durability=level),
        lambda: log.merge("new", [s, store.child], policy="append", durability=level),
        lambda: store.cursor.advance(2, durability=level),
    ]
    for call in calls:
        refused(InvalidInputError, call)

    def batch() -> None:
        with log.batch(durability=level) as batch:
            batch.append(s, b"")

    refused(InvalidInputError, batch)
    assert not path.with_name("other").exists()


@pytest.mark.parametrize("name", [*NAMES, *SPELLINGS], ids=shown)
def test_names_that_break_a_rule_are_refused_wherever_a_stream_is_made(
    store: Store, name: Any
) -> None:
    log, s = store.log, store.s
    refused(InvalidInputError, lambda: log.create(name))
    refused(InvalidInputError, lambda: s.branch(name))
    refused(InvalidInputError, lambda: log.merge(name, [s, store.child], policy="append"))
    refused(InvalidInputError, lambda: batched(store, lambda b: b.create(name)))
    refused(InvalidInputError, lambda: batched(store, lambda b: b.branch(s, name)))
    refused(InvalidInputError, lambda: s.cursor(name))


@pytest.mark.parametrize("name", [*SPELLINGS, "nobody", "S", "s/", "child\0"], ids=shown)
def test_streams_that_do_not_exist_are_not_found(store: Store, name: str) -> None:
    refused(transit.TransitError, lambda: store.log.stream(name))
    if name in ("nobody", "S", "s/"):
        assert name not in store.log
        refused(NotFoundError, lambda: store.log.stream(name))


@pytest.mark.parametrize("name", NAMES, ids=shown)
def test_names_of_another_type_are_refused_where_a_stream_is_looked_up(
    store: Store, name: Any
) -> None:
    refused(InvalidInputError, lambda: store.log.stream(name))
    if name is not None:
        refused(InvalidInputError, lambda: list(store.log.streams(prefix=name)))


@pytest.mark.parametrize("metadata", METADATA, ids=shown)
def test_metadata_that_is_no_flat_mapping_of_scalars_is_refused(
    store: Store, metadata: Any
) -> None:
    log, s = store.log, store.s
    both = [s, store.child]
    refused(InvalidInputError, lambda: log.create("new", metadata))
    refused(InvalidInputError, lambda: s.branch("new", metadata=metadata))
    refused(InvalidInputError, lambda: log.merge("new", both, policy="append", metadata=metadata))
    refused(InvalidInputError, lambda: batched(store, lambda b: b.create("new", metadata)))
    refused(
        InvalidInputError, lambda: batched(store, lambda b: b.branch(s, "new", metadata=metadata))
    )


@pytest.mark.parametrize("codec", [5, b"json", "", "unheard-of", ["json"]], ids=shown)
def test_unknown_codecs_are_refused(store: Store, codec: Any) -> None:
    refused(transit.TransitError, lambda: store.log.create("new", codec=codec))
    refused(transit.TransitError, lambda: batched(store, lambda b: b.create("new", codec=codec)))


def test_values_of_a_stream_without_codec_are_refused(store: Store) -> None:
    refused(InvalidInputError, lambda: store.s.append_value({"a": 1}))
    refused(InvalidInputError, lambda: list(store.s.values()))
    refused(InvalidInputError, lambda: store.s.value(0))


@pytest.mark.parametrize("value", [object(), {1, 2}.__iter__(), float("nan"), "\ud800"], ids=shown)
def test_values_that_are_no_json_are_refused(path: Path, value: object) -> None:
    with transit.open(path) as log:
        stream = log.create("s", codec="json")
        refused(InvalidInputError, lambda: stream.append_value(value))
        assert len(stream) == 0
        assert stream.append_value([1]).offset == 0


# Sizes


def test_records_over_the_limit_are_refused_and_records_at_it_are_not(path: Path) -> None:
    with transit.open(path, settings=SETTINGS) as log:
        s = log.create("s")
        for body in (b"x" * 1001, b"x" * 100_000):
            refused(InvalidInputError, lambda body=body: s.append(body))  # type: ignore[misc]
            refused(InvalidInputError, lambda body=body: s.append_many([b"", body]))  # type: ignore[misc]
            refused(InvalidInputError, lambda body=body: s.submit(body).result(timeout=10))  # type: ignore[misc]
        assert len(s) == 0
        s.append(b"x" * 1000)
        s.append_many([b"x" * 1000])
        with log.batch() as batch:
            batch.append(s, b"x" * 1000)
        assert len(s) == 3


def test_records_over_the_limit_in_a_batch_are_refused(store: Store) -> None:
    refused(InvalidInputError, lambda: batched(store, lambda b: b.append(store.s, b"x" * 1001)))


def test_commits_over_the_frame_limit_are_refused_whole(store: Store) -> None:
    bodies = [b"x" * 1000] * 5
    refused(InvalidInputError, lambda: store.s.append_many(bodies))
    refused(
        InvalidInputError,
        lambda: batched(store, lambda b: [b.append(store.s, body) for body in bodies]),
    )


def test_headers_without_bound_are_refused(store: Store) -> None:
    refused(InvalidInputError, lambda: store.s.append(b"", headers={"k": "x" * 10_000_000}))


def test_metadata_without_bound_is_refused(store: Store) -> None:
    refused(InvalidInputError, lambda: store.log.create("new", {"k": "x" * 10_000_000}))


@pytest.mark.parametrize(
    "options",
    [
        {"record_bytes_max": 0},
        {"record_bytes_max": -1},
        {"record_bytes_max": 2**40},
        {"record_bytes_max": True},
        {"record_bytes_max": 1.5},
        {"record_bytes_max": "16"},
        {"record_bytes_max": None},
        {"frame_bytes_max": 0},
        {"frame_bytes_max": 2**40},
        {"record_bytes_max": 2000, "frame_bytes_max": 1000},
        {"seal_bytes": 0},
        {"seal_bytes": 2**50},
        {"seal_interval_s": 0},
        {"seal_interval_s": float("nan")},
        {"seal_interval_s": "1"},
        {"flush_interval_ms": 0},
        {"flush_interval_ms": -1},
        {"flush_interval_ms": float("inf")},
        {"block_bytes": 0},
        {"block_bytes": 2**40},
        {"compression": "lz77"},
        {"compression": None},
        {"compression": 5},
        {"compression_level": 0},
        {"compression_level": 100},
        {"cache_bytes_max": -1},
        {"lock_timeout_s": -1},
        {"lock_timeout_s": float("nan")},
    ],
    ids=shown,
)
def test_settings_out_of_range_are_refused(options: dict[str, Any]) -> None:
    message = refused(InvalidInputError, lambda: Settings(**options))
    assert any(name in message for name in options)


# Offsets


@pytest.mark.parametrize("offset", OFFSETS, ids=shown)
def test_offsets_of_another_type_are_refused(store: Store, offset: Any) -> None:
    s, log = store.s, store.log
    calls: list[Callable[[], object]] = [
        lambda: s[offset],
        lambda: list(s.read(offset)),
        lambda: list(s.read(0, offset)),
        lambda: list(s.batches(offset)),
        lambda: list(s.batches(0, offset)),
        lambda: list(s.tail(start=offset, timeout=0.01)),
        lambda: s.branch("new", at=offset),
        lambda: batched(store, lambda b: b.branch(s, "new", at=offset)),
        lambda: store.cursor.advance(offset),
        lambda: log.merge("new", [Position("s", offset), store.child], policy="append"),
        lambda: log.plan([s, store.child], policy="append", base=Position("s", offset)),
        lambda: log.lineage.is_ancestor(Position("s", offset), s),
    ]
    for number, call in enumerate(calls):
        try:
            refused(InvalidInputError, call)
        except BaseException as error:
            error.add_note(f"call {number} with {offset!r}")
            raise


@pytest.mark.parametrize("offset", [-1, -2, -HUGE, 4, 1000, 2**63, 2**64, HUGE])
def test_offsets_outside_the_stream_are_refused(store: Store, offset: int) -> None:
    s, log = store.s, store.log
    refused(OffsetError, lambda: list(s.read(offset)))
    refused(OffsetError, lambda: list(s.batches(offset)))
    refused(OffsetError, lambda: list(s.tail(start=offset, timeout=0.01)))
    refused(OffsetError, lambda: s.branch("new", at=offset))
    refused(OffsetError, lambda: batched(store, lambda b: b.branch(store.empty, "new", at=offset)))
    refused(OffsetError, lambda: store.cursor.advance(offset))
    refused(OffsetError, lambda: store.empty[offset])
    if offset != -1:
        heads = [Position("s", offset), store.child]
        refused(OffsetError, lambda: log.merge("new", heads, policy="append"))
        refused(OffsetError, lambda: log.plan(heads, policy="append"))
        refused(OffsetError, lambda: log.lineage.is_ancestor(Position("s", offset), s))
    if offset > 0:
        refused(OffsetError, lambda: s[offset])


@pytest.mark.parametrize("at", [3, 4, 2**40])
def test_a_fork_past_the_head_is_refused(store: Store, at: int) -> None:
    message = refused(OffsetError, lambda: store.s.branch("new", at=at))
    assert str(at) in message
    refused(OffsetError, lambda: batched(store, lambda b: b.branch(store.child, "new", at=at)))


@pytest.mark.parametrize("timeout", ["1", -1, float("nan"), True], ids=shown)
def test_timeouts_that_are_no_length_of_time_are_refused(store: Store, timeout: Any) -> None:
    refused(InvalidInputError, lambda: list(store.s.tail(start=0, timeout=timeout)))


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
        lambda store: ["s", "child"],
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


def test_parents_that_do_not_exist_are_not_found(store: Store) -> None:
    parents = [store.s, Position("nobody", 0)]
    refused(NotFoundError, lambda: store.log.merge("new", parents, policy="append"))
    refused(NotFoundError, lambda: store.log.plan(parents, policy="append"))


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


@pytest.mark.parametrize("merge_id", [5, b"id", "", "\ud800", ["id"]], ids=shown)
def test_merge_ids_that_are_no_text_are_refused(store: Store, merge_id: Any) -> None:
    parents = [store.s, store.child]
    refused(
        InvalidInputError,
        lambda: store.log.merge("new", parents, policy="append", merge_id=merge_id),
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


@pytest.mark.parametrize("node", [None, 5, "s", ["s"], b"s"], ids=shown)
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


@pytest.mark.parametrize("target", [None, "s", 5, Position("s", 1)], ids=shown)
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


# What is found at the path


@pytest.mark.parametrize("where", [None, 5, 1.5, b"", "", "a\0b", ["a"]], ids=shown)
def test_paths_that_are_none_are_refused(where: Any) -> None:
    refused(transit.TransitError, lambda: transit.open(where))


@pytest.mark.parametrize("mode", [None, 5, "", "write", "r", b"read", "Exclusive"], ids=shown)
def test_unknown_modes_are_refused_and_make_nothing(path: Path, mode: Any) -> None:
    refused(InvalidInputError, lambda: transit.open(path, mode=mode))
    assert not path.exists()


@pytest.mark.parametrize("settings", [5, "small", {"block_bytes": 4096}, Settings], ids=shown)
def test_settings_of_another_type_are_refused(path: Path, settings: Any) -> None:
    refused(InvalidInputError, lambda: transit.open(path, settings=settings))
    assert not path.exists()


@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_a_file_where_the_store_should_be_is_refused_and_left_alone(path: Path, mode: str) -> None:
    path.write_bytes(b"mine")
    assert str(path) in refused(transit.TransitError, lambda: transit.open(path, mode=mode))
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_a_folder_of_something_else_is_refused_and_left_alone(path: Path, mode: str) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    assert str(path) in refused(transit.TransitError, lambda: transit.open(path, mode=mode))
    assert [file.name for file in path.iterdir()] == ["notes.txt"]


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(transit.TransitError, lambda: transit.open(tmp_path / "file" / "store"))


@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_a_store_of_a_newer_format_is_refused_and_left_alone(path: Path, mode: str) -> None:
    with transit.open(path) as log:
        log.create("s").append(b"x")
    file = path / "FORMAT"
    original = file.read_bytes()
    stated = json.loads(original)
    (version,) = [key for key, value in stated.items() if type(value) is int]
    file.write_bytes(original.replace(b":%d" % stated[version], b":%d" % (stated[version] + 1)))
    before = {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}
    with pytest.raises(transit.UnsupportedVersionError) as caught:
        transit.open(path, mode=mode)
    assert caught.value.found == stated[version] + 1
    assert caught.value.supported == stated[version]
    assert {each: each.read_bytes() for each in path.rglob("*") if each.is_file()} == before
    file.write_bytes(original)
    with transit.open(path) as log:
        assert len(log.stream("s")) == 1


@pytest.mark.parametrize("stated", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"{" * 100_000])
def test_a_damaged_format_file_is_refused_with_its_place(path: Path, stated: bytes) -> None:
    transit.open(path).close()
    (path / "FORMAT").write_bytes(stated)
    assert "FORMAT" in refused(transit.FormatError, lambda: transit.open(path))


# What the operating system refuses


NO_PERMISSION = """
import os, sys, asyncio, threading, transit
path, mode = sys.argv[1:]
transit.open  # loaded now: the new user may not be able to read the modules
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    transit.open(path, mode=mode)
except transit.StorePermissionError as error:
    assert isinstance(error, PermissionError)
    print("refused", error)
"""


@pytest.mark.parametrize("bits", [0o000, 0o555], ids=["unreadable", "unwritable"])
@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_a_store_without_permission_is_refused(run: Run, bits: int, mode: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become a user without permission")
    folder = Path(tempfile.mkdtemp(prefix="transit-"))
    try:
        folder.chmod(0o755)
        store = folder / "store"
        with transit.open(store) as log:
            log.create("s").append(b"x")
        readable = 0o444 if bits else 0o000
        for each in store.rglob("*"):
            each.chmod(bits if each.is_dir() else readable)
        store.chmod(bits)
        printed = run(NO_PERMISSION, store, mode)
        # A store that can be read but not written is what mode "read" is for.
        if mode == "read" and bits:
            assert printed == ""
        else:
            assert printed.startswith("refused")
            assert str(store) in printed
        with transit.open(store, durability="os") as log:
            assert log.stream("s")[0].payload == b"x"
    finally:
        shutil.rmtree(folder)


def test_a_store_that_cannot_be_made_is_refused(run: Run) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become a user without permission")
    folder = Path(tempfile.mkdtemp(prefix="transit-"))
    try:
        folder.chmod(0o555)
        assert run(NO_PERMISSION, folder / "store", "exclusive").startswith("refused")
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no mount command: {error}")
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(stream: Stream, write: Callable[[bytes], object]) -> list[bytes]:
    """Append until the disk is full; the bodies that were acknowledged."""
    acknowledged = []
    for number in range(100_000):
        body = b"%06d" % number + os.urandom(1000)
        try:
            write(body)
        except transit.StorageFullError:
            return acknowledged
        acknowledged.append(body)
    raise AssertionError(f"{len(stream)} records and the disk is not full")


@pytest.mark.parametrize("durability", ["os", "local"])
@pytest.mark.parametrize("kind", ["append", "append_many", "batch", "submit"])
def test_a_full_disk_loses_nothing_acknowledged_and_appends_go_on_after_it(
    small_disk: Path, durability: str, kind: str
) -> None:
    settings = Settings(seal_bytes=1 << 18)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000))
    with transit.open(small_disk / "store", durability=durability, settings=settings) as log:
        stream = log.create("s")

        def batch(body: bytes) -> None:
            with log.batch() as batch:
                batch.append(stream, body)

        writes: dict[str, Callable[[bytes], object]] = {
            "append": stream.append,
            "append_many": lambda body: stream.append_many([body]),
            "batch": batch,
            "submit": lambda body: stream.submit(body).result(timeout=10),
        }
        acknowledged = fill(stream, writes[kind])
        assert len(acknowledged) > 100
        assert [record.payload for record in stream] == acknowledged
        # More than there could be even if sealing has just made room.
        refused(transit.StorageFullError, lambda: stream.append(os.urandom(1_500_000)))
        assert len(stream) == len(acknowledged)
        ballast.unlink()
        assert stream.append(b"after").offset == len(acknowledged)
        acknowledged.append(b"after")
        assert [record.payload for record in stream] == acknowledged
    with transit.open(small_disk / "store", settings=settings) as log:
        stream = log.stream("s")
        assert [record.payload for record in stream] == acknowledged
        assert stream.append(b"reopened").offset == len(acknowledged)
        assert log.verify().ok


def test_a_store_on_a_full_disk_opens_for_reading(small_disk: Path) -> None:
    store = small_disk / "store"
    with transit.open(store, durability="os", settings=Settings(seal_bytes=1 << 18)) as log:
        acknowledged = fill(log.create("s"), log.stream("s").append)
    rest = small_disk / "rest"
    with rest.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    with transit.open(store, mode="read") as reader:
        assert [record.payload for record in reader.stream("s")] == acknowledged
    refused(transit.StorageFullError, lambda: transit.open(small_disk / "another"))
    rest.unlink()


def test_a_limit_on_file_size_is_a_full_storage(run: Run, path: Path) -> None:
    script = """
import os, resource, sys, transit
with transit.open(sys.argv[1], durability="os") as log:
    stream = log.create("s")
    stream.append(b"first")
    largest = max(f.stat().st_size for f in __import__("pathlib").Path(sys.argv[1]).rglob("*"))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    acknowledged = 1
    try:
        while True:
            stream.append(bytes(10_000))
            acknowledged += 1
    except transit.StorageFullError:
        print(acknowledged, len(list(stream)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(stream.append(b"after").offset)
"""
    first, second = run(script, path).splitlines()
    acknowledged, read = map(int, first.split())
    assert read == acknowledged == int(second)
    with transit.open(path) as log:
        assert len(list(log.stream("s"))) == acknowledged + 1


# Handles that cannot be used


def every_call(store: Store, batch: Any) -> dict[str, Callable[[], object]]:
    """Each public call that needs the store open, by name."""
    log, s, child, cursor = store.log, store.s, store.child, store.cursor
    lineage = log.lineage

    def whole_batch() -> None:
        with log.batch() as staged:
            staged.append(s, b"x")

    async def follow() -> list[transit.Record]:
        return [record async for record in s.follow(start=0, timeout=0.01)]

    return {
        "create": lambda: log.create("new"),
        "stream": lambda: log.stream("s"),
        "contains": lambda: "s" in log,
        "streams": lambda: list(log.streams()),
        "batch": whole_batch,
        "batch.append": lambda: batch.append(s, b"x"),
        "merge": lambda: log.merge("new", [s, child], policy="append"),
        "plan": lambda: log.plan([s, child], policy="append"),
        "sync": log.sync,
        "seal": log.seal,
        "verify": log.verify,
        "status": log.status,
        "append": lambda: s.append(b"x"),
        "append_many": lambda: s.append_many([b"x"]),
        "submit": lambda: s.submit(b"x").result(timeout=10),
        "getitem": lambda: s[0],
        "read": lambda: list(s.read()),
        "iter": lambda: list(s),
        "batches": lambda: list(s.batches()),
        "tail": lambda: list(s.tail(start=0, timeout=0.01)),
        "follow": lambda: asyncio.run(follow()),
        "branch": lambda: s.branch("new"),
        "len": lambda: len(s),
        "next_offset": lambda: s.next_offset,
        "last_offset": lambda: s.last_offset,
        "cursor": lambda: s.cursor("c").position,
        "cursor.position": lambda: cursor.position,
        "advance": lambda: cursor.advance(2),
        "ancestors": lambda: lineage.ancestors(child),
        "children": lambda: lineage.children(s),
        "parents": lambda: lineage.parents(child),
        "merge_base": lambda: lineage.merge_base(s, child),
        "merge_bases": lambda: lineage.merge_bases(s, child),
        "is_ancestor": lambda: lineage.is_ancestor(s, child),
        "graph": lineage.graph,
    }


def outcome(call: Callable[[], object]) -> object:
    """What a call returns, or the class of what it raises."""
    try:
        return call()
    except Exception as error:
        return type(error)


def test_a_closed_store_answers_every_call_with_closed(path: Path) -> None:
    log = transit.open(path, settings=SETTINGS)
    s = log.create("s")
    s.append_many([b"0", b"1"])
    store = Store(log, s, s.branch("child"), log.create("empty"))
    batch = log.batch()
    batch.__enter__()
    calls = every_call(store, batch)
    log.close()
    outcomes = {name: outcome(call) for name, call in calls.items()}
    assert {name: found for name, found in outcomes.items() if found is not ClosedError} == {}


def test_a_store_closed_while_it_is_tailed_ends_the_tail(path: Path) -> None:
    log = transit.open(path)
    s = log.create("s")
    s.append(b"0")
    tail = s.tail(start=0, timeout=10)
    assert next(tail).payload == b"0"
    log.close()
    with pytest.raises(ClosedError):
        next(tail)


def test_a_closed_store_still_says_what_it_was(path: Path) -> None:
    log = transit.open(path)
    s = log.create("s", {"k": 1})
    log.close()
    assert log.closed
    assert Path(log.path) == path
    assert log.mode == "exclusive"
    assert s.name == "s"
    assert repr(log)
    assert repr(s)


FORK = """
import os, sys, transit
log = transit.open(sys.argv[1], durability="os")
s = log.create("s")
s.append(b"0")
child = s.branch("child")
cursor = s.cursor("c")
future = s.submit(b"1")
future.result(10)
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    calls = [
        lambda: log.create("new"), lambda: log.stream("s"), lambda: "s" in log,
        lambda: list(log.streams()), lambda: log.batch().__enter__().append(s, b"x"),
        lambda: log.merge("new", [s, child], policy="append"),
        lambda: log.plan([s, child], policy="append"),
        log.sync, log.seal, log.verify, log.status, lambda: s.append(b"x"),
        lambda: s.append_many([b"x"]), lambda: s.submit(b"x").result(5), lambda: s[0],
        lambda: list(s.read()), lambda: list(s.batches()),
        lambda: list(s.tail(start=0, timeout=0.01)), lambda: s.branch("new"),
        lambda: cursor.advance(1), lambda: log.lineage.is_ancestor(s, child),
    ]
    for number, call in enumerate(calls):
        try:
            call()
            outcome = "nothing"
        except BaseException as error:
            outcome = type(error).__name__
        os.write(write, f"{number} {outcome}\\n".encode())
    try:
        log.close()
    except transit.ForkedError:
        pass
    os.write(write, b"closed ForkedError\\n")
    os._exit(0)
os.close(write)
with open(read) as answers:
    print(answers.read(), end="")
assert os.waitpid(pid, 0)[1] == 0
assert s.append(b"2").offset == 2
try:
    transit.open(sys.argv[1], settings=transit.Settings(lock_timeout_s=0.2))
    print("the child's close let go of the lock")
except transit.LockedError:
    pass
assert [record.payload for record in s] == [b"0", b"1", b"2"]
log.close()
"""


def test_use_after_fork_is_refused_in_the_child_and_the_parent_goes_on(
    run: Run, path: Path
) -> None:
    answers = [line.split() for line in run(FORK, path).splitlines()]
    assert len(answers) == 22
    assert {answer for _, answer in answers} == {"ForkedError"}, answers
    with transit.open(path) as log:
        assert [record.payload for record in log.stream("s")] == [b"0", b"1", b"2"]
        assert [stream.name for stream in log.streams()] == ["s", "child"]


def test_a_child_may_open_the_store_after_fork_when_the_parent_closed_it(
    run: Run, path: Path
) -> None:
    script = """
import os, sys, transit
log = transit.open(sys.argv[1])
log.create("s").append(b"parent")
log.close()
pid = os.fork()
if pid == 0:
    with transit.open(sys.argv[1]) as own:
        own.stream("s").append(b"child")
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
with transit.open(sys.argv[1]) as log:
    print(*(record.payload.decode() for record in log.stream("s")))
"""
    assert run(script, path).split() == ["parent", "child"]
