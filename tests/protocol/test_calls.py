"""What is asked of the routes beside the protocol, as JSON and as msgpack."""

from __future__ import annotations

import gc
import inspect

import msgspec
import pytest

from transit import InvalidInputError, Position
from transit.protocol import calls
from transit.protocol.calls import JSON, MSGPACK

STEPS = [
    calls.Create(name="a", metadata={"n": 1, "t": True, "x": None, "f": 1.5}, codec="json"),
    calls.Append(stream="a", payload=b"\xff", headers={"k": "v"}, timestamp=-5, expect=0),
    calls.AppendMany(stream="a", payloads=[b"", b"1"], headers=[None, {"k": "v"}]),
    calls.Branch(stream="a", name="b", at=1, empty=False),
    calls.Merge(name="m", parents=["a", ("b", -1)], policy="append", base=("a", 0), expect=[None]),
    calls.Finish(stream="a", reason="é"),
    calls.Hide(stream="a", expect=2),
    calls.Show(stream="$$" + "0" * 32),
    calls.Advance(stream="a", cursor="c", position=3, state=b"\x00"),
]


@pytest.mark.parametrize("media_type", [JSON, MSGPACK])
def test_a_frame_comes_out_as_it_went_in(media_type: str) -> None:
    frame = calls.FrameRequest(STEPS, "local")
    assert calls.decode(calls.encode(frame, media_type), media_type, calls.FrameRequest) == frame


@pytest.mark.parametrize("media_type", [JSON, MSGPACK])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_page_comes_out_as_it_went_in(media_type: str, count: int) -> None:
    values = [calls.RecordData(n, 1, 2, b"\xff", headers={"k": "v"}) for n in range(count)]
    page = calls.encode_page(values, media_type)
    assert calls.decode_page(page, media_type, calls.RecordData, count) == values
    with pytest.raises(InvalidInputError):
        calls.decode_page(page + b"\x00", media_type, calls.RecordData, count)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"steps":[]}', b'{"steps":[{"op":"x"}]}'])
def test_what_is_no_frame_is_told(data: bytes) -> None:
    for media_type in (JSON, MSGPACK):
        with pytest.raises(InvalidInputError, match="body: "):
            calls.decode(data, media_type, calls.FrameRequest)


@pytest.mark.slow
def test_a_parent_of_one_letter_is_read_and_its_type_can_be_collected() -> None:
    # msgspec 0.22 took the size of the tuple for that of the text, and crashed here.
    # What other tests of this process left need not be looked through a hundred times.
    gc.freeze()
    try:
        for _ in range(100):
            parents = msgspec.json.decode(b'["a",["b",3]]', type=calls.Parents)
            assert parents == ["a", Position("b", 3)]
            gc.collect()
    finally:
        gc.unfreeze()


def test_every_step_can_be_asked_for() -> None:
    made = {
        kind for _, kind in inspect.getmembers(calls, inspect.isclass)
        if issubclass(kind, calls._Step) and kind is not calls._Step
    }  # fmt: skip
    assert made == set(map(type, STEPS))
