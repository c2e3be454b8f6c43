"""Bytes from outside that are JSON but for text that is not UTF-8, or that are nested too deep."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import transit
from transit.client.changes import _decoded as change_event
from transit.protocol.lines import decode_record
from transit.protocol.problems import detail_of, error_of
from transit.server.subscriptions.webhooks import _object as answer_of_a_webhook
from transit.views.loops.claims import _decoded as claim
from transit.views.loops.naming import _decoded as names
from transit.views.loops.ticks import decode_tick
from transit.views.maps.node import decode_node

NOT_TEXT = b'{"a": "\xff", "name": "\xff", "error": "\xff", "detail": "\xff"}'
DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
# What each gives for bytes that are nothing: a value that says so, or an error of ours.
DECODERS: dict[str, tuple[Callable[[bytes], object], object]] = {
    "record": (decode_record, transit.InvalidInputError),
    "problem": (error_of, None),
    "detail": (detail_of, ""),
    "change": (change_event, transit.InvalidInputError),
    "webhook": (answer_of_a_webhook, {}),
    "claim": (claim, None),
    "names": (names, []),
    "tick": (lambda data: decode_tick(data, "a tick"), transit.CorruptError),
    "node": (lambda data: decode_node(data, "a node"), transit.CorruptError),
}


@pytest.mark.parametrize("data", [NOT_TEXT, DEEP], ids=["not text", "deep"])
@pytest.mark.parametrize("name", DECODERS)
def test_what_is_no_value_is_told(name: str, data: bytes) -> None:
    decode, expected = DECODERS[name]
    if isinstance(expected, type):
        with pytest.raises(expected):
            decode(data)
    else:
        assert decode(data) == expected
