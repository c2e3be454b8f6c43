"""Answers, bounded in items and in bytes of their JSON.

    {…, "<items>": […], "next": {…} or null, "truncated": false}

next: the arguments to give, with the others as before, for what comes after. truncated: something
was left out: more items, or the end of a long text. Text that no JSON can say, such as half a
surrogate pair, is replaced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from transit.server.mcp.arguments import ANSWER_BYTES

# What `next`, `truncated`, commas and brackets take at most: two names of 512 bytes, escaped.
_ENVELOPE_BYTES: Final = 512
_LONGEST_CHARS: Final = 4096
_SHORTEST_CHARS: Final = 8

Item = dict[str, Any]


def encode(value: object) -> str:
    """The JSON of an answer."""
    return msgspec.json.encode(value).decode()


def size_of(value: object) -> int:
    """How many bytes an item takes in an answer."""
    return len(msgspec.json.encode(value))


class Page:
    """One answer, made item by item until it is full."""

    def __init__(self, head: Mapping[str, object], items: str, max_bytes: int = ANSWER_BYTES):
        self._head = plain(dict(head))
        self._name = items
        self._items: list[Item] = []
        self.left = max_bytes - _ENVELOPE_BYTES - size_of(self._head)
        self._is_cut = False
        if self.left < max_bytes // 2:
            self._head = _fitted(self._head, max_bytes // 2)
            self.left = max_bytes - _ENVELOPE_BYTES - size_of(self._head)
            self._is_cut = True

    def take(self, item: Mapping[str, object]) -> bool:
        """Add an item; False where there is no room left. The first comes always, cut if need be.

        An item whose `cut` is true counts as one that is not whole.
        """
        made = plain(dict(item))
        size = size_of(made) + 1
        if size > self.left:
            if self._items:
                return False
            made = {**_fitted(made, self.left - 16), "cut": True}
            size = size_of(made) + 1
        self._items.append(made)
        self.left -= size
        self._is_cut = self._is_cut or made.get("cut") is True
        return True

    def cut_text(self, item: Mapping[str, object]) -> str:
        """The longest beginning of an item's text with which there is room for the item."""
        without = plain({**item, "text": "", "cut": True})
        return cut_text(str(plain(item["text"])), self.left - 1 - size_of(without))

    def __len__(self) -> int:
        return len(self._items)

    def answer(self, following: Mapping[str, object] | None) -> Item:
        """The answer. following: the arguments that go on; None where nothing is left."""
        go_on = None if following is None else plain(dict(following))
        return {
            **self._head,
            self._name: self._items,
            "next": go_on,
            "truncated": self._is_cut or go_on is not None,
        }


def numbered(
    head: Mapping[str, object], name: str, items: Iterable[Item], skip: int, limit: int
) -> Item:
    """The page of `limit` of the items after the first `skip`."""
    page, place = Page(head, name), 0
    for place, item in enumerate(items):
        if place < skip:
            continue
        if len(page) >= limit or not page.take(item):
            return page.answer({"skip": place})
    return page.answer(None)


def plain(value: Any) -> Any:
    """A value of an answer as JSON has it; only what is not deep is given here."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 63:
        return str(value)
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def cut_text(text: str, left: int) -> str:
    """The longest beginning of `text` that takes at most `left` bytes of JSON."""
    # No character takes less than one byte.
    text = text[: max(left, 0)]
    if size_of(text) <= left:
        return text
    return text[: _largest(len(text), lambda count: size_of(text[:count]) <= left)]


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `most` that fits, where all below it do; 0 at least."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _fitted(item: Item, left: int) -> Item:
    """An item with its texts and lists shortened until it takes at most `left` bytes."""
    chars = _LONGEST_CHARS
    while chars >= _SHORTEST_CHARS:
        made: Item = _shortened(item, chars)
        if size_of(made) <= left:
            return made
        chars //= 2
    return {"size": size_of(item)}


def _shortened(value: Any, chars: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= chars else value[: chars - 1] + "…"
    many = max(chars // 16, 1)
    if isinstance(value, dict):
        return {
            _shortened(key, 64): _shortened(each, chars)
            for key, each in list(value.items())[: max(many, 24)]
        }
    if isinstance(value, list):
        return [_shortened(each, chars) for each in value[:many]]
    return value
