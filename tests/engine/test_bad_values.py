"""Every bad value gets its own clear error and leaves the store as it was, and usable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import (
    InvalidInputError,
    NotFoundError,
    OffsetError,
    Position,
    Settings,
)

from .refusals import HUGE, SETTINGS, Store, batched, refused, shown

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
SPELLINGS += [
    "\ud800",
    "a\udfffb",
    "a\u2028b",
    "\u202eabc",
    "a\u2069",
    " a",
    "a ",
    "\ta",
    "a\u2003",
]


@pytest.mark.parametrize("body", BODIES, ids=shown)
def test_payloads_that_are_not_bytes_are_refused(store: Store, body: Any) -> None:
    refused(InvalidInputError, lambda: store.s.append(body))
    refused(InvalidInputError, lambda: store.s.append_many([b"good", body]))
    refused(InvalidInputError, lambda: store.s.submit(body).result(timeout=60))
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
    refused(InvalidInputError, lambda: s.submit(b"", timestamp=time).result(timeout=60))
    refused(InvalidInputError, lambda: batched(store, lambda b: b.append(s, b"", timestamp=time)))


@pytest.mark.parametrize("headers", HEADERS, ids=shown)
def test_headers_that_are_not_text_to_text_are_refused(store: Store, headers: Any) -> None:
    s = store.s
    refused(InvalidInputError, lambda: s.append(b"", headers=headers))
    refused(InvalidInputError, lambda: s.append_many([b""], headers=[headers]))
    if not isinstance(headers, list):
        refused(InvalidInputError, lambda: s.append_many([b""], headers=headers))
    refused(InvalidInputError, lambda: s.submit(b"", headers=headers).result(timeout=60))
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
        lambda: s.submit(b"", durability=level).result(timeout=60),
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
            refused(InvalidInputError, lambda body=body: s.submit(body).result(timeout=60))  # type: ignore[misc]
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
