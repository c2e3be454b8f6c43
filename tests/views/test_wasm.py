"""Views of WebAssembly modules come to what a Python reducer comes to, however they are folded."""

from __future__ import annotations

import pickle
import random
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import transit
from rigs.seeds import run_seed
from tests.views import wasm_modules as modules
from tests.views.wasm_modules import Letter, filled, in_python, letters, program
from transit import views
from transit.views.maps.map import EMPTY
from transit.views.modules.abi import Gathered
from transit.views.tables import MEMORY, after

SEED = run_seed()


class Counted(msgspec.Struct, frozen=True):
    number: int | None


def test_a_module_comes_to_what_the_python_reducer_comes_to_at_any_offset(tmp_path: Path) -> None:
    with filled(tmp_path / "s", 3_000) as log:
        by_module, by_function = views.open(log, program()), views.open(log, in_python)
        for at in (3_000, 0, 1, 2, 99, 2_999, 1_500):
            state = by_module.of("all", at)
            assert list(state.letters) == list(by_function.of("all", at).letters)
            assert state.applied == at
        counts = [row.count for row in by_module.of("all").letters]
        assert len(list(by_module.of("all").letters.where(count=30))) == counts.count(30) > 1


def test_how_records_are_put_into_calls_is_seen_in_no_root(tmp_path: Path) -> None:
    """Any cuts, with other modules' leftovers, and one record a call: all roots are one."""
    chance = random.Random(SEED)
    with filled(tmp_path / "s", 600) as log:
        stream = log.stream("all")
        expected = views.open(log, program(), persist="ephemeral").of(stream).root
        for _ in range(6):
            fold = program().fold(views.open(log, program()).of(stream, 0)._map, "all")
            at = 0
            while at < 600:
                stop = min(600, at + chance.choice((1, 2, 50, 300)))
                for batch in stream.batches(at, stop):
                    middle = chance.randrange(len(batch) + 1)
                    for first, last in ((0, middle), (middle, len(batch))):
                        if last - first == 1 and chance.random() < 0.3:
                            fold.step(batch, first)
                        elif first < last:
                            fold.take(batch, first, last)
                if chance.random() < 0.3:
                    fold.flush()
                at = stop
            assert fold.flush().root.hex() == expected, f"TRANSIT_SEED={SEED}"
            assert fold.applied == 600


def test_a_module_goes_on_from_what_it_kept(tmp_path: Path) -> None:
    with filled(tmp_path / "s", 250) as log:
        saved = views.open(log, program(), savepoint_records=100).of("all")
    with transit.open(tmp_path / "s") as log:
        again = views.open(log, program(), savepoint_records=100)
        assert again.savepoints("all") == (100, 200)
        assert again.of("all") == saved
        fresh = views.open(log, program(), persist="ephemeral").of("all")
        assert fresh.root == saved.root


def test_a_branch_shares_what_is_kept_and_then_has_its_own(tmp_path: Path) -> None:
    with filled(tmp_path / "s", 50) as log:
        stream = log.stream("all")
        retry = stream.branch("retry", at=29)
        view = views.open(log, program())
        assert view.of(retry) == view.of(stream, 30)
        retry.append(b"zz")
        stream.append(b"zz")
        changed = list(view.diff(view.of(stream, 30), view.of(retry)))
        assert [(each.key, each.before, each.after.size) for each in changed] == [
            (ord("z"), None, 2)
        ]
        assert view.of(retry).letters[ord("z")] != view.of(stream).letters[ord("z")]


def test_a_merge_is_folded_in_its_order(tmp_path: Path) -> None:
    with filled(tmp_path / "s", 40) as log:
        one = log.stream("all").branch("one", at=19)
        one.append_many([b"one", b"two"])
        merged = log.merge("merged", [log.stream("all"), one], policy="append")
        rows = list(views.open(log, program()).of(merged).letters)
        assert rows == list(views.open(log, in_python).of(merged).letters)


def test_only_changed_pages_are_kept_anew(tmp_path: Path) -> None:
    """A state of 40 pages, of which each record touches one."""
    text = """(module (memory (export "memory") 4)
      (func (export "state") (result i64) (i64.const 0x1000000028000))
      (func (export "alloc") (param i32) (result i32) (i32.const 4096))
      (func (export "apply") (param $data i32) (param i32 i32 i32 i32) (result i64)
        (i32.store8 offset=65536
          (i32.mul (i32.const 4096) (i32.load8_u (local.get $data))) (i32.const 7))
        (i64.const 0)))"""
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        view = views.open(log, program(text))
        assert view.of(stream).root == ""
        for number, pages in ((3, [3]), (9, [3, 9]), (3, [3, 9])):
            stream.append(bytes([number]))
            map_ = view.of(stream)._map
            found = list(map_.items(MEMORY, after(MEMORY)))
            assert [int.from_bytes(key[1:], "big") for key, _ in found] == pages
            assert all(page == b"\x07" + bytes(4095) for _, page in found)


def test_a_state_that_is_as_at_the_beginning_again_leaves_nothing_behind(tmp_path: Path) -> None:
    """Each record turns a bit."""
    text = modules.small(
        "(i32.store (i32.const 8) (i32.xor (i32.load (i32.const 8)) (local.get $count)))"
        " (i64.const 0)",
        state="(i64.const 0x800000008)",
    )
    with filled(tmp_path / "s", 4) as log:
        view = views.open(log, program(text), persist="ephemeral")
        fold = program(text).fold(view.of("all", 0)._map, "all")
        roots = []
        for batch in log.stream("all").batches():
            for row in range(len(batch)):
                fold.take(batch, row, row + 1)
                roots.append(fold.flush().root)
        assert roots[0] == roots[2] != EMPTY
        assert roots[1] == roots[3] == EMPTY


def test_nan_has_one_form(tmp_path: Path) -> None:
    text = modules.small(
        "(f64.store (i32.const 8) (f64.div (f64.convert_i32_u (i32.sub (local.get $count)"
        " (local.get $count))) (f64.const 0))) (i64.const 0)",
        state="(i64.const 0x800000008)",
    )
    with filled(tmp_path / "s", 1) as log:
        ((_, page),) = views.open(log, program(text)).of("all")._map.items()
        assert page == struct.pack("<Q", 0x7FF8_0000_0000_0000)


def test_globals_and_memory_outside_of_the_state_begin_anew_with_each_call(tmp_path: Path) -> None:
    """A module that counts its calls where nothing is kept counts to one."""
    text = """(module (memory (export "memory") 2) (global $calls (mut i32) (i32.const 0))
      (data (i32.const 8) "\\91\\93\\00\\05\\95\\05\\00\\00\\00\\00")
      (func (export "alloc") (param i32) (result i32) (i32.const 4096))
      (func (export "apply") (param i32 i32 i32 i32 i32) (result i64)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (i32.store8 (i32.const 64) (i32.add (i32.load8_u (i32.const 64)) (i32.const 1)))
        (drop (memory.grow (i32.const 1)))
        (i32.store8 (i32.const 14) (global.get $calls))
        (i32.store8 (i32.const 15) (i32.load8_u (i32.const 64)))
        (i32.store8 (i32.const 16) (memory.size))
        (i64.const 0x80000000a)))"""
    with filled(tmp_path / "s", 300) as log:
        view = views.open(log, program(text))
        for at in (1, 2, 300):
            assert list(view.of("all", at).letters) == [Letter(5, 1, 1, 3, 0)]


def test_records_are_picked_by_their_headers(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        for number in range(60):
            stream.append(b"%c" % (65 + number % 3), headers={"kind": "ab"[number % 2]})
        stream.append_many([b"A", b"B", b"A"], headers=[{"kind": "a"}, {"kind": "b"}, None])
        state = views.open(log, program(where={"kind": "a"})).of(stream)
        assert {row.letter: (row.count, row.offset) for row in state.letters} == {
            65: (11, 60), 66: (10, 58), 67: (10, 56),
        }  # fmt: skip
        assert state.applied == 31


def test_a_subscriber_is_told_what_each_record_changed(tmp_path: Path) -> None:
    with filled(tmp_path / "s", 130) as log:
        found: dict[str, list[object]] = {"module": [], "function": []}
        for name, reducer in (("module", program()), ("function", in_python)):
            for change in views.open(log, reducer).changes("all", name):
                found[name].append((change.offset, change.key, change.before, change.after))
                change.done()
        assert found["module"] == found["function"]
        assert len(found["module"]) > 100


def test_what_was_recorded_is_folded_again_in_another_process(tmp_path: Path) -> None:
    with filled(tmp_path / "s", 300) as log:
        view = views.open(log, program(), savepoint_records=100)
        view.save("all")
        done = view.verify("all")
        assert (done.ok, done.checked, done.isolated) == (True, 3, True)


def test_a_program_that_is_pickled_is_the_same(tmp_path: Path) -> None:
    made = program(fuel=123_456, version=3)
    again = pickle.loads(pickle.dumps(made))
    assert again.spec == made.spec
    assert again.tables == made.tables
    hidden = views.table("letters", Letter, key="letter")
    with pytest.raises(pickle.PicklingError, match="is not a name of"):
        pickle.dumps(program(tables=[hidden]))


def test_a_program_whose_tables_are_others_elsewhere_is_refused() -> None:
    make, (module, homes, spec) = program().__reduce__()
    other = msgspec.structs.replace(spec, tables=[])
    assert make(module, homes, spec).spec == spec
    with pytest.raises(transit.InvalidInputError, match="are others here"):
        make(module, homes, other)


def test_a_module_that_looks_at_the_count_of_records_is_found(tmp_path: Path) -> None:
    """It answers the count of its last call. How many records a call has is drawn."""
    text = """(module (memory (export "memory") 128)
      (data (i32.const 8) "\\91\\93\\00\\05\\95\\05\\00\\ce")
      (func (export "alloc") (param i32) (result i32) (i32.const 4096))
      (func (export "apply") (param i32 i32 i32) (param $count i32) (param i32) (result i64)
        (i32.store offset=16 (i32.const 0) (local.get $count))
        (i64.const 0x80000000e)))"""
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        for _ in range(20):
            stream.append_many([b"x"] * 1_000)
        roots = {
            views.open(log, program(text), persist="ephemeral", savepoint_records=10**6)
            .of(stream)
            .root
            for _ in range(8)
        }
        assert len(roots) > 1


@pytest.mark.parametrize(
    ("records", "apart"), [(20_000, 500), (20_000, 3_000), (20_000, 10_000), (10_000, 10_000)]
)
def test_verifying_finds_a_module_that_looks_at_the_count_of_records(
    records: int, apart: int, tmp_path: Path
) -> None:
    """It keeps the count of its last call, of records that go into one call or into a few."""
    text = modules.small(
        "(i32.store (i32.const 8) (local.get $count)) (i64.const 0)",
        state="(i64.const 0x800000008)",
    )
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        for _ in range(records // 1_000):
            stream.append_many([b"x"] * 1_000)
        view = views.open(log, program(text), savepoint_records=apart)
        view.save(stream)
        assert not view.verify(stream).ok


def test_another_byte_limit_or_version_is_another_view() -> None:
    data = modules.compiled(modules.LETTERS)
    at = data.index(b"\x41\x80\x80\x01")  # The place where alloc begins
    other = data[:at] + b"\x41\x80\x90\x01" + data[at + 4 :]
    ids = [
        program(data).spec.id,
        program(other).spec.id,
        program(data, fuel=49_999_999).spec.id,
        program(data, memory_bytes_max=4 << 20).spec.id,
        program(data, version=2).spec.id,
        program(data, where={"kind": "a"}).spec.id,
    ]
    assert len(set(ids)) == 6
    assert program(data).spec.id == ids[0]


def test_a_module_takes_the_same_fuel_each_time(tmp_path: Path) -> None:
    with filled(tmp_path / "s", 100) as log:
        gathered = Gathered()
        for batch in log.stream("all").batches():
            gathered.add(batch, 0, len(batch))
    taken = set()
    for _ in range(3):
        machine = program().machine
        for _ in range(3):
            called = machine.call(machine.state_initial, gathered.records(0, 100), machine.fuel)
            taken.add((called.fuel, called.state, called.result))
    assert len(taken) == 1


def test_importing_views_does_not_load_wasmtime() -> None:
    script = "import sys, transit.views; print('wasmtime' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_without_wasmtime_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    data = modules.small()
    monkeypatch.delitem(sys.modules, "transit.views.modules.machine", raising=False)
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    with pytest.raises(transit.InvalidInputError, match=r"pip install 'transit\[wasm\]'"):
        views.wasm(data, tables=[letters])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tables": []}, "needs its tables"),
        ({"tables": [letters, letters]}, "the same name"),
        ({"fuel": 0}, "fuel must be 1 to"),
        ({"fuel": True}, "fuel must be"),
        ({"memory_bytes_max": 65_535}, "memory_bytes_max must be 65536 to"),
        ({"memory_bytes_max": 1 << 31}, "memory_bytes_max must be"),
        ({"memory_bytes_max": 65_536}, "cannot begin"),
        ({"tables": [views.table("n", Counted, key="number", auto=True)]}, "numbers rows itself"),
        (
            {"tables": [views.table("n", Letter, key="letter", merge=lambda a, b, c: c)]},
            "has a merge",
        ),
    ],
)
def test_what_cannot_be_declared_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(transit.InvalidInputError, match=message):
        program(modules.small(), **options)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (b"(module)", "wasmtime.wat2wasm"),
        (modules.compiled("(module)"), "exports no memory"),
        (modules.compiled('(module (memory (export "memory") 1))'), r"alloc\(i32\) -> i32"),
        (
            modules.compiled(
                '(module (import "env" "now" (func (result i64))) (memory (export "memory") 1))'
            ),
            "1 imports; a module imports nothing",
        ),
        (modules.small(state="(i64.const -1)"), "cannot begin: state answered"),
        (Path("nowhere.wasm"), "cannot be read"),
    ],
)
def test_what_is_no_such_module_is_refused(module: bytes | Path, message: str) -> None:
    with pytest.raises(transit.InvalidInputError, match=message):
        views.wasm(module, tables=[letters])


def test_a_module_of_a_file_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "tally.wasm").write_bytes(modules.small())
    assert views.wasm(tmp_path / "tally.wasm", tables=[letters]).spec.name == "tally"
    assert views.wasm(str(tmp_path / "tally.wasm"), tables=[letters], name="x").spec.name == "x"


def test_a_stream_without_records_has_the_empty_state(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s") as log:
        log.create("s")
        state = views.open(log, program()).of("s")
        assert state._map.root == EMPTY
        assert len(state.letters) == 0
