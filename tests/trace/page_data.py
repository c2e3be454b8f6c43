"""The data in a page, read as the browser does, by code that shares nothing with what wrote it."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import transit
from transit import trace


def page_of(log: transit.Log, run: str, **how: Any) -> bytes:
    """The page of a run."""
    file = io.BytesIO()
    trace.write_page(log, run, file, **how)
    return file.getvalue()


def data_of(log: transit.Log, run: str, **how: Any) -> PageData:
    """The data in the page of a run."""
    return PageData(page_of(log, run, **how).decode())


class PageData:
    """What is in a page. text: its JSON."""

    def __init__(self, page: str) -> None:
        found = re.search(
            r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL
        )
        assert found is not None
        self.text = found[1]
        data = json.loads(self.text)
        self.title: str = data["title"]
        self.sides: list[dict[str, Any]] = data["sides"]
        self.head = self.sides[0]
        self.steps: list[dict[str, Any]] = data["steps"]
        self.runs: list[str] = data["runs"]
        self.rows: list[list[int]] = data.get("rows", [])
        self.notes: list[Any] = data["notes"]
        self.values: list[Any] = data["values"]
        self.bound: list[int] | None = data.get("bound")

    def value(self, packed: Any) -> Any:
        """The value that is packed; what is cut stays as it is."""
        if isinstance(packed, list):
            return [self.value(each) for each in packed]
        if not isinstance(packed, dict):
            return packed
        mark = packed.get("$")
        if mark is None:
            return {key: self.value(each) for key, each in packed.items()}
        if mark == "number":
            return json.loads(packed["is"])
        if mark == "object":
            return {key: self.value(each) for key, each in packed["of"]}
        if mark == "list":
            return [self.value({"$": number}) for number in self._items(packed)]
        return packed if mark == "cut" else self.value(self.values[mark])

    def _items(self, packed: dict[str, Any]) -> list[int]:
        if "same" not in packed:
            return list(packed["then"])
        number, count = packed["same"]
        before = self._items(self.values[number])
        assert count <= len(before)
        return before[:count] + packed["then"]
