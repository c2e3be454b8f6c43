"""Redaction of state: what must not be recorded is replaced in values of any type.

A checkpoint is state, and a run that is resumed goes on with what was recorded. So values keep
their types: a message stays a message, with other text in it. Nothing that is given is changed. It
fails closed: of what cannot be looked into, nothing is left where its bytes have something to hide.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from blake3 import blake3
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from transit.trace import Redaction

FAILED: Final = "[redaction failed]"
_NUMBERS: Final = (bool, int, float, complex, type(None))
_SEVERAL: Final = (list, tuple, set, frozenset, deque)
_DEPTH_MAX: Final = 200


def safe_name(policy: Redaction | None, name: str) -> str:
    """A name that tells things apart: itself, or a digest where it has something to hide."""
    if policy is None or policy.text(name)[0] == name:
        return name
    return f"~{blake3(name.encode('utf-8', 'surrogatepass')).hexdigest(16)}"


class Cleaner:
    """A policy at work on what is put at once. count: of places that were changed."""

    def __init__(self, policy: Redaction) -> None:
        self._policy = policy
        self.count = 0

    def text(self, text: str) -> str:
        """A text as it may be recorded."""
        found, count = self._policy.text(text)
        self.count += count
        return found

    def value(self, value: Any) -> Any:
        """A value as it may be recorded; itself where nothing in it is changed."""
        try:
            return self._of(value, 0)
        except Exception:
            # Its own methods, or what nests too deep.
            self.count += 1
            return FAILED

    def named(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        """Values by name, and the names themselves."""
        return {self._key(key): self._member(key, value, 0) for key, value in values.items()}

    def _of(self, value: Any, depth: int) -> Any:
        if depth > _DEPTH_MAX:
            raise RecursionError("too deep")
        kind = type(value)
        if kind in _NUMBERS:
            return value
        if isinstance(value, str):
            text = self.text(str(value))
            return value if text == value else text
        if isinstance(value, bytes | bytearray | memoryview):
            return self._binary(value)
        if kind is dict:
            made = {self._key(k): self._member(k, v, depth) for k, v in value.items()}
            return value if _same(list(made.items()), list(value.items())) else made
        if isinstance(value, _SEVERAL):
            items = [self._of(item, depth + 1) for item in value]
            return value if _all_same(items, value) else _rebuilt(value, items)
        if isinstance(value, BaseException):
            # As LangGraph's serializer keeps it.
            return self.text(repr(value))
        members = _members(value)
        return self._whole(value) if members is None else self._object(value, members, depth)

    def _object(self, value: Any, members: Mapping[str, Any], depth: int) -> Any:
        changed: dict[str, Any] = {}
        for name, member in members.items():
            found = self._member(name, member, depth)
            if found is not member:
                changed[name] = found
        extra = getattr(value, "__pydantic_extra__", None)
        more = self._of(extra, depth + 1) if extra else extra
        if not changed and more is extra:
            return value
        made = copy.copy(value)
        for name, member in changed.items():
            object.__setattr__(made, name, member)
        if more is not extra:
            object.__setattr__(made, "__pydantic_extra__", more)
        return made

    def _member(self, name: object, member: Any, depth: int) -> Any:
        if isinstance(name, str) and member is not None and self._policy.hides(name):
            self.count += 1
            return self._policy.replacement
        return self._of(member, depth + 1)

    def _key(self, key: Any) -> Any:
        return self._of(key, 0) if isinstance(key, str | bytes | tuple) else key

    def _binary(self, value: bytes | bytearray | memoryview) -> Any:
        text = bytes(value).decode("utf-8", "replace")
        if self.text(text) == text:
            return value
        return self._policy.replacement.encode()

    def _whole(self, value: Any) -> Any:
        """What has no members that are known: kept only where its bytes have nothing to hide."""
        _, data = JsonPlusSerializer().dumps_typed(value)
        for text in (data.decode("utf-8", "replace"), repr(value)):
            if self.text(text) != text:
                return self._policy.replacement
        return value


def _members(value: Any) -> dict[str, Any] | None:
    kind = type(value)
    if hasattr(kind, "__pydantic_fields__") or dataclasses.is_dataclass(value):
        names = getattr(kind, "__pydantic_fields__", None) or {
            field.name for field in dataclasses.fields(value)
        }
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    slots = getattr(kind, "__slots__", None)
    if kind.__module__.partition(".")[0] == "langgraph" and slots:
        return {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return None


def _rebuilt(value: Any, items: list[Any]) -> Any:
    if hasattr(value, "_make"):
        return value._make(items)
    if isinstance(value, deque):
        return deque(items, value.maxlen)
    return type(value)(items)


def _same(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(
        a[0] == b[0] and a[1] is b[1] for a, b in zip(left, right, strict=True)
    )


def _all_same(items: list[Any], value: Any) -> bool:
    return all(made is item for made, item in zip(items, value, strict=True))
