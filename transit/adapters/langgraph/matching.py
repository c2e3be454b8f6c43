"""Matching: what searches of LangGraph's stores ask for, of items and of namespaces."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Final

from transit import InvalidInputError

_OPERATORS: Final = {
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_EQUALS: Final = ("$eq", "$ne")


def matches(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Whether an item has all members that a filter names; `InvalidInputError` for no filter."""
    return all(_compares(value.get(key), each) for key, each in (wanted or {}).items())


def _compares(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        if any(key.startswith("$") for key in wanted):
            return all(_holds(value, name, operand) for name, operand in wanted.items())
        return isinstance(value, dict) and all(
            _compares(value.get(key), each) for key, each in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        return (
            isinstance(value, list | tuple)
            and len(value) == len(wanted)
            and all(map(_compares, value, wanted))
        )
    return bool(value == wanted)


def _holds(value: Any, name: str, operand: Any) -> bool:
    compare = _OPERATORS.get(name)
    if compare is None:
        raise InvalidInputError(f"filter: {name!r} is none of {', '.join(_OPERATORS)}")
    if name in _EQUALS:
        return bool(compare(value, operand))
    try:
        return bool(compare(float(value), float(operand)))
    except (TypeError, ValueError):
        # What is no number is not more or less than one.
        return False


def matches_path(kind: str, path: Sequence[str], namespace: Sequence[str]) -> bool:
    """Whether a namespace begins, or ends, as a condition says; "*" stands for any label."""
    if kind not in ("prefix", "suffix"):
        raise InvalidInputError(f"match_type must be prefix or suffix, not {kind!r}")
    if len(namespace) < len(path):
        return False
    if kind == "suffix":
        path, namespace = path[::-1], namespace[::-1]
    return all(each in ("*", label) for each, label in zip(path, namespace, strict=False))
