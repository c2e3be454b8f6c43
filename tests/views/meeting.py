"""Two views of one name that save at once, as two processes do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

import transit
from transit import views


def save_first(
    monkeypatch: pytest.MonkeyPatch,
    view: views.View,
    other: views.View,
    stream: transit.Stream,
    stops: Iterable[int],
) -> None:
    """Have `other` look at `stream` up to one of `stops` each time before `view` saves."""
    save, left = view._keeper.save, iter(stops)

    def late(*given: Any) -> Any:
        if (stop := next(left, None)) is not None:
            other.of(stream, stop)
        return save(*given)

    monkeypatch.setattr(view._keeper, "save", late)
