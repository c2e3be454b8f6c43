"""Where real files of other tools are, and small readings of what was imported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import transit
from transit import trace

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def shared_files(folder: str) -> list[Path]:
    """The files in a folder of real input; skips the test where they are not there."""
    names = ("SOURCE.md", "README.md")
    found = [file for file in sorted((SHARED / folder).glob("*")) if file.name not in names]
    if not found:
        pytest.skip(f"no real files in {SHARED / folder}")
    return found


class Totals(NamedTuple):
    """What runs come to: answers of models, calls of tools, tokens in and out."""

    answers: int
    calls: int
    tokens_in: int
    tokens_out: int


def events_of(log: transit.Log, runs: str | Sequence[str]) -> list[Any]:
    """The events recorded in these runs, inherited ones left out."""
    names = [runs] if isinstance(runs, str) else runs
    return [
        record.event
        for name in names
        for record in trace.read(log, name)
        if record.origin.stream == name
    ]


def totals(log: transit.Log, runs: Sequence[str]) -> Totals:
    """What was imported into these runs, each event once."""
    events = events_of(log, runs)
    calls = [event for event in events if isinstance(event, trace.ModelCall)]
    return Totals(
        len(calls),
        sum(isinstance(event, trace.ToolRequest) for event in events),
        sum(max(0, call.input_tokens) for call in calls),
        sum(max(0, call.output_tokens) for call in calls),
    )


def kinds(events: Iterable[object]) -> list[str]:
    """The names of the kinds of events."""
    return [type(event).__name__ for event in events]
