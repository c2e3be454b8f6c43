"""Content of completions, each message once: a conversation that grows is not written again.

A completion says after which messages it goes on, by a digest over all of them, and has those that
follow. So `n` calls of a conversation take the bytes of its messages, not of `n` conversations. A
digest refers to content and not to a place: whichever process wrote the beginning, it is the same.

    {"completion": {"traceId", "spanId", "timeUnixNano", "after": digest or "", "inputs": [...],
                    "outputs": [...], "system": [...] or digest, "tools": [...] or digest}}

Read back it is an OTLP log record with the attributes of the conventions for generative AI.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from blake3 import blake3

from transit.adapters.otel.encoding import encode_plain
from transit.trace.files.runs import list_of, object_of, text_of
from transit.trace.files.source import JsonObject

EVENT_NAME: Final = "gen_ai.client.inference.operation.details"
_DIGEST_BYTES: Final = 16
_INPUTS: Final = "gen_ai.input.messages"
_OUTPUTS: Final = "gen_ai.output.messages"
_SYSTEM: Final = "gen_ai.system_instructions"
_TOOLS: Final = "gen_ai.tool.definitions"


def _chain(before: str, message: bytes) -> str:
    made = blake3(before.encode())
    made.update(message)
    return made.hexdigest(length=_DIGEST_BYTES)


class KnownConversations:
    """What one process wrote of the conversations of one trace."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def packed(self, inputs: Sequence[object]) -> tuple[str, list[object], list[str]]:
        """After what it goes on, what follows, and the digests that are known once it is written.

        inputs: messages as JSON's own types.
        """
        after, digest, follows = "", "", 0
        digests: list[str] = []
        for number, message in enumerate(inputs, 1):
            digest = _chain(digest, encode_plain(message))
            if digest in self._known:
                after, follows = digest, number
                digests.clear()
            else:
                digests.append(digest)
        return after, list(inputs[follows:]), digests

    def packed_list(self, given: Sequence[object]) -> tuple[object, str]:
        """A list that is mostly the same, whole or as its digest; and the digest."""
        digest = "list:" + _chain("", encode_plain(list(given)))
        return (digest if digest in self._known else list(given)), digest

    def know(self, digests: Sequence[str]) -> None:
        """These are in the store."""
        self._known.update(digests)


class Conversations:
    """Puts the completions of one stream together, given all of them in order."""

    def __init__(self) -> None:
        self._lists: dict[str, list[object]] = {}

    def whole(self, document: JsonObject) -> JsonObject:
        """A completion as an OTLP document with one log record."""
        given = object_of(document.get("completion"))
        after = text_of(given.get("after"))
        messages = [*self._lists.get(after, ()), *list_of(given.get("inputs"))]
        digest = after
        start = len(messages) - len(list_of(given.get("inputs")))
        for number, message in enumerate(messages[start:], start + 1):
            digest = _chain(digest, encode_plain(message))
            self._lists[digest] = messages[:number]
        said: dict[str, list[object]] = {
            _INPUTS: messages, _OUTPUTS: list_of(given.get("outputs")),
            _SYSTEM: self._list(given.get("system")), _TOOLS: self._list(given.get("tools")),
        }  # fmt: skip
        attributes = [
            {"key": key, "value": {"stringValue": msgspec.json.encode(value).decode()}}
            for key, value in said.items()
            if value
        ]
        record = {
            "timeUnixNano": given.get("timeUnixNano"), "eventName": EVENT_NAME,
            "attributes": attributes,
        } | {key: given[key] for key in ("traceId", "spanId") if given.get(key)}  # fmt: skip
        return {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}

    def _list(self, given: object) -> list[object]:
        if isinstance(given, str):
            return self._lists.get(given, [])
        found = list_of(given)
        if found:
            self._lists["list:" + _chain("", encode_plain(found))] = found
        return found
