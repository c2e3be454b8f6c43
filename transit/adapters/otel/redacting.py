"""Redaction of what a stack gives: a policy of `transit.trace` applied to names, values and keys.

Owns where a policy looks: members are known by their name and by the last part of a dotted one;
text that is JSON is looked into where the policy has something to hide in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from transit.trace import Redaction
from transit.trace.redaction import FAILED

_DEPTH_MAX: Final = 100
_JSON_BYTES_MAX: Final = 64 * 1024 * 1024


class Rewriter:
    """Applies a policy to the values of one record; `count` says in how many places."""

    failed: Final = FAILED

    def __init__(self, policy: Redaction) -> None:
        self._policy = policy
        self.count = 0

    def text(self, text: str) -> str:
        """A text as it may be recorded; one that is a JSON document, member by member."""
        found = self._inside(text) if text[:1] in ("{", "[") else None
        if found is not None:
            text = found
        changed, count = self._policy.text(text)
        self.count += count
        return changed

    def members(self, members: Mapping[str, object], depth: int = 0) -> dict[str, object]:
        """Members of an object, or attributes: those that are hidden by name, and the others."""
        return {
            self._key(key): self.member(key, value, depth) for key, value in members.items()
        }  # fmt: skip

    def member(self, key: object, value: object, depth: int = 0) -> object:
        """The member of this name."""
        name = key if isinstance(key, str) else str(key)
        hides = self._policy.hides
        if value is not None and (hides(name) or hides(name.rpartition(".")[2])):
            self.count += 1
            return self._policy.replacement
        return self.value(value, depth)

    def value(self, value: object, depth: int = 0) -> object:
        """Any value."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth > _DEPTH_MAX:
            self.count += 1
            return FAILED
        if isinstance(value, bytes | bytearray | memoryview):
            return self._binary(bytes(value))
        if isinstance(value, Mapping):
            return self.members(value, depth + 1)
        if isinstance(value, Sequence | set | frozenset):
            return [self.value(each, depth + 1) for each in value]
        return self.text(str(value))

    def _key(self, key: object) -> str:
        changed, count = self._policy.text(key if isinstance(key, str) else str(key))
        self.count += count
        return changed

    def _binary(self, value: bytes) -> object:
        text = value.decode("utf-8", "replace")
        kept, count = self._policy.text(text)
        if kept == text:
            return value
        self.count += max(count, 1)
        return self._policy.replacement

    def _inside(self, text: str) -> str | None:
        """JSON with what the policy hides by name replaced; None where there is nothing to."""
        if len(text) > _JSON_BYTES_MAX:
            return None
        try:
            given = msgspec.json.decode(text)
        except (ValueError, RecursionError):
            return None
        before = self.count
        found = self.value(given)
        if self.count == before:
            return None
        return msgspec.json.encode(found).decode()
