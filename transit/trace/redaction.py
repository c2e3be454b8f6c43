"""Redaction: what must not be recorded is replaced before anything is encoded or digested.

Owns what a policy does to a value and to a text. It applies to all that a run records: values,
names, texts of errors, headers, metadata. Each record says in how many places. It fails closed: a
function that raises, and a value that it cannot be applied to, leave nothing of the value.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from transit import InvalidInputError
from transit.trace.values import TYPE, plain

# E-mail addresses.
EMAIL: Final = r"[A-Za-z0-9._%+'-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
# Keys of services that begin in a way of their own: OpenAI, Anthropic, GitHub, AWS, Google, Slack,
# Hugging Face; and private keys as PEM.
KEYS: Final = (
    r"\b(?:sk-(?:ant-|proj-)?[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|xox[abposr]-[A-Za-z0-9-]{10,}|hf_[A-Za-z0-9]{20,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
# Tokens: JSON web tokens, and what follows Bearer or Basic.
TOKENS: Final = (
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|(?i:(?<=\bbearer )|(?<=\bbasic ))[A-Za-z0-9._~+/=-]{8,}"
)
_BINARY: Final = ("bytes", "bytearray")
FAILED: Final = "[redaction failed]"
# What a record consists of, as members of its JSON, beside what the program says.
_OWN: Final = frozenset(
    (
        "event", "call_id", "model_id", "arguments_digest", "lane", "tool_phase", "tool_status",
        "model_status", "call_status", "status", "checkpoint_kind", "digest", "ref", "uid", "run",
        "large",
    )
)  # fmt: skip


class Redaction:
    """A policy: what is replaced.

    patterns: regular expressions; `EMAIL`, `KEYS` and `TOKENS` are ready-made. functions: each
    takes a text and gives one. fields: names of members whose values are replaced whole, in any
    case of letters. replacement: what stands for it.
    Raises `InvalidInputError` for what is no pattern, function or name.
    """

    def __init__(
        self,
        patterns: Sequence[str | re.Pattern[str]] = (),
        functions: Sequence[Callable[[str], str]] = (),
        fields: Sequence[str] = (),
        *,
        replacement: str = "[redacted]",
    ) -> None:
        for given, what in ((patterns, "patterns"), (functions, "functions"), (fields, "fields")):
            if isinstance(given, str | bytes) or not isinstance(given, Sequence):
                raise InvalidInputError(f"{what} must be a sequence, not {given!r}")
        try:
            self._patterns = [re.compile(each) for each in patterns]
        except (re.error, TypeError) as error:
            raise InvalidInputError(f"patterns: {error}") from None
        for each in functions:
            if not callable(each):
                raise InvalidInputError(f"functions: not a function: {each!r}")
        self._functions = list(functions)
        if not all(isinstance(name, str) for name in fields):
            raise InvalidInputError(f"fields must be names, not {fields!r}")
        self._fields = {name.casefold() for name in fields}
        self._replacement = replacement

    def text(self, text: str) -> tuple[str, int]:
        """A text as it may be recorded, and how many places were changed."""
        count = 0
        try:
            for pattern in self._patterns:
                text, changed = pattern.subn(lambda _: self._replacement, text)
                count += changed
            for function in self._functions:
                changed_text = function(text)
                if not isinstance(changed_text, str):
                    return FAILED, count + 1
                count += changed_text != text
                text = changed_text
        except Exception:
            return FAILED, count + 1
        return text, count

    def value(self, value: object) -> tuple[object, int]:
        """A value as it may be recorded, in plain form, and how many places were changed."""
        walk = _Walk(self)
        return walk.of(plain(value, walk.binary)), walk.count

    def event(self, tree: Mapping[str, object]) -> tuple[dict[str, object], int]:
        """An event, as the members of its JSON."""
        walk = _Walk(self)
        members = {
            key: member if key in _OWN else walk.member(key, member)
            for key, member in tree.items()
        }  # fmt: skip
        return members, walk.count

    def hides(self, name: str) -> bool:
        """Whether members of this name are replaced whole."""
        return name.casefold() in self._fields

    @property
    def replacement(self) -> str:
        """What stands for what was replaced."""
        return self._replacement


class _Walk:
    """A walk through JSON's own types that replaces what a policy says."""

    def __init__(self, policy: Redaction) -> None:
        self._policy = policy
        self.count = 0

    def of(self, value: object) -> object:
        if isinstance(value, str):
            text, count = self._policy.text(value)
            self.count += count
            return text
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        if isinstance(value, dict):
            if value.get(TYPE) in _BINARY and isinstance(value.get("value"), str):
                found = self.binary(base64.b64decode(cast(str, value["value"])))
                return value if found == value["value"] else found
            if value.get(TYPE) == "dict" and isinstance(value.get("value"), list):
                return {TYPE: "dict", "value": [self._pair(each) for each in value["value"]]}
            return {self._key(key): self.member(key, member) for key, member in value.items()}
        return value

    def binary(self, value: bytes) -> str:
        """Bytes as base64, or what stands for them where their text has something to hide."""
        text = value.decode("utf-8", "replace")
        kept, count = self._policy.text(text)
        if kept == text:
            return base64.b64encode(value).decode()
        self.count += max(count, 1)
        return self._policy.replacement

    def _pair(self, pair: object) -> object:
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str):
            return [self._key(pair[0]), self.member(pair[0], pair[1])]
        return self.of(pair)

    def member(self, key: str, member: object) -> object:
        """The member `key` of an object."""
        if self._policy.hides(key) and member is not None:
            self.count += 1
            return self._policy.replacement
        return self.of(member)

    def _key(self, key: str) -> str:
        text, count = self._policy.text(key)
        self.count += count
        return text


_default: list[Redaction] = []


def set_redaction(policy: Redaction | None) -> None:
    """Have all runs that begin from now on in this process recorded under `policy`."""
    if policy is not None and not isinstance(policy, Redaction):
        raise InvalidInputError(f"not a Redaction: {policy!r}")
    _default[:] = [] if policy is None else [policy]


def default_redaction() -> Redaction | None:
    """The policy of runs that are given none."""
    return _default[0] if _default else None
