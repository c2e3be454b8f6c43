"""Prices: what tokens cost, exactly, and when it is not known."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

import transit
from transit import trace


def totals(**fields: Any) -> trace.Totals:
    return trace.Totals(model_calls=1, **fields)


def test_tokens_cost_what_a_million_of_them_does() -> None:
    prices = trace.Prices({"m": {"input": 2.5, "output": Decimal(10)}})
    assert prices.cost(totals(tokens={"m": (1_000_000, 100_000)})) == 3.5
    assert prices.cost(totals(tokens={"m": (1, 0)})) == 0.0000025


def test_amounts_add_up_as_they_are_written() -> None:
    prices = trace.Prices({"*": {"input": 0.1}, "b": {"input": 0.2}})
    # In floats a tenth and two tenths are more than three tenths.
    assert prices.cost(totals(tokens={"a": (1_000_000, 0), "b": (1_000_000, 0)})) == 0.3


def test_a_name_is_matched_exactly_or_by_its_longest_beginning() -> None:
    prices = trace.Prices(
        {
            "gpt-*": {"input": 1},
            "gpt-4*": {"input": 2},
            "gpt-4": {"input": 3},
            "exact": {"input": 4},
        }
    )
    for model, amount in [("gpt-3", 1), ("gpt-4o", 2), ("gpt-4", 3), ("exact", 4)]:
        assert prices.cost(totals(tokens={model: (1_000_000, 0)})) == amount
    assert prices.cost(totals(tokens={"exact-1": (1, 0)})) is None
    assert prices.cost(totals(tokens={"claude": (1, 0)})) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"tokens": {"m": (1, 1), "other": (1, 0)}},
        {"tokens": {"m": (-1, 5)}},
        {"tokens": {"m": (5, -1)}},
        {"tokens": {"m": (5, 5)}, "untold": {"m": 1}},
        {"tokens": {"m": (5, 5)}, "cached": {"m": (1, 0, 0, 0)}},
        {"tokens": {"m": (5, 5)}, "cached": {"m": (0, 1, 0, 0)}},
        {"tokens": {"m": (5, 5)}, "cached": {"m": (0, 0, 1, 0)}},
        {"tokens": {"c": (5, 5)}, "cached": {"c": (0, 0, 6, 0)}},
        {"tokens": {"half": (5, 5)}},
    ],
    ids=["no price", "no input", "no output", "a call untold", "read", "written", "within",
         "more within than there are", "no price of outputs"],
)  # fmt: skip
def test_what_is_not_known_has_no_cost(fields: dict[str, Any]) -> None:
    prices = trace.Prices(
        {
            "m": {"input": 1, "output": 1},
            "c": {"input": 1, "output": 1, "cache_read": 1},
            "half": {"input": 1},
        }
    )
    assert prices.cost(totals(**fields)) is None


def test_tokens_in_a_cache_have_prices_of_their_own() -> None:
    prices = trace.Prices(
        {"m": {"input": 10, "output": 0, "cache_read": 1, "cache_write": 12}},
    )
    beside = totals(tokens={"m": (1_000_000, 5)}, cached={"m": (2_000_000, 1_000_000, 0, 0)})
    assert prices.cost(beside) == 10 + 2 + 12
    within = totals(tokens={"m": (1_000_000, 5)}, cached={"m": (0, 0, 400_000, 0)})
    assert prices.cost(within) == 6 + 0.4


def test_a_run_without_models_costs_nothing() -> None:
    assert trace.Prices({}).cost(trace.Totals(tool_calls=3)) == 0
    assert trace.Prices({}).cost(totals(tokens={"free": (0, 0)})) == 0


def test_an_amount_beyond_floats_is_not_known() -> None:
    prices = trace.Prices({"m": {"input": 1e308}})
    assert prices.cost(totals(tokens={"m": (10**12, 0)})) is None


@pytest.mark.parametrize(
    "given",
    [
        5,
        {"m": 5},
        {3: {"input": 1}},
        {"": {"input": 1}},
        {"m": {"inptu": 1}},
        {"m": {"input": "1"}},
        {"m": {"input": True}},
        {"m": {"input": -1}},
        {"m": {"input": float("nan")}},
        {"m": {"input": float("inf")}},
        {"m": {"input": None}},
    ],
)
def test_what_is_no_price_is_refused(given: Any) -> None:
    with pytest.raises(transit.InvalidInputError, match="prices"):
        trace.Prices(given)


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        ({"input_tokens": 9, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2},
         (5, 2, 0, 0)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 5},
          "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2}, (0, 0, 5, 2)),
        ({"input_tokens": 9, "gen_ai.usage.cache_creation.input_tokens": 3}, (0, 0, 0, 3)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, (0, 0, 4, 0)),
        ({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}}, (0, 0, 4, 0)),
        ({"promptTokenCount": 9, "cachedContentTokenCount": 3}, (0, 0, 3, 0)),
        ({"input_tokens": 9, "gen_ai.usage.cache_read.input_tokens": 3}, (0, 0, 3, 0)),
        ({"input_tokens": 9, "cache_read_input_tokens": None}, (0, 0, 0, 0)),
        ({"input_tokens": 9, "cache_read_input_tokens": -4}, (0, 0, 0, 0)),
        ({"input_tokens": 9, "cache_read_input_tokens": True}, (0, 0, 0, 0)),
        ({"input_tokens": 9, "prompt_tokens_details": [3]}, (0, 0, 0, 0)),
    ],
)  # fmt: skip
def test_counts_of_a_cache_are_taken_from_any_services_usage(
    log: transit.Log, usage: dict[str, object], cached: tuple[int, int, int, int]
) -> None:
    """Told in a call, in a response, to an open call, or in an event made elsewhere."""
    with trace.task(log, "t") as task:
        task.model_call(model="m", usage=usage)
        task.model_call(model="m", response={"usage": usage})
        task.model("m").response({"usage": usage})
        task.model("m").response(usage=usage)
        task.record(trace.ModelCall(request_model="m", input_tokens=9, usage=usage))
        task.record(trace.ModelCall(request_model="m", response={"usage": usage}))
    events = [record.event for record in trace.read(log, "t")]
    found = [
        event.cached_tokens
        for event in events
        if isinstance(event, trace.ModelCall | trace.ModelResponse)
    ]
    assert found == [cached] * 6
    whole = tuple(6 * count for count in cached)
    assert trace.read(log, "t").totals.cached == ({"m": whole} if any(cached) else {})


def test_the_usage_of_a_call_stays_as_it_was_told(log: transit.Log) -> None:
    usage = {"input_tokens": 9, "output_tokens": 1, "cache_read_input_tokens": 5, "service": "x"}
    task = trace.task(log, "t")
    task.model_call(model="m", usage=usage)
    task.model_call(model="m", response={"usage": usage})
    for record in trace.read(log, "t"):
        assert isinstance(record.event, trace.ModelCall)
        assert record.event.usage == {"cache_read_input_tokens": 5, "service": "x"}
