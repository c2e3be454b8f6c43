"""What modules are given and answer, byte by byte."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import msgspec
import pytest

import transit
from rigs.seeds import run_seed
from rigs.views.models import MemoryNodes
from tests.views.wasm_modules import Letter, letters
from transit import views
from transit.views.maps.map import Map
from transit.views.modules.abi import (
    CHANGES_MAX,
    RESULT_BYTES_MAX,
    Gathered,
    ResultDecoder,
    kept_state,
    page_changes,
)

SEED = run_seed()


def test_records_lie_as_the_table_says(tmp_path: Path) -> None:
    """Read by `struct` alone, for every part of records in frames of their own and together."""
    payloads = [b"one", b"", b"\0\xff" * 9, b"four"] * 3
    times = [5, -7, 2**62, 0] * 3
    gathered = Gathered()
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        stream.append_many(payloads[:5], timestamps=times[:5])
        for number in range(5, 9):
            stream.append(payloads[number], timestamp=times[number])
        stream.append_many(payloads[9:], timestamps=times[9:])
        for batch in stream.batches():
            middle = len(batch) // 2
            gathered.add(batch, 0, middle)
            gathered.add(batch, middle, len(batch))
    assert len(gathered) == 12
    assert [gathered.offset(at) for at in range(12)] == list(range(12))
    for at in range(12):
        for count in range(1, 13 - at):
            records = gathered.records(at, count)
            memory = bytearray(records.size)
            records.write(memoryview(memory))
            data = b"".join(payloads[at : at + count])
            sizes = [sum(map(len, payloads[at : at + n + 1])) for n in range(count)]
            assert memory == struct.pack(
                f"<{count}Q{count}q{count}I",
                *range(at, at + count), *times[at : at + count], *sizes,
            ) + data  # fmt: skip
            assert (records.count, records.payload_bytes) == (count, len(data))


@pytest.mark.parametrize("part", [1, 2, 3, 5])
def test_what_goes_into_a_call_fits_or_is_one_record(part: int, tmp_path: Path) -> None:
    """Payloads end at 10, 20, 1,000, 1,000 and 1,010, however they were gathered."""
    gathered = Gathered()
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        stream.append_many([b"x" * size for size in (10, 10, 980, 0, 10)])
        for at in range(0, 5, part):
            for batch in stream.batches(at, min(5, at + part)):
                gathered.add(batch, 0, len(batch))
    assert [gathered.offset(at) for at in range(5)] == list(range(5))
    assert gathered.fitting(0, 5, 100) == 2
    assert gathered.fitting(2, 5, 100) == 1
    assert gathered.fitting(3, 1, 100) == 1
    assert gathered.fitting(0, 4, 2_000) == 5
    assert gathered.fitting(0, 3, 2_000) == 3


decoder = ResultDecoder([letters])
GOOD = msgspec.msgpack.encode([[0, 7, [7, 1, 2, 3, -4]], [0, 2**40, None], [0, 8, [8, 0, 0, 0, 0]]])


def test_a_result_is_its_changes_in_order() -> None:
    found = decoder.decode(GOOD)
    assert [(each.key, each.row) for each in found] == [
        (7, Letter(7, 1, 2, 3, -4)), (2**40, None), (8, Letter(8)),
    ]  # fmt: skip
    assert decoder.decode(b"") == []


@pytest.mark.parametrize("size", range(1, len(GOOD)))
def test_a_result_that_is_cut_off_is_refused(size: int) -> None:
    with pytest.raises(views.BadResultError):
        decoder.decode(GOOD[:size])


def test_a_result_with_any_bit_turned_is_changes_or_refused() -> None:
    for at in range(len(GOOD) * 8):
        data = bytearray(GOOD)
        data[at // 8] ^= 1 << at % 8
        try:
            decoder.decode(bytes(data))
        except views.BadResultError:
            continue


def test_a_result_has_a_largest_size_and_count() -> None:
    most = msgspec.msgpack.encode([[0, 1, None]] * CHANGES_MAX)
    assert len(decoder.decode(most)) == CHANGES_MAX
    with pytest.raises(views.BadResultError, match="length <= 10000"):
        decoder.decode(msgspec.msgpack.encode([[0, 1, None]] * (CHANGES_MAX + 1)))
    with pytest.raises(views.BadResultError, match="at most"):
        decoder.decode(bytes(RESULT_BYTES_MAX + 1))


def test_a_row_has_the_key_that_is_stated() -> None:
    with pytest.raises(views.BadResultError, match="row 8 under the key 7"):
        decoder.decode(msgspec.msgpack.encode([[0, 7, [8, 0, 0, 0, 0]]]))


def test_a_key_that_no_row_can_have_is_refused() -> None:
    with pytest.raises(views.BadResultError, match="a key of table checked takes"):
        ResultDecoder([checked]).decode(msgspec.msgpack.encode([[0, "k" * 600, None]]))


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    place: tuple[int, bool]

    def __post_init__(self) -> None:
        if self.name == "no":
            raise ValueError("never no")


checked = views.table("checked", Checked, key="name")


def test_rows_with_rules_of_their_own_are_refused_where_these_say_so() -> None:
    own = ResultDecoder([letters, checked])
    good = msgspec.msgpack.encode([[1, "a", ["a", [1, True]]]])
    assert own.decode(good)[0].row == Checked(name="a", place=(1, True))
    for bad in (["no", [1, True]], ["a", [1, 1]], ["a", [1]], ["a"], {"name": "a"}):
        with pytest.raises(views.BadResultError):
            own.decode(msgspec.msgpack.encode([[1, "no" if bad == "no" else "a", bad]]))
    with pytest.raises(views.BadResultError, match="never no"):
        own.decode(msgspec.msgpack.encode([[1, "no", ["no", [1, True]]]]))


def test_pages_that_differ_from_the_beginning_make_the_state_again() -> None:
    chance = random.Random(SEED)
    initial = bytes(range(256)) * 49 + b"end"
    map_, state = Map(MemoryNodes()), initial
    for _ in range(60):
        changed = bytearray(state)
        for _ in range(chance.randrange(3)):
            at = chance.randrange(len(changed))
            changed[at] = chance.choice((initial[at], 7))
        map_ = map_.edit(page_changes(state, bytes(changed), initial))
        state = bytes(changed)
        assert kept_state(map_, initial) == state, f"TRANSIT_SEED={SEED}"
        fresh = Map(MemoryNodes()).edit(page_changes(initial, state, initial))
        assert fresh.root == map_.root, f"TRANSIT_SEED={SEED}"
    assert map_.edit(page_changes(state, initial, initial)).root == b""


@pytest.mark.parametrize(
    ("key", "page"),
    [
        (b"\x04\0\0\0\4", b"x" * 4096),
        (b"\x04\0\0\0\3", b"x" * 4096),
        (b"\x04\0\0\0\0", b"x" * 4095),
        (b"\x04\0\0\0", b"x" * 4096),
        (b"\x04\0\0\0\0\0", b"x" * 4096),
        (b"\x04\xff\xff\xff\xff", b"x"),
    ],
)
def test_pages_that_no_state_has_are_damage(key: bytes, page: bytes) -> None:
    map_ = Map(MemoryNodes()).edit({key: page})
    with pytest.raises(transit.CorruptError, match="a module's state"):
        kept_state(map_, bytes(3 * 4096 + 5))
