"""Memory that is kept from call to call shows nothing of the call before, nor in which engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rigs.views.models import MemoryNodes
from tests.views import wasm_modules as modules
from tests.views.wasm_modules import filled, program
from transit import views
from transit.views.errors import ModuleError
from transit.views.maps.map import Map
from transit.views.modules import engines
from transit.views.modules.abi import Gathered, Records
from transit.views.modules.machine import Machine

FUEL = 50_000_000
MEMORY = 8 << 20
# Answers what it finds of an earlier call, in four bytes: memory that is not zero, its size in
# pages, its global, and whether its table and its segment are as at the beginning. Then it leaves
# all of them otherwise, and traps where the record begins with "!".
LEFTOVERS = """(module (memory (export "memory") 2)
  (global $g (mut i32) (i32.const 5))
  (table $t 2 8 funcref)
  (elem (table $t) (i32.const 0) func $one)
  (data $seg "\\01\\02\\03\\04")
  (data (i32.const 16) "\\07")
  (func $one)
  (func (export "alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "state") (result i64) (i64.const 0x1000000000))
  (func (export "apply") (param $data i32) (param i32 i32 i32 i32) (result i64) (local $n i32)
      (local $bad i32)
    (local.set $bad (i32.load8_u (local.get $data)))
    (memory.init $seg (i32.const 64) (i32.const 0) (i32.const 4))
    (i32.store8 (i32.const 68) (memory.size))
    (i32.store8 (i32.const 69) (global.get $g))
    (i32.store8 (i32.const 70) (ref.is_null (table.get $t (i32.const 0))))
    (i32.store8 (i32.const 71) (table.size $t))
    (i32.store8 (i32.const 72) (i32.load8_u (i32.const 16)))
    (local.set $n (i32.const 8192))
    (loop $next
      (i64.store (i32.const 80)
        (i64.or (i64.load (i32.const 80)) (i64.load (local.get $n))))
      (br_if $next (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 8)))
        (i32.const 131072))))
    (data.drop $seg)
    (global.set $g (i32.const 99))
    (table.set $t (i32.const 0) (ref.null func))
    (drop (table.grow $t (ref.null func) (i32.const 2)))
    (drop (memory.grow (i32.const 100)))
    (i64.store (i32.const 128) (i64.load (i32.const 64)))
    (i64.store (i32.const 136) (i64.load (i32.const 72)))
    (i64.store (i32.const 144) (i64.load (i32.const 80)))
    (memory.fill (i32.const 8192) (i32.const 0xaa) (i32.const 6000000))
    (i32.store8 (i32.const 16) (i32.const 33))
    (if (i32.eq (i32.const 33) (local.get $bad)) (then unreachable))
    (i64.const 0x8000000018)))"""
CLEAN = bytes([1, 2, 3, 4, 2, 5, 0, 2, 7]) + bytes(15)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Gathered]:
    gathered = Gathered()
    with filled(tmp_path / "records", 400) as log:
        for batch in log.stream("all").batches():
            gathered.add(batch, 0, len(batch))
        yield gathered


def one(payload: bytes) -> Records:
    return Records(([0], [0], [len(payload)]), [memoryview(payload)])


def engine_of(machine: Machine) -> str:
    compiled = machine._compiled
    with compiled.store() as (_, module):
        return "keeping" if module is not compiled.module else "anew"


def anew(machine: Machine) -> Machine:
    """The same machine without memory that is kept."""
    machine._compiled._keeping = None
    return machine


def test_a_call_finds_nothing_of_the_call_before_it() -> None:
    data = modules.compiled(LEFTOVERS)
    machine, other = Machine(data, FUEL, MEMORY), Machine(modules.small(), FUEL, MEMORY)
    assert engine_of(machine) == "keeping"
    plain = anew(Machine(data, FUEL, MEMORY))
    assert engine_of(plain) == "anew"
    expected = plain.call(plain.state_initial, one(b"x"), FUEL)
    assert expected.result == CLEAN
    for round_ in range(12):
        assert machine.call(machine.state_initial, one(b"x"), FUEL) == expected
        if round_ % 3 == 0:
            with pytest.raises(views.TrapError, match="unreachable"):
                machine.call(machine.state_initial, one(b"!"), FUEL)
        if round_ % 3 == 1:
            with pytest.raises(views.OutOfFuelError):
                machine.call(machine.state_initial, one(b"x"), expected.fuel // 2)
        if round_ % 4 == 2:
            other.call(other.state_initial, one(b"x"), FUEL)


def test_both_engines_come_to_the_same_with_the_same_fuel(records: Gathered) -> None:
    for path in (None, *sorted(Path("examples/wasm").glob("*.wasm"))):
        data = modules.compiled(modules.LETTERS) if path is None else path.read_bytes()
        kept, plain = Machine(data, FUEL, MEMORY), anew(Machine(data, FUEL, MEMORY))
        assert (engine_of(kept), engine_of(plain)) == ("keeping", "anew")
        state = kept.state_initial
        for at, count in ((0, 400), (0, 1), (17, 200), (399, 1)):
            given = records.records(at, count)
            called = kept.call(state, given, FUEL)
            assert called == plain.call(state, given, FUEL)
            state = called.state
            for fuel in (called.fuel, called.fuel // 2):
                ended = [_ended(each, state, given, fuel) for each in (kept, plain)]
                assert ended[0] == ended[1]


def _ended(machine: Machine, state: bytes, given: Records, fuel: int) -> object:
    try:
        return machine.call(state, given, fuel)
    except ModuleError as error:
        return type(error), str(error)


def test_a_module_that_needs_more_than_what_is_kept_has_it(tmp_path: Path) -> None:
    """40 MiB of memory, all of it written to, with each call."""
    text = modules.small(
        "(memory.fill (i32.const 8192) (i32.const 7) (i32.const 41000000)) (i64.const 0)",
        memory='(memory (export "memory") 640)',
    )
    with filled(tmp_path / "s", 3) as log:
        made = program(text, memory_bytes_max=64 << 20)
        assert engine_of(made.machine) == "keeping"
        assert views.open(log, made).of("all").applied == 3


def test_calls_at_the_same_time_come_to_the_same(tmp_path: Path) -> None:
    with filled(tmp_path / "s", 2_000) as log:
        stream = log.stream("all")
        made = program()
        expected = views.open(log, made, persist="ephemeral").of(stream).root
        with made.machine._compiled.store():
            assert engine_of(made.machine) == "anew"
            assert views.open(log, made, persist="ephemeral").of(stream).root == expected
        with ThreadPoolExecutor(4) as pool:
            roots = pool.map(
                lambda _: views.open(log, made, persist="ephemeral").of(stream).root, range(16)
            )
        assert set(roots) == {expected}
    assert engine_of(made.machine) == "keeping"


def test_an_error_leaves_the_memory_to_the_next_call() -> None:
    machine = Machine(modules.compiled(LEFTOVERS), FUEL, MEMORY)
    held = []
    for payload in (b"!", b"!", b"x" * (9 << 20)):
        with pytest.raises(ModuleError) as caught:
            machine.call(machine.state_initial, one(payload), FUEL)
        held.append(caught)
        assert engine_of(machine) == "keeping"
    assert machine.call(machine.state_initial, one(b"x"), FUEL).result == CLEAN


def test_a_child_has_all_anew_after_fork() -> None:
    machine = Machine(modules.compiled(LEFTOVERS), FUEL, MEMORY)
    expected = machine.call(machine.state_initial, one(b"x"), FUEL)
    with machine._compiled.store():
        # The parent may be in a call then.
        child = os.fork()
        if not child:
            is_same = machine.call(machine.state_initial, one(b"x"), FUEL) == expected
            os._exit(0 if is_same and engine_of(machine) == "anew" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert machine.call(machine.state_initial, one(b"x"), FUEL) == expected


@pytest.mark.parametrize("gibibytes", [6, 64])
def test_where_addresses_are_limited_all_is_new(gibibytes: int) -> None:
    script = (
        "import resource\n"
        f"limit = {gibibytes} << 30\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "from tests.views import wasm_modules as modules, test_wasm_engines as here\n"
        "machine = here.Machine(modules.compiled(here.LEFTOVERS), here.FUEL, here.MEMORY)\n"
        "called = machine.call(machine.state_initial, here.one(b'x'), here.FUEL)\n"
        "print(here.engine_of(machine), called.result == here.CLEAN)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "anew True\n", done.stderr


def test_without_its_part_of_the_interface_all_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    import wasmtime._bindings as c

    monkeypatch.delattr(c, "wasmtime_pooling_allocation_config_linear_memory_keep_resident_set")
    engines._engine_keeping.cache_clear()
    try:
        machine = Machine(modules.compiled(LEFTOVERS), FUEL, MEMORY)
        assert engine_of(machine) == "anew"
        assert machine.call(machine.state_initial, one(b"x"), FUEL).result == CLEAN
    finally:
        monkeypatch.undo()
        engines._engine_keeping.cache_clear()


def test_what_is_kept_is_bounded() -> None:
    """Of a call of 30 MB, at most what may be kept stays with the process."""
    text = modules.small(alloc="(drop (memory.grow (i32.const 638))) (i32.const 4096)")
    machine, large = Machine(text, FUEL, 64 << 20), one(b"x" * 30_000_000)
    before = _resident()
    for _ in range(3):
        machine.call(machine.state_initial, large, FUEL)
    assert _resident() - before < engines.KEPT_BYTES_MAX + (4 << 20)


def _resident() -> int:
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_fold_goes_on_after_calls_that_had_no_room(tmp_path: Path) -> None:
    """A module with room for 60 records at once; what it cannot take once it is not given again."""
    text = modules.small(
        "(if (i32.gt_u (local.get $count) (i32.const 60)) (then unreachable))"
        "(i64.store (i32.const 8) (i64.add (i64.load (i32.const 8))"
        " (i64.extend_i32_u (local.get $count)))) (i64.const 0)",
        state="(i64.const 0x800000008)",
    )
    with filled(tmp_path / "s", 3_000) as log:
        made = program(text)
        fold = made.fold(Map(MemoryNodes()), "all")
        calls = []
        call = made.machine.call

        def counted(state: bytes, given: Records, fuel: int) -> object:
            calls.append(given.count)
            return call(state, given, fuel)

        made.machine.call = counted  # type: ignore[method-assign, assignment]
        for batch in log.stream("all").batches():
            fold.take(batch, 0, len(batch))
        fold.flush()
    assert fold.applied == 3_000
    assert sum(each > 60 for each in calls) <= 4
    assert len(calls) < 250
