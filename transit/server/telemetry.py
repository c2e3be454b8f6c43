"""The numbers as observable instruments of OpenTelemetry, for whatever exporter a program has.

Owns the instruments; takes the API alone (`opentelemetry-api`), so without an SDK nothing is told.
Durations are told as a count and a sum, because buckets cannot be observed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from transit import Histogram, InvalidInputError, TransitError
from transit.server.numbers import Number, Numbers

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

# One collection asks every instrument.
_KEPT_S: Final = 1.0
_UNITS: Final = {"bytes": "By", "seconds": "s", "": "1"}


def observe(numbers: Numbers, meter: Meter | None = None) -> None:
    """Make the instruments of one server; meter: of the global provider by default.

    Numbers that are not there now, such as those of a remote of a store without one, are left out.
    Raises `InvalidInputError` when `opentelemetry-api` is not installed.
    """
    try:
        # Loaded here: only who wants it needs it.
        from opentelemetry.metrics import Observation, get_meter
    except ImportError:
        raise InvalidInputError(
            "numbers for OpenTelemetry need the package opentelemetry-api: "
            "pip install opentelemetry-api"
        ) from None
    gathered = _Gathered(numbers)
    chosen = get_meter("transit") if meter is None else meter
    for number in numbers.now():
        for name, pick in _told(number):
            make = (
                chosen.create_observable_gauge
                if number.kind == "gauge"
                else chosen.create_observable_counter
            )
            unit = "1" if name.endswith(".count") else _UNITS[number.unit]
            callback = _callback(gathered, number, pick, Observation)
            make(name, callbacks=[callback], unit=unit, description=f"{number.about}.")


class _Gathered:
    """The numbers of one collection."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._lock = threading.Lock()
        self._at = 0.0
        self._found: dict[tuple[str, str], Number] = {}

    def find(self, number: Number) -> Number | None:
        """What that number is now; None where it is not there, or the store is closed."""
        with self._lock:
            now = time.monotonic()
            if not self._found or now - self._at > _KEPT_S:
                try:
                    found = self._numbers.now()
                except TransitError:
                    found = []
                self._found = {(each.name, each.unit): each for each in found}
                self._at = now
            return self._found.get((number.name, number.unit))


Pick = Callable[[object], float]


def _told(number: Number) -> Iterable[tuple[str, Pick]]:
    """The instruments of a number: names, and what they tell of a value."""
    name = f"transit.{number.name}"
    if number.kind != "histogram":
        yield (f"{name}.{number.unit}" if number.unit else name), _plain
        return
    yield f"{name}.count", _count
    yield f"{name}.duration", _sum


def _plain(value: object) -> float:
    return value if isinstance(value, int | float) else 0


def _count(value: object) -> float:
    return value.count if isinstance(value, Histogram) else 0


def _sum(value: object) -> float:
    return value.sum_s if isinstance(value, Histogram) else 0


def _callback(
    gathered: _Gathered, number: Number, pick: Pick, observation: type[Observation]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def call(options: CallbackOptions) -> Iterable[Observation]:
        found = gathered.find(number)
        if found is None:
            return []
        return [
            observation(pick(value), dict(zip(found.labels, labels, strict=True)))
            for labels, value in found.values
        ]

    return call
