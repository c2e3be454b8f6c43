"""Plots as SVG text: costs on two logarithmic axes, and bars on one.

Only what the report needs, so that the runner needs no plotting library. Sizes are pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

WIDTH: Final = 760
_FONT: Final = "font-family='system-ui, sans-serif' font-size='12'"
_INK: Final = "#333333"
_FAINT: Final = "#dddddd"
_OURS: Final = "#c2410c"
_OTHERS: Final = "#64748b"
_RAW: Final = "#94a3b8"
# Readable on white, and apart from one another without red and green.
_COLOURS: Final = ("#c2410c", "#1d4ed8", "#047857", "#7c3aed", "#111827", "#0e7490", "#be185d")
_BAR: Final = 18
_GAP: Final = 8
_LABEL: Final = 190
_MARGIN: Final = 24


class Series(NamedTuple):
    """One line: its name in the legend, and points above zero."""

    name: str
    points: Sequence[tuple[float, float]]


class Bar(NamedTuple):
    """One bar: its label, its value above zero, its lowest and highest, the text after it."""

    label: str
    value: float
    low: float
    high: float
    text: str


class _Scale:
    """A logarithmic axis: from values to pixels, over whole powers of ten."""

    def __init__(self, values: Iterable[float], start: float, stop: float) -> None:
        logs = [math.log10(value) for value in values]
        self._first = math.floor(min(logs))
        self._last = max(math.ceil(max(logs)), self._first + 1)
        self._start = start
        self._step = (stop - start) / (self._last - self._first)

    def __call__(self, value: float) -> float:
        return self._start + (math.log10(value) - self._first) * self._step

    @property
    def ticks(self) -> list[float]:
        """The powers of ten on the axis."""
        return [10.0**power for power in range(self._first, self._last + 1)]


def log_log(title: str, across: str, up: str, series: Sequence[Series]) -> str:
    """Lines on two logarithmic axes, with a legend below."""
    height, left, right, top = 420, 70, WIDTH - _MARGIN, 44
    points = [point for each in series for point in each.points]
    x = _Scale((point[0] for point in points), left, right)
    y = _Scale((point[1] for point in points), height - 56, top)
    parts = [_text(left, 24, title, weight="bold"), _text(right, height - 20, across, "end")]
    parts.append(_text(left - 8, top - 10, up, "end"))
    for tick in x.ticks:
        parts += _tick_across(x(tick), top, height - 56, _power(tick))
    for tick in y.ticks:
        parts += _tick_up(y(tick), left, right, _power(tick))
    for number, each in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        parts += _line([(x(a), y(b)) for a, b in each.points], colour)
        parts += _legend(left, height + 18 * number, colour, each.name)
    return _document(height + 18 * len(series) + _MARGIN, parts)


def _line(points: Sequence[tuple[float, float]], colour: str) -> Iterator[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>"
    for x, y in points:
        yield f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>"


def _legend(left: float, y: float, colour: str, name: str) -> Iterator[str]:
    yield f"<rect x='{left}' y='{y - 9}' width='12' height='10' fill='{colour}'/>"
    yield _text(left + 20, y, name)


def bars(title: str, unit: str, rows: Sequence[Bar], ours: str, raw: str) -> str:
    """Bars on a logarithmic axis; `ours` and `raw` are the labels that are set apart."""
    top = 64
    bottom = top + len(rows) * (_BAR + _GAP)
    # The text after a bar stands inside the frame, whatever its length.
    scale = _Scale((value for row in rows for value in (row.low, row.high)), _LABEL, WIDTH - 170)
    parts = [_text(_MARGIN, 24, title, weight="bold"), _text(_LABEL, 44, unit)]
    for tick in scale.ticks:
        parts += _tick_across(scale(tick), top - 6, bottom, _power(tick))
    for number, row in enumerate(rows):
        y = top + number * (_BAR + _GAP)
        colour = _OURS if row.label == ours else _RAW if row.label == raw else _OTHERS
        stop, low, high = scale(row.value), scale(row.low), scale(row.high)
        parts += [
            _text(_LABEL - 8, y + 13, row.label, "end"),
            f"<rect x='{_LABEL}' y='{y}' width='{max(stop - _LABEL, 1):.1f}' height='{_BAR}'"
            f" fill='{colour}'/>",
            f"<path d='M{low:.1f},{y + 9}H{high:.1f}' stroke='{_INK}'/>",
            _text(max(stop, high) + 6, y + 13, row.text),
        ]
    return _document(bottom + 2 * _MARGIN, parts)


def _tick_across(x: float, top: float, bottom: float, label: str) -> Iterator[str]:
    yield f"<path d='M{x:.1f},{top}V{bottom}' stroke='{_FAINT}'/>"
    yield _text(x, bottom + 16, label, "middle")


def _tick_up(y: float, left: float, right: float, label: str) -> Iterator[str]:
    yield f"<path d='M{left},{y:.1f}H{right}' stroke='{_FAINT}'/>"
    yield _text(left - 8, y + 4, label, "end")


def _power(value: float) -> str:
    power = round(math.log10(value))
    if -3 < power < 4:
        return f"{value:g}"
    return "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-weight='{weight}'"
        f" fill='{_INK}'>{escape(text)}</text>"
    )


def _document(height: float, parts: Iterable[str]) -> str:
    body = "\n".join(parts)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0f}'"
        f" width='{WIDTH}' height='{height:.0f}' {_FONT}>\n"
        f"<rect width='100%' height='100%' fill='white'/>\n{body}\n</svg>\n"
    )
