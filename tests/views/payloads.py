"""Payloads of every kind, each with the row that it must come to."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec

import transit
from transit.views.scans.declaring import columns

Row = dict[str, Any]
NAMES = (
    "plain", "run-1", "run-2", "it's", 'say "x"', "a'); DROP TABLE events; --", "naïve ☃ 日本",
    "a*b", "[x]", "per%cent", "back\\slash", "events",
)  # fmt: skip


class Event(msgspec.Struct):
    tool: str
    tokens: int = 0
    ratio: float | None = None
    ok: bool | None = None
    extra: dict[str, Any] | None = None
    tags: list[str] = []


class EventAndMore(Event):
    unused: int | None = None


EVENTS = columns("events", Event)
# The same columns and one more: it has other files, or none.
MORE = columns("events", EventAndMore)
FIELDS = tuple(field.name for field in EVENTS.fields)
NOTHING: Row = dict.fromkeys(FIELDS)


def row_of(**given: Any) -> Row:
    return {"tool": None, "tokens": 0, "ratio": None, "ok": None, "extra": None, "tags": []} | given


def payload(choice: random.Random) -> tuple[bytes, Row, bool]:
    """A payload, its row, and whether `_error` says something."""
    value: Row = {"tool": choice.choice(["bash", "edit", "it's", "", "☃\n", "LAST(x)", "nul\0l"])}
    if choice.random() < 0.8:
        value["tokens"] = choice.choice([0, -1, choice.randrange(1000), 2**63 - 1, -(2**63)])
    if choice.random() < 0.5:
        value |= {"ratio": choice.choice([None, 0.5, 3, -1e300]), "ok": choice.random() < 0.5}
    if choice.random() < 0.3:
        value["extra"] = {"a": [1, {"b": "},{"}], "n": None}
        value["tags"] = choice.choice([[], ["x", "y\n"]])
    value["ignored"] = {"deep": [[[choice.random()]]], "text": 'x"y'}
    row = row_of(**{name: value[name] for name in FIELDS if name in value})
    if row["ratio"] is not None:
        row["ratio"] = float(row["ratio"])
    if choice.random() < 0.6:
        indent = choice.choice([None, 1])
        return json.dumps(value, indent=indent, ensure_ascii=False).encode(), row, False
    return _bad(choice, value, row)


def _bad(choice: random.Random, value: Row, row: Row) -> tuple[bytes, Row, bool]:
    wrong = choice.randrange(6)
    if wrong == 0:
        data = choice.choice([
            b"", b"no JSON", b"5", b"[]", b"null", b'"x"', b"{", b"\xff\xfe", b"[" * 5000,
            b'{"tool":"a"},{"tool":"b"}', b'{"tool":"a"}\n{"tool":"b"}', b'{"tool":"a', b'"}',
        ])  # fmt: skip
        return data, NOTHING, True
    if wrong == 1:
        del value["tool"]
        return json.dumps(value).encode(), row | {"tool": None}, True
    name = choice.choice(["tokens", "ratio", "ok", "tool"])
    if wrong == 2:
        value[name] = choice.choice([["x"], {"y": 1}, "text" if name != "tool" else 7])
        return json.dumps(value).encode(), row | {name: None}, True
    if wrong == 3:
        value["tokens"] = choice.choice([2**63, 10**30, 1.5, None, True])
        return json.dumps(value).encode(), row | {"tokens": None}, True
    if wrong == 4:
        value["tool"] = "half \ud800"
        return json.dumps(value).encode(), row | {"tool": None}, True
    # Bytes that are no UTF-8 where no column looks do no harm, and they do where one does.
    data = json.dumps(value).encode().replace(b'x\\"y', b"\xff")
    return data, row, False


def fill(log: transit.Log, choice: random.Random, expected: dict[tuple[str, int], Row]) -> None:
    """Some more of everything: records, streams, branches, merges, what is sealed."""
    streams = list(log.streams())
    for _ in range(choice.randrange(2, 8)):
        stream = _one(log, choice, streams)
        data = [payload(choice) for _ in range(choice.randrange(1, 30))]
        first = stream.append_many([each[0] for each in data]).first
        for offset, (_, row, is_wrong) in enumerate(data, first):
            expected[stream.name, offset] = row | {"_error": is_wrong}
    if choice.random() < 0.7:
        log.seal()


def _one(log: transit.Log, choice: random.Random, streams: list[transit.Stream]) -> transit.Stream:
    kind = choice.random()
    if kind < 0.3 or not streams:
        name = choice.choice(NAMES)
        # Names tell the model which stream a record was appended to.
        hidden = {stream.name for stream in log.hidden()}
        name = f"{name}/{len(streams)}" if name in log or name in hidden else name
        streams.append(log.create(name))
    elif kind < 0.5:
        parent = choice.choice(streams)
        at = choice.randrange(len(parent)) if len(parent) else None
        if at is not None:
            streams.append(parent.branch(f"{parent.name}/b{len(streams)}"[:100], at=at))
    elif kind < 0.6 and len(streams) > 1:
        parents = choice.sample(streams, 2)
        policy = choice.choice(["interleave", "append"])
        streams.append(log.merge(f"m{len(streams)}", parents, policy=policy))
    return choice.choice(streams) if kind > 0.6 else streams[-1]
