"""A record of an export: an object of JSON whose members may be anything.

Owns how members are asked for: what is not of the kind that was asked for counts as not there, and
so stays in `source`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

Record = Mapping[str, object]
_NOTHING: Record = {}


def is_record(value: object) -> bool:
    """Whether it is an object of JSON."""
    return isinstance(value, dict)


def record(value: object) -> Record:
    """`value` if it is an object, else an empty one."""
    return cast(Record, value) if isinstance(value, dict) else _NOTHING


def records_in(value: object) -> list[Record]:
    """The objects of a list; nothing if it is none."""
    return [record(each) for each in items(value) if isinstance(each, dict)]


def items(value: object) -> list[object]:
    """`value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """`value` if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def first_text(*values: object) -> str:
    """The first of `values` that is a text and not empty."""
    return next((value for value in values if isinstance(value, str) and value), "")


def without(whole: Record, *names: str) -> dict[str, object]:
    """`whole` without the members that other fields say; what is no text stays."""
    return {
        name: value
        for name, value in whole.items()
        if name not in names or not isinstance(value, str)
    }
