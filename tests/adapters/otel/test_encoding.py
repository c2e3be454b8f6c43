"""What a value becomes in a document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from transit.adapters.otel.encoding import any_value


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", {"stringValue": "a"}),
        (Text("a"), {"stringValue": "a"}),
        (True, {"boolValue": True}),
        (-(2**63) + 1, {"intValue": str(-(2**63) + 1)}),
        (2**63, {"stringValue": str(2**63)}),
        (None, {}),
        ((), {"arrayValue": {"values": []}}),
        (("a", None), {"arrayValue": {"values": [{"stringValue": "a"}, {}]}}),
        ([1.5], {"arrayValue": {"values": [{"doubleValue": 1.5}]}}),
        ({"k": (1,)}, {"kvlistValue": {"values": [
            {"key": "k", "value": {"arrayValue": {"values": [{"intValue": "1"}]}}}
        ]}}),
    ],
)  # fmt: skip
def test_each_value_has_its_kind(value: object, expected: dict[str, Any]) -> None:
    assert any_value(value) == expected


@pytest.mark.parametrize("around", [lambda value: (value,), lambda value: [value]])
def test_what_is_too_deep_is_cut(around: Callable[[object], object]) -> None:
    value: object = "inside"
    for _ in range(10_000):
        value = around(value)
    found, depth = any_value(value), 0
    while "arrayValue" in found:
        found, depth = found["arrayValue"]["values"][0], depth + 1
    assert (found, depth) == ({"stringValue": "[too deep]"}, 100)
