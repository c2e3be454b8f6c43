"""Packed values: what is stored once, what comes back, what is found out when it is damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

import transit
from transit import trace
from transit.trace.events import decode_json, encode_json
from transit.trace.packing import Packing
from transit.trace.parts import KnownParts
from transit.trace.unpacking import HistoryParts

TEXT = st.text(max_size=40) | st.sampled_from(["x" * 60, "half \ud800", "null", '"parts":['])
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
KEYS = st.sampled_from(
    [
        "role",
        "content",
        "messages",
        "parts",
        "digest",
        "list",
        "part",
        "value",
        "usage",
        "model",
        "message",
        "fields",
        "items",
    ]
)
JSON = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=25,
)


class History:
    """A history of records in memory: what a writer and a reader make of it."""

    def __init__(self) -> None:
        self.known = KnownParts()
        self.payloads: list[bytes] = []

    def write(self, **values: object) -> bytes:
        packing = Packing(self.known)
        event = {key: packing.pack(value) for key, value in values.items()}
        self.payloads.append(packing.finish(encode_json({"event": "x", **event})))
        self.known.passed(packing.parts.digests, packing.lists.digests)
        return self.payloads[-1]

    def read(self) -> list[dict[str, object] | None]:
        # Never asked for more than it is given.
        parts = HistoryParts(None)  # type: ignore[arg-type]
        found = []
        for offset, payload in enumerate(self.payloads):
            parts.add(payload)
            forms: Any = decode_json(payload)
            about = ("event", "parts", "lists", "digest")
            forms = {k: v for k, v in forms.items() if k not in about and v is not None}
            found.append(parts.unpack(offset, forms, f"s@{offset}"))
        return found

    def known_to_others(self) -> KnownParts:
        """What a writer knows that wrote none of it."""
        others = KnownParts()
        others.catch_up(_Records(self.payloads))  # type: ignore[arg-type]
        return others


class _Record(NamedTuple):
    payload: bytes


class _Records(list[bytes]):
    """As much of a stream as a writer looks at."""

    def read(self, start: int) -> Iterator[_Record]:
        return map(_Record, self[start:])


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(JSON, JSON), max_size=5))
def test_any_json_comes_back_as_it_was(written: list[tuple[object, object]]) -> None:
    history = History()
    for one, other in written + written[:2]:
        history.write(one=one, other=other)
    pairs = [{"one": one, "other": other} for one, other in written + written[:2]]
    # What is None is not stored at all.
    expected = [{key: v for key, v in pair.items() if v is not None} for pair in pairs]
    assert json.dumps(history.read()) == json.dumps(expected)
    # A reader that did not write the history knows the same.
    others, own = history.known_to_others(), history.known
    assert others.stop == own.stop
    assert others.parts.digests == own.parts.digests
    assert others.lists.digests == own.lists.digests


def test_a_repeated_history_is_referred_to_as_one_run() -> None:
    history = History()
    messages: list[object] = [{"role": "user", "content": f"{n}" * 50} for n in range(50)]
    first = history.write(request={"messages": messages})
    second = history.write(request={"messages": messages})
    assert len(first) > 50 * 50
    assert json.loads(first)["lists"] == [[-1, [[0, 50]]]]
    assert json.loads(second)["request"] == {
        "value": {"messages": 0},
        "fields": {"messages": {"items": 0}},
    }
    assert "lists" not in json.loads(second)
    assert history.read()[1] == {"request": {"messages": messages}}


@pytest.mark.parametrize("between", [{"usage": {"tokens": "t" * 30}}, {"usage": 1}])
def test_a_growing_history_costs_the_same_each_time(between: object) -> None:
    history = History()
    messages: list[object] = []
    sizes = []
    for n in range(100, 300):
        messages.append({"role": "user", "content": f"{n}" * 20})
        answer = {"id": f"{n}", "role": "assistant", "content": f"answer {n}"}
        sizes.append(len(history.write(request=list(messages), response=answer, extra=between)))
        messages.append({"role": "assistant", "content": f"answer {n}"})
    assert max(sizes) - min(sizes[1:]) < 20
    values = history.read()[-1]
    assert values is not None
    assert values["request"] == messages[:-1]


def test_two_conversations_at_once_and_one_that_forgets_come_back() -> None:
    history = History()
    one: list[object] = []
    other: list[object] = []
    written: list[object] = []
    for n in range(30):
        for messages, name in ((one, "one"), (other, "other")):
            messages.append({"role": "user", "content": f"{name} {n}"})
            written += [list(messages), messages[-3:]]
            history.write(request=list(messages))
            history.write(request=messages[-3:])
    assert [values and values["request"] for values in history.read()] == written
    assert len(history.payloads[-2]) < 300


def test_what_an_api_repeats_is_stored_once() -> None:
    history = History()
    tools = [{"name": "bash", "description": "d" * 80}, {"name": "edit", "description": "e" * 80}]
    system = "You are " + "s" * 90
    settings_used = {"temperature": 0.1, "stop": ["a" * 30]}
    messages: list[object] = []
    sizes = []
    for n in range(4):
        messages.append({"role": "user", "content": f"{n}" * 100})
        request = {"system": system, "tools": tools, **settings_used, "messages": list(messages)}
        answer = {"role": "assistant", "content": f"answer {n}"}
        sizes.append(
            len(history.write(request=request, response={"choices": [{"message": answer}]}))
        )
        messages.append(answer)
        assert history.read()[-1] == {
            "request": request, "response": {"choices": [{"message": answer}]}
        }  # fmt: skip
    assert max(sizes[1:]) < sizes[0] * 0.55
    assert b"".join(history.payloads).count(b"d" * 80) == 1
    assert b"".join(history.payloads).count(b"s" * 90) == 1
    assert b"".join(history.payloads).count(b"answer 1") == 1


def test_a_whole_response_shares_its_message_with_the_next_request() -> None:
    history = History()
    content = [{"type": "text", "text": "t" * 200}, {"type": "tool_use", "input": {"cmd": "ls"}}]
    usage = {"input_tokens": 5, "output_tokens": 7, "cache": "c" * 30}
    response = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": None, "usage": usage,
    }  # fmt: skip
    message = {"role": "assistant", "content": content}
    history.write(request=[{"role": "user", "content": "q"}], response=response)
    history.write(request=[{"role": "user", "content": "q"}, message], response="r")
    assert b"".join(history.payloads).count(b"t" * 200) == 1
    first, second = history.read()
    assert first is not None
    assert second is not None
    assert json.dumps(first["response"]) == json.dumps(response)
    assert second["request"] == [{"role": "user", "content": "q"}, message]


@pytest.mark.parametrize(
    "response",
    [
        {"role": "r", "usage": None},
        {"role": "r", "model": "m", "content": {"message": 0, "fields": {}}},
        {"content": [], "model": 1, "role": [{"role": 1}], "message": {"role": 2}},
        {"model": "m", "message": {"role": "r", "usage": 1}},
        {"role": 0, "usage": 0, "content": 0},
    ],
    ids=str,
)
def test_odd_responses_come_back_as_they_were(response: dict[str, object]) -> None:
    history = History()
    for _ in range(2):
        history.write(response=response, request=[response, {"choices": [response]}])
    for values in history.read():
        assert json.dumps(values) == json.dumps(
            {"response": response, "request": [response, {"choices": [response]}]}
        )


def test_members_keep_their_order() -> None:
    history = History()
    value = {
        "z": 1,
        "long": "l" * 50,
        "a": None,
        "messages": [{"role": "r", "b": 1, "a": 2}],
        "m": {},
    }
    for _ in range(2):
        history.write(value=value)
    assert [json.dumps(found) for found in history.read()] == [json.dumps({"value": value})] * 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"role": "a", "n": 1}, {"role": "a", "n": 1.0}),
        ({"role": "a", "n": True}, {"role": "a", "n": 1}),
        ({"role": "a", "b": 1}, {"b": 1, "role": "a"}),
        ("1" * 40, int("1" * 40)),
    ],
)
def test_what_only_python_calls_equal_is_not_mixed_up(one: object, other: object) -> None:
    history = History()
    history.write(value=[one, other])
    history.write(value=[other, one])
    found = [json.dumps(values) for values in history.read()]
    assert found == [json.dumps({"value": [one, other]}), json.dumps({"value": [other, one]})]


def test_a_list_that_was_read_is_the_callers_own(log: transit.Log) -> None:
    task = trace.task(log, "t")
    messages = [{"role": "user", "content": f"{n}" * 40} for n in range(5)]
    for count in (3, 5, 5, 4):
        task.model_call(model="m", request={"messages": messages[:count]})
    for record, count in zip(trace.read(log, "t"), (3, 5, 5, 4), strict=True):
        request: Any = record.event.request  # type: ignore[union-attr]
        assert request["messages"] == messages[:count]
        request["messages"].clear()


# A writer's knowledge


@given(st.lists(st.lists(st.integers(0, 6), max_size=3), max_size=8), st.integers(0, 10))
def test_what_a_branch_begins_with_is_what_the_history_holds_up_to_there(
    records: list[list[int]], stop: int
) -> None:
    def known_from(some: list[list[int]]) -> KnownParts:
        known = KnownParts()
        for record in some:
            known.passed([bytes([n]) for n in record], [bytes([n + 50]) for n in record[:1]])
        return known

    whole = known_from(records)
    begun, expected = whole.until(stop), known_from(records[:stop])
    assert begun.stop == expected.stop == min(stop, len(records))
    for begun_with, wanted in ((begun.parts, expected.parts), (begun.lists, expected.lists)):
        assert begun_with.digests == wanted.digests
        for n in range(60):
            assert begun_with.numbers.get(bytes([n])) == wanted.numbers.get(bytes([n]))
    begun.passed([b"new"])
    assert b"new" not in whole.parts.numbers
    assert begun.parts.numbers[b"new"] == len(expected.parts.digests)


def test_a_branch_of_a_branch_knows_what_its_own_marks_say() -> None:
    known = KnownParts()
    for n in range(5):
        known.passed([bytes([n])])
    begun = [known.until(4).until(stop) for stop in range(6)]
    assert [len(each.parts.digests) for each in begun] == [0, 1, 2, 3, 4, 4]


# Damage


def chat(log: transit.Log) -> trace.Task:
    task = trace.task(log, "t")
    for n in range(3):
        task.message("user", f"{n}" * 40)
    return task


def referring(log: transit.Log) -> dict[str, Any]:
    """A record that refers to the three messages before it."""
    task = chat(log)
    messages = [{"role": "user", "content": f"{n}" * 40} for n in (0, 1, 2)]
    task.model_call(model="m", request=messages)
    (*_, last) = trace.read(log, "t")
    members: dict[str, Any] = json.loads(last.payload)
    assert members["request"] == {"items": 0}
    assert (members["parts"], members["lists"]) == ([], [[-1, [[0, 3]]]])
    return members


FAR = 99999999999999999999999


@pytest.mark.parametrize(
    ("request_form", "lists"),
    [
        ({"items": 0}, [[-1, [[0, 2], [1, 1]]]]),
        ({"items": 0}, [[-1, [[1, 1], [0, 1], [2, 1]]]]),
        ({"items": 0}, [[-1, [[0, 2]]]]),
        ({"items": 0}, [[-1, [[0, 3], [2, 1]]]]),
        ({"items": 0}, [[-1, [[0, 4]]]]),
        ({"items": 0}, [[-1, [[3, 1]]]]),
        ({"items": 0}, [[-1, [[FAR, 1]]]]),
        ({"items": 0}, [[-1, [[0, FAR]]]]),
        ({"items": 0}, [[0, [[0, 3]]]]),
        ({"items": 0}, [[7, [[0, 3]]]]),
        ({"items": 0}, []),
        ({"items": 1}, [[-1, [[0, 3]]], [0, [[0, 3]]]]),
        ({"items": 1}, [[1, [[0, 3]]], [0, []]]),
        ({"items": 5}, [[-1, [[0, 3]]]]),
        ({"items": FAR}, [[-1, [[0, 3]]]]),
        ({"list": [0, 2, 1]}, []),
        (0, []),
        ({"part": 0}, []),
        ({"value": {"m": 0}, "fields": {"m": 0}}, []),
        (99, []),
        (FAR, []),
        ({"part": 0, "fields": {"x": 3}}, []),
        ({"part": 0, "message": 3}, []),
        ({"part": 0, "message": 1}, []),
        ({"value": 5, "message": 1}, []),
        ({"list": [0, 1, 2, {"items": 0}]}, [[-1, [[3, 1]]]]),
    ],
    ids=str,
)
def test_references_to_other_parts_are_found_out(
    log: transit.Log, request_form: object, lists: object
) -> None:
    members = referring(log)
    # Without those of the record before, which is whole.
    log.create("u").append_many([record.payload for record in log.stream("t").read(0, 3)])
    members |= {"request": request_form, "lists": lists}
    log.stream("u").append(json.dumps(members, separators=(",", ":")).encode())
    with pytest.raises(transit.CorruptError, match="u@3"):
        list(trace.read(log, "u"))


def test_a_changed_or_missing_digest_is_found_out(log: transit.Log) -> None:
    members = referring(log)
    without = {key: value for key, value in members.items() if key != "digest"}
    for name, changed in {"u": members | {"digest": "00000000"}, "v": without}.items():
        payload = json.dumps(changed, separators=(",", ":")).encode()
        before = [record.payload for record in log.stream("t").read(0, 3)]
        log.create(name).append_many([*before, payload])
        with pytest.raises(transit.CorruptError, match=f"{name}@3"):
            list(trace.read(log, name))


def test_parts_that_changed_places_are_found_out(log: transit.Log) -> None:
    payloads = [json.dumps(referring(log), separators=(",", ":")).encode()]
    swapped = [record.payload for record in log.stream("t").read(0, 3)]
    swapped[0], swapped[1] = swapped[1], swapped[0]
    swapped = [
        payload.replace(b'"message":%d' % old, b'"message":%d' % new)
        for payload, old, new in zip(swapped, (1, 0, 2), (0, 1, 2), strict=True)
    ]
    log.create("u").append_many([*swapped, *payloads])
    with pytest.raises(transit.CorruptError, match="u@3"):
        list(trace.read(log, "u"))


def test_a_packed_value_that_cannot_be_put_together_is_found_out(log: transit.Log) -> None:
    task = chat(log)
    used = blake3(blake3(b'{"role":"user","content":"%s"}' % (b"0" * 40)).digest(16)).hexdigest(4)
    form = {"value": "no object", "fields": {"a": 0}}
    event = {"event": "custom", "name": "c", "data": form, "parts": [], "digest": used}
    task.stream.append(json.dumps(event, separators=(",", ":")).encode())
    with pytest.raises(transit.CorruptError, match="t@3"):
        list(trace.read(log, "t"))


# Others' records


def test_parts_of_kinds_that_are_not_known_count(log: transit.Log) -> None:
    task = chat(log)
    brought = {"role": "user", "content": "brought along"}
    event = {"event": "thought", "about": 3, "parts": [brought, "and another part"]}
    task.stream.append(json.dumps(event, separators=(",", ":")).encode())
    messages = [{"role": "user", "content": "2" * 40}, brought, {"role": "user", "content": "new"}]
    task.model_call(model="m", request=messages)
    *_, newer, last = trace.read(log, "t")
    assert isinstance(newer.event, trace.Unknown)
    assert isinstance(last.event, trace.ModelCall)
    assert last.event.request == messages
    assert json.loads(last.payload)["lists"] == [[-1, [[2, 2], [5, 1]]]]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"event":"x","parts":5}',
        b'{"event":"x","parts":{"a":1}}',
        b'{"event":"x","digest":5,"parts":["p"]}',
        b'{"a":{"event":"x","parts":["nested"]}}',
        b'{"event":"x","parts":["broken"',
        b'["parts",{"parts":["p"]}]',
        b'{"event":"x","parts":["\xff"]}',
        b'{"event":"x","parts":["\\ud800"]}',
        b'{"event":"x","parts":[NaN,"\\ud800"]}',
        b'{"event":"x","parts":["p"],"parts":["q","r"]}',
        b'{"event":"x","parts":["p"],"lists":[[7,[[0,1]]],[-1,[[9,1]]],[0,[[0,1]]],[2,[]]]}',
        b'{"event":"x","parts":["p"],"lists":[[-1,[[0,%d]]]]}' % FAR,
        b'{"event":"x","parts":["p"],"lists":[7]}',
        b'{"event":"x","parts":["p","\\ud800"],"lists":[[-1,[[0,2]]]]}',
    ],
    ids=ascii,
)
def test_members_of_others_that_look_like_parts_do_no_harm(
    log: transit.Log, payload: bytes
) -> None:
    task = chat(log)
    task.stream.append(payload)
    messages = [{"role": "user", "content": "1" * 40}, {"role": "user", "content": "new"}]
    task.model_call(model="m", request=messages)
    trace.resume(log, "t").model_call(model="m", request=messages)
    for record in list(trace.read(log, "t"))[4:]:
        if isinstance(record.event, trace.ModelCall):
            assert record.event.request == messages
    assert isinstance(record.event, trace.ModelCall)
