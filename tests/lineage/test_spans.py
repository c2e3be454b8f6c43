"""Span arithmetic against plain lists of records."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import OffsetError
from transit.lineage.spans import (
    Coverage,
    Span,
    concatenate,
    from_plan,
    lay,
    locate,
    prefix,
    subtract,
    to_plan,
    total,
    window,
)

RECORDS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 12)), unique=True, max_size=10
) | st.tuples(st.integers(1, 3), st.integers(0, 9), st.integers(0, 9)).map(
    lambda run: [(run[0], run[1] + i) for i in range(run[2])]
)


def spans_of(records):
    return lay((stream, offset, 1) for stream, offset in records)


def records_of(spans):
    return [(span.stream, span.origin + i) for span in spans for i in range(span.count)]


def test_runs_that_continue_each_other_become_one_span():
    assert lay([(1, 0, 2), (1, 2, 3), (2, 5, 1), (1, 5, 1)]) == (
        Span(0, 1, 0, 5),
        Span(5, 2, 5, 1),
        Span(6, 1, 5, 1),
    )


def test_a_run_of_another_stream_at_the_next_offset_stays_apart():
    assert lay([(1, 0, 2), (2, 2, 2)]) == (Span(0, 1, 0, 2), Span(2, 2, 2, 2))


def test_nothing_has_no_spans():
    assert lay([]) == prefix((), 5) == window((), 0, 5) == concatenate() == from_plan(()) == ()
    assert total(()) == 0
    assert to_plan(()) == ()


def test_a_window_keeps_the_offsets_it_has_in_the_stream():
    spans = (Span(0, 1, 0, 5), Span(5, 2, 8, 5))
    assert window(spans, 3, 7) == (Span(3, 1, 3, 2), Span(5, 2, 8, 2))
    assert window(window(spans, 3, 7), 4, 6) == (Span(4, 1, 4, 1), Span(5, 2, 8, 1))


def test_a_prefix_of_a_window_counts_from_where_the_window_begins():
    assert prefix((Span(3, 1, 3, 2), Span(5, 2, 8, 2)), 3) == (Span(3, 1, 3, 2), Span(5, 2, 8, 1))


@pytest.mark.parametrize("offset", [-1, 2, 10])
def test_locating_an_offset_outside_is_an_offset_error(offset):
    with pytest.raises(OffsetError):
        locate((Span(3, 1, 3, 2), Span(5, 2, 8, 5)), offset)


def test_locating_in_nothing_is_an_offset_error():
    with pytest.raises(OffsetError):
        locate((), 0)


def test_the_same_records_taken_twice_come_out_once():
    taken = Coverage()
    assert taken.take([Span(0, 1, 5, 5)]) == (Span(0, 1, 5, 5),)
    assert taken.take([Span(0, 1, 0, 20)]) == (Span(0, 1, 0, 5), Span(5, 1, 10, 10))
    assert taken.take([Span(0, 1, 0, 20)]) == ()


@given(RECORDS)
def test_a_plan_gives_back_the_spans_it_was_made_from(records):
    spans = spans_of(records)
    assert from_plan(to_plan(spans)) == spans
    assert records_of(spans) == records
    assert total(spans) == len(records)


@given(RECORDS)
def test_every_window_prefix_and_place_equals_that_of_a_list(records):
    spans = spans_of(records)
    bounds = range(-1, len(records) + 2)
    for start, stop in product(bounds, bounds):
        inside = window(spans, start, stop)
        assert records_of(inside) == records[max(start, 0) : max(stop, 0)]
        assert not inside or inside[0].first == max(start, 0)
        assert all(span.count >= 1 for span in inside)
    for count in bounds:
        assert records_of(prefix(spans, count)) == records[: max(count, 0)]
    for offset, record in enumerate(records):
        span = spans[locate(spans, offset)]
        assert (span.stream, span.origin + offset - span.first) == record


@given(st.lists(RECORDS, max_size=4))
def test_concatenating_equals_joining_lists_and_lays_them_anew(parts):
    joined = [record for part in parts for record in part]
    assert concatenate(*map(spans_of, parts)) == spans_of(joined)


@given(RECORDS, st.lists(RECORDS, max_size=4))
def test_subtracting_leaves_what_no_other_has_in_its_order(records, others):
    gone = {record for other in others for record in other}
    left = subtract(spans_of(records), map(spans_of, others))
    assert left == spans_of(record for record in records if record not in gone)


@given(st.lists(RECORDS, max_size=8))
def test_taking_parts_one_by_one_yields_each_record_the_first_time_only(parts):
    taken, seen = Coverage(), set()
    for part in parts:
        assert taken.take(spans_of(part)) == spans_of(r for r in part if r not in seen)
        seen.update(part)
