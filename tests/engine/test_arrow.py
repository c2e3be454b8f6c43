"""Arrow columns are what the records say, whatever widths the chunk stores them in."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transit
from transit import arrow
from transit.format.record import CHUNK, Chunk, Columns, encode_chunk, measure
from transit.replay import Batch, Source

pa = pytest.importorskip("pyarrow")

NAMES = [
    "offset", "timestamp", "payload", "headers", "origin_stream", "origin_offset",
    "written", "writer",
]  # fmt: skip
MOMENT = 1_700_000_000_000_000_000
STEPS = [0, 1, -1, 127, -128, 128, 32_767, -32_768, 2**31 - 1, -(2**31), 2**40]
HEADERS = [b"{}", b'{"k":"v"}', b'{"k":"w","l":""}', b'{"\\u00e9":"\\n"}']

times = st.lists(st.sampled_from(STEPS), min_size=1, max_size=30).map(
    lambda steps: [MOMENT + sum(steps[: place + 1]) for place in range(len(steps))]
)
sizes = st.sampled_from([0, 1, 3, 255, 256, 70_000])


def batch_of(
    payloads: Sequence[bytes], timestamps: Any, headers: Any, start: int, stop: int
) -> Batch:
    """The records `start` to `stop` of a chunk at offset 40, shown at offset 7."""
    written = [MOMENT + n // 2 for n in range(len(payloads))]
    columns = Columns(payloads, measure(payloads), timestamps, headers, written, "tökken")
    data = b"before" + b"".join(encode_chunk(3, 40, columns)) + b"after"
    chunk = Chunk(data, 6, "here")
    return Batch(chunk, start, stop, 7, Source("s", 33 + start, "tökken"))


def problems(batch: Batch) -> list[str]:
    """The columns that are not what the records say."""
    found, rows = batch.to_arrow(), list(batch.records())
    said = {
        "offset": [row.offset for row in rows],
        "timestamp": [row.timestamp for row in rows],
        "payload": [row.payload for row in rows],
        "headers": [list(row.headers.items()) for row in rows],
        "origin_stream": [row.origin.stream for row in rows],
        "origin_offset": [row.origin.offset for row in rows],
        "written": [row.written for row in rows],
        "writer": [row.writer for row in rows],
    }
    found.validate(full=True)
    wrong = []
    for name in NAMES:
        moments = name in ("timestamp", "written")
        column = found[name].cast(pa.int64()) if moments else found[name]
        if column.to_pylist() != said[name]:
            wrong.append(name)
    return wrong


@settings(max_examples=60)
@given(times, st.data())
def test_columns_are_what_the_records_say(timestamps: list[int], data: st.DataObject) -> None:
    count = len(timestamps)
    each = st.lists(sizes, min_size=count, max_size=count)
    payloads = [bytes([n % 256]) * size for n, size in enumerate(data.draw(each))]
    kinds = st.one_of(
        st.none(),
        st.sampled_from(HEADERS),
        st.lists(st.sampled_from(HEADERS), min_size=count, max_size=count),
    )
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    assert problems(batch_of(payloads, timestamps, data.draw(kinds), start, stop)) == []


@pytest.mark.parametrize("width", [0, 1, 2, 4, 8])
def test_every_width_of_timestamps_is_read(width: int) -> None:
    step = {0: 0, 1: 60, 2: 15_000, 4: 2**29, 8: 2**40}[width]
    stamps = [MOMENT + step * (n % 3) for n in range(9)]
    payloads = [b"x"] * 9
    batch = batch_of(payloads, stamps, None, 2, 8)
    assert batch._chunk._times_at[1] == width
    assert problems(batch) == []


@pytest.mark.parametrize("size", [1, 300, 70_000])
def test_every_width_of_sizes_is_read(size: int) -> None:
    payloads = [b"a" * size, b"", b"b" * size, b"c"]
    assert problems(batch_of(payloads, MOMENT, None, 0, 4)) == []
    assert problems(batch_of(payloads, MOMENT, None, 1, 3)) == []


@pytest.mark.parametrize("payloads", [[b"ab"] * 9, [b"a", b"bb"] * 4])
def test_chunks_of_more_records_than_are_counted_beforehand_are_read(
    monkeypatch: pytest.MonkeyPatch, payloads: list[bytes]
) -> None:
    monkeypatch.setattr(arrow, "_COUNTED_MAX", 3)
    assert problems(batch_of(payloads, MOMENT, None, 0, len(payloads))) == []
    assert problems(batch_of(payloads, MOMENT, None, 5, 8)) == []
    assert problems(batch_of(payloads, MOMENT, None, 5, 7)) == []


def test_columns_are_made_from_several_threads_at_once() -> None:
    arrow._arrow.cache_clear()
    batches = [batch_of([b"ab"] * (n + 1), MOMENT, None, 0, n + 1) for n in range(32)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(problems, batches)) == [[]] * 32


def test_columns_come_in_the_order_that_was_asked_for() -> None:
    batch = batch_of([b"1", b"2"], MOMENT, None, 0, 2)
    assert batch.to_arrow().schema.names == NAMES
    assert batch.to_arrow(["payload", "offset"]).schema.names == ["payload", "offset"]
    assert batch.to_arrow(columns=("payload",)).to_pylist() == [
        {"payload": b"1"},
        {"payload": b"2"},
    ]
    assert batch.to_arrow([]).num_columns == 0


@pytest.mark.parametrize("columns", [["nothing"], "offset", 5, [b"offset"]], ids=repr)
def test_columns_that_are_not_there_are_refused(columns: Any) -> None:
    with pytest.raises(transit.InvalidInputError, match="column"):
        batch_of([b"1"], MOMENT, None, 0, 1).to_arrow(columns)


def test_payloads_are_not_copied() -> None:
    batch = batch_of([b"x" * 1000] * 3, MOMENT, None, 0, 3)
    address = batch.to_arrow(["payload"])["payload"].buffers()[2].address
    whole = pa.py_buffer(batch._chunk.data)
    assert whole.address <= address < whole.address + whole.size


def test_batches_of_every_kind_make_one_table(log: transit.Log) -> None:
    stream = log.create("s")
    stream.append_many([b"1", b"22"], headers=[{"a": "b"}, None])
    log.seal()
    for number in range(3):
        stream.append(b"%d" % number, headers={"k": str(number)})
    child = stream.branch("c", at=2)
    child.append(b"own")
    table = pa.Table.from_batches([batch.to_arrow() for batch in child.batches()])
    assert table["payload"].to_pylist() == [b"1", b"22", b"0", b"own"]
    assert table["origin_offset"].to_pylist() == [0, 1, 2, 3]
    assert table["headers"].to_pylist() == [[("a", "b")], [], [("k", "0")], []]
    assert all(problems(batch) == [] for batch in child.batches())


def test_sizes_that_lead_out_of_the_bytes_are_damage() -> None:
    payloads = [b"1", b"22", b"3"]
    data = bytearray(b"".join(encode_chunk(3, 0, Columns(payloads, [1, 2, 1], MOMENT, None))))
    data[CHUNK.size + 1] = 200
    batch = Batch(Chunk(bytes(data), 0, "here"), 0, 3, 0, Source("s", 0))
    with pytest.raises(transit.CorruptError, match="payloads"):
        batch.to_arrow(["payload"])


# The same checks, with a bug put in.


A, C = arrow._Arrow, arrow._Columns
PLANTS: dict[str, Any] = {
    "sums begin at 0": (
        A,
        "sums",
        lambda self, first, *rest, real=A.sums, **kind: real(self, 0, *rest, **kind),
    ),
    "differences are unsigned": (
        A,
        "numbers",
        lambda self, stored, width, count, *, signed, real=A.numbers: real(
            self, stored, width, count, signed=False
        ),
    ),
    "a cut chunk begins at its first record": (
        C,
        "origin_offsets",
        lambda self: self._arrow.counted(self._chunk.first, self._count),
    ),
    "a cut chunk is whole": (C, "_cut", lambda self, whole: whole.slice(0, self._count)),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, plant: str) -> None:
    owner, name, planted = PLANTS[plant]
    monkeypatch.setattr(owner, name, planted)
    stamps = [MOMENT, MOMENT + 100, MOMENT + 50, MOMENT + 60]
    assert problems(batch_of([b"a", b"bb", b"c", b"dd"], stamps, HEADERS, 1, 4))
