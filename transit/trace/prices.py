"""Prices: what tokens cost, as the user says; none are built in.

Owns how the counts of `Totals` become one amount, in exact arithmetic up to the end, and when it is
not known: never 0 for what is not known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final

import msgspec

from transit import InvalidInputError
from transit.trace.events import Totals

Amount = int | float | Decimal
KINDS: Final = ("input", "output", "cache_read", "cache_write")
_ANY: Final = "*"
_PER: Final = 1_000_000


class _Price(msgspec.Struct, frozen=True):
    """Of one token; None where it was not given."""

    input: Fraction | None = None
    output: Fraction | None = None
    cache_read: Fraction | None = None
    cache_write: Fraction | None = None


class Prices:
    """What a million tokens cost, by model, in whatever currency.

        Prices({"model-1": {"input": 2.5, "output": 10, "cache_read": 0.25, "cache_write": 3}})

    A name that ends in `*` is for all models whose names begin so; the exact name comes first, then
    the longest beginning. `InvalidInputError` for a price that is none.
    """

    def __init__(self, prices: Mapping[str, Mapping[str, Amount]]) -> None:
        if not isinstance(prices, Mapping):
            raise InvalidInputError(f"prices must be a mapping by model, not {prices!r}")
        self._exact: dict[str, _Price] = {}
        self._beginnings: list[tuple[str, _Price]] = []
        for model, given in prices.items():
            if not isinstance(model, str) or not model:
                raise InvalidInputError(f"prices: a model's name must be text, not {model!r}")
            price = _price(model, given)
            if model.endswith(_ANY):
                self._beginnings.append((model.removesuffix(_ANY), price))
            else:
                self._exact[model] = price
        self._beginnings.sort(key=lambda item: -len(item[0]))

    def cost(self, totals: Totals) -> float | None:
        """What the tokens in totals cost; None where a count, or its price, is not known.

        Tokens that are not in `input_tokens` but in a cache cost what `cache_read` and
        `cache_write` say; those in `input_tokens` that were read from a cache, or written to it,
        cost that instead of `input`. For none of them `input` stands in. Requests that a service
        refused cost nothing.
        """
        amount = Fraction(0)
        if any(totals.untold.values()):
            return None
        for model in {**totals.tokens, **totals.cached}:
            of_model = self._cost_of(model, totals)
            if of_model is None:
                return None
            amount += of_model
        try:
            return float(amount)
        except OverflowError:
            return None

    def _cost_of(self, model: str, totals: Totals) -> Fraction | None:
        tokens_in, tokens_out = totals.tokens.get(model, (0, 0))
        read, written, read_within, written_within = totals.cached.get(model, (0, 0, 0, 0))
        within = read_within + written_within
        if min(tokens_in, tokens_out, tokens_in - within) < 0:
            return None
        price = self._price_of(model)
        amount = Fraction(0)
        for count, each in (
            (tokens_in - within, price.input),
            (tokens_out, price.output),
            (read + read_within, price.cache_read),
            (written + written_within, price.cache_write),
        ):
            if not count:
                continue
            if each is None:
                return None
            amount += count * each
        return amount

    def _price_of(self, model: str) -> _Price:
        found = self._exact.get(model)
        if found is not None:
            return found
        begun = (price for start, price in self._beginnings if model.startswith(start))
        return next(begun, _Price())


def _price(model: str, given: object) -> _Price:
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"prices: {model}: must be a mapping of {', '.join(KINDS)}")
    made: dict[str, Fraction] = {}
    for kind, amount in given.items():
        place = f"prices: {model}: {kind}"
        if kind not in KINDS:
            raise InvalidInputError(f"{place}: unknown; there are: {', '.join(KINDS)}")
        if isinstance(amount, bool) or not isinstance(amount, int | float | Decimal):
            raise InvalidInputError(f"{place}: must be a number, not {amount!r}")
        if not math.isfinite(amount) or amount < 0:
            raise InvalidInputError(f"{place}: must be finite and not below 0, not {amount!r}")
        # As it is written: 0.1 is a tenth.
        made[kind] = Fraction(str(amount)) / _PER
    return _Price(**made)


def check_prices(prices: object) -> Prices | None:
    """Prices, or None; `InvalidInputError` for anything else."""
    if prices is not None and not isinstance(prices, Prices):
        raise InvalidInputError(f"prices must be trace.Prices, not {prices!r}")
    return prices
