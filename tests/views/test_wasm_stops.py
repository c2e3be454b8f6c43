"""What stops a module stops its view before the record, wherever it lies, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import transit
from rigs.views.hostile_modules import module
from rigs.views.models import MemoryNodes
from tests.views.wasm_modules import Letter, answering, escaped, letters, program, small
from transit import views
from transit.views.maps.map import Map
from transit.views.modules.fold import Pace

# Does something only where a record begins with "!"; counts all others in what it keeps.
ON_MARK = """(module (memory (export "memory") 4)
  (global $top (mut i32) (i32.const 65536))
  (table $t 1 funcref)
  (func (export "state") (result i64) (i64.const 0x800000008))
  (func (export "alloc") (param i32) (result i32) (global.get $top))
  (data (i32.const 64) "\\91\\93\\00\\05\\95\\05\\cf\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00")
  (func $bad (param $n i32) %s)
  (func (export "apply") (param $data i32) (param $size i32) (param $ends i32) (param $count i32)
      (param $meta i32) (result i64) (local $n i32) (local $start i32)
    (loop $next
      (if (i32.eq (i32.const 33) (i32.load8_u (i32.add (local.get $data) (local.get $start))))
        (then (call $bad (i32.const 0))))
      (i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (i64.const 1)))
      (local.set $start (i32.load (i32.add (local.get $ends)
        (i32.mul (local.get $n) (i32.const 4)))))
      (br_if $next (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1)))
        (local.get $count))))
    (i32.store8 (i32.const 77) (i32.load8_u (i32.const 10)))
    (i32.store8 (i32.const 78) (i32.load8_u (i32.const 8)))
    (i32.store8 (i32.const 77) (i32.load8_u (i32.const 9)))
    (i32.store8 (i32.const 78) (i32.load8_u (i32.const 8)))
    (i64.const 0x4000000012)))"""
WAYS = {
    "unreachable": views.TrapError,
    "(loop (br 0))": views.OutOfFuelError,
    "(call $bad (i32.const 0))": views.TrapError,
    "(i64.store (i32.const -8) (i64.const 1))": views.TrapError,
    "(i64.store (i32.const 8) (i64.const 99)) unreachable": views.TrapError,
    # The result no longer is a list.
    "(i32.store8 (i32.const 64) (i32.const 0xc0))": views.BadResultError,
    "(i32.store8 (i32.const 68) (i32.const 0x94))": views.BadResultError,
}


def count(state: views.State) -> int:
    return sum(row.count for row in state.letters)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", [0, 1, 37, 2_999])
def test_the_view_stands_before_the_record_that_stops_it(way: str, at: int, tmp_path: Path) -> None:
    payloads = [b"x"] * 3_000
    payloads[at] = b"!"
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        for part in range(0, 3_000, 500):
            stream.append_many(payloads[part : part + 500])
        view = views.open(log, program(ON_MARK % way, fuel=2_000_000))
        for _ in range(2):
            with pytest.raises(views.ReducerError) as caught:
                view.of(stream)
            assert caught.value.offset == at
            assert type(caught.value.__cause__) is WAYS[way]
        assert count(view.of(stream, at)) == at
        other = views.open(log, program(ON_MARK % way, fuel=2_000_000), persist="ephemeral")
        assert other.of(stream, at).root == view.of(stream, at).root
        with pytest.raises(views.ReducerError):
            other.of(stream, at + 1)


def test_a_costly_record_is_not_hidden_among_cheap_ones(tmp_path: Path) -> None:
    """It takes a fifth more than the fuel of a record: alone or with a thousand others it stops."""
    loop = (
        "(loop (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1)))"
        " (i32.const %d))))"
    )
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        stream.append_many([b"x"] * 500 + [b"!"] + [b"x"] * 500)
        for steps, stops in ((9_000, False), (15_000, True)):
            made = program(ON_MARK % (loop % steps), fuel=100_000)
            view = views.open(log, made, persist="ephemeral")
            if stops:
                with pytest.raises(views.ReducerError) as caught:
                    view.of(stream)
                assert caught.value.offset == 500
                assert isinstance(caught.value.__cause__, views.OutOfFuelError)
            else:
                assert count(view.of(stream)) == count(view.of(stream, 1_001)) == 1_001


def test_little_fuel_is_enough_for_many_records_in_small_calls(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        stream.append_many([b"x"] * 2_000)
        roots = {
            views.open(log, program(ON_MARK % "", fuel=fuel), persist="ephemeral").of(stream).root
            for fuel in (200, 5_000, 50_000_000)
        }
        assert len(roots) == 1


def test_a_record_larger_than_the_memory_stops_the_view(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        stream.append_many([b"x", b"x" * 70_000, b"x"])
        view = views.open(
            log, program(module(memory='(memory (export "memory") 1)'), memory_bytes_max=65_536)
        )
        with pytest.raises(views.ReducerError) as caught:
            view.of(stream)
        assert caught.value.offset == 1
        assert isinstance(caught.value.__cause__, views.OutOfMemoryError)


def test_a_module_with_room_for_one_record_gets_one_at_a_time(tmp_path: Path) -> None:
    """`alloc` gives 600 bytes at most."""
    text = small(
        "(i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (i64.const 1))) (i64.const 0)",
        alloc="(select (i32.const 4096) (i32.const 0)"
        " (i32.lt_u (local.get $size) (i32.const 600)))",
        state="(i64.const 0x800000008)",
    )
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        stream.append_many([b"x" * 500] * 100)
        view = views.open(log, program(text))
        ((_, page),) = list(view.of(stream)._map.items())
        assert int.from_bytes(page, "little") == 100


class Named(msgspec.Struct, frozen=True):
    key: int
    name: str


named = views.table("named", Named, key="key", unique=["name"])


def packed(*changes: object) -> bytes:
    return msgspec.msgpack.encode(changes)


def test_unique_values_hold(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        stream.append_many([b"x"] * 3)
        twice = answering(packed((0, 1, (1, "a")), (0, 2, (2, "a"))))
        with pytest.raises(views.ReducerError, match="has the same name") as caught:
            views.open(log, program(twice, tables=[named])).of(stream)
        assert caught.value.offset == 0
        assert isinstance(caught.value.__cause__, views.BadResultError)
        moved = packed((0, 1, (1, "a")), (0, 1, None), (0, 2, (2, "a")), (0, 2, (2, "b")))
        view = views.open(log, program(answering(moved), tables=[named]))
        assert list(view.of(stream).named) == [Named(2, "b")]


def test_what_a_refused_call_wrote_is_taken_back(tmp_path: Path) -> None:
    """A call of many writes what is refused at its second row; calls of one write other rows."""
    answers = (
        packed((0, 1, (1, "z"))),
        packed((0, 3, (3, "b"))),
        packed((0, 4, (4, "c")), (0, 1, (1, "b")), (0, 2, (2, "b"))),
    )
    places = [64, 96, 128]
    data = "".join(
        f'(data (i32.const {place}) "{escaped(answer)}")'
        for place, answer in zip(places, answers, strict=True)
    )
    first, other, many = (
        f"(i64.const {place << 32 | len(answer)})"
        for place, answer in zip(places, answers, strict=True)
    )
    text = small(
        f"(if (result i64) (i32.gt_u (local.get $count) (i32.const 1)) (then {many}) (else"
        f" (select {first} {other} (i64.eqz (i64.load (local.get $meta))))))",
        more=data,
    )
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        stream.append_many([b"x"] * 20)
        fold = program(text, tables=[named]).fold(Map(MemoryNodes()), "s")
        (batch,) = stream.batches()
        fold.take(batch, 0, 1)
        fold.flush()
        fold.take(batch, 1, 20)
        # Calls of one grow to calls of many again, which fail again, until all are done.
        state = fold.flush()
        rows = [value for key, value in state.items() if key[0] == 1]
        assert rows == [msgspec.msgpack.encode((1, "z")), msgspec.msgpack.encode((3, "b"))]


class Wide(msgspec.Struct, frozen=True):
    key: str
    text: str


wide = views.table("wide", Wide, key="key")


@pytest.mark.parametrize("bad", [("b", "x" * 66_000), ("b" * 600, "")])
def test_a_call_whose_last_row_is_refused_writes_none_of_its_rows(
    bad: tuple[str, str], tmp_path: Path
) -> None:
    """Calls of many answer a row more than those of one, before the one that is refused."""
    one = packed((0, "a", ("a", "")))
    many = packed((0, "c", ("c", "")), (0, "a", None), (0, bad[0], bad))
    text = small(
        "(if (result i64) (i32.gt_u (local.get $count) (i32.const 1))"
        f" (then (i64.const {64 << 32 | len(many)})) (else (i64.const {8 << 32 | len(one)})))",
        alloc="(i32.const 100000)",
        more=f'(data (i32.const 8) "{escaped(one)}") (data (i32.const 64) "{escaped(many)}")',
    )
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        stream.append_many([b"x"] * 20)
        view = views.open(log, program(text, tables=[wide]))
        assert list(view.of(stream).wide) == [Wide("a", "")]


@pytest.mark.parametrize(
    "change",
    [
        (0, "k", ("k", "x" * 66_000)),
        (0, "k" * 600, ("k" * 600, "")),
        (0, "k" * 600, None),
    ],
)
def test_a_row_that_cannot_be_written_down_stops_the_view(
    change: tuple[object, ...], tmp_path: Path
) -> None:
    data = packed(change)
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        stream.append_many([b"x"] * 5)
        text = escaped(data)
        made = small(
            f"(i64.const {8 << 32 | len(data)})",
            alloc="(i32.const 100000)",
            more=f'(data (i32.const 8) "{text}")',
        )
        with pytest.raises(views.ReducerError) as caught:
            views.open(log, program(made, tables=[wide])).of(stream)
        assert caught.value.offset == 0
        assert isinstance(caught.value.__cause__, views.BadResultError)


def test_several_tables_are_told_by_their_number(tmp_path: Path) -> None:
    changes = packed((1, "k", ("k", "t")), (0, 5, (5, 1, 2, 3, 4)), (0, 6, None))
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        stream.append(b"x")
        state = views.open(log, program(answering(changes), tables=[letters, wide])).of(stream)
        assert list(state.letters) == [Letter(5, 1, 2, 3, 4)]
        assert list(state.wide) == [Wide("k", "t")]


@pytest.mark.parametrize("is_fuel", [True, False])
def test_only_the_call_of_a_record_alone_gets_all_the_fuel(is_fuel: bool) -> None:
    pace = Pace(1_000_000_000)
    spent, at, most = 0, 1_000, pace.most
    while at != 1:
        budget = pace.budget(at)
        assert budget < 100_000_000
        spent += budget
        pace.failed(at, is_fuel=is_fuel)
        at = pace.count
    assert pace.budget(1) == 1_000_000_000
    assert spent < 100_000_000
    # What had too little fuel may have room for as many as before.
    assert (pace.most == most) is is_fuel
