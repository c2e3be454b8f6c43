"""Values that repeat what earlier records said are written once, and come back whole."""

from __future__ import annotations

from typing import Any

import transit
from transit.adapters.encoding import encode_any
from transit.adapters.packed import PackedWriter, values_of


def test_a_growing_conversation_is_written_once_whatever_holds_it(log: transit.Log) -> None:
    stream = log.create("a")
    writer = PackedWriter(log, stream, "os")
    said: list[dict[str, Any]] = []
    given: list[Any] = []
    for n in range(60):
        said.append({"role": "user", "content": f"{n} " + "many words " * 40})
        # One that says a role of its own is no message.
        given.append({"event": "model", "role": None, "input": list(said), "n": n})
        writer.write("event", encode_any(given[-1]))
        given.append({"n": n, "odd": float("inf")} if n % 7 == 0 else {"n": n})
        writer.write("other", encode_any(given[-1]))
    assert [value for _, value in values_of(log, stream)] == given
    whole = sum(len(str(each)) for each in given)
    assert sum(len(record.payload) for record in stream) < whole / 10
