"""Running WebAssembly modules: what they may be, and calls, each in a new instance.

A module that takes too long or too much stops, and all that it did in that call is gone with its
instance.
"""

from __future__ import annotations

import ctypes
from typing import Final, NamedTuple

import wasmtime

from transit import InvalidInputError
from transit.views.errors import (
    BadResultError,
    ModuleError,
    OutOfFuelError,
    OutOfMemoryError,
    TrapError,
)
from transit.views.modules.abi import RECORD_COLUMN_BYTES, RESULT_BYTES_MAX, Records
from transit.views.modules.engines import TABLE_ELEMENTS_MAX, TABLES_MAX, Compiled

MODULE_BYTES_MAX: Final = 512 * 1024
# By the number of a section: what it has, and how many of that a module may have. Each is work for
# the compiler, or for every call.
_SECTIONS: Final = {
    2: ("imports", 0), 3: ("functions", 4_000), 4: ("tables", TABLES_MAX), 5: ("memories", 1),
    6: ("globals", 1_000), 7: ("exports", 1_000), 9: ("element segments", 1_000),
    11: ("data segments", 10_000),
}  # fmt: skip
_HEADER: Final = b"\0asm\1\0\0\0"
_SIGNATURES: Final = {
    "alloc": (["i32"], ["i32"]),
    "apply": (["i32"] * 5, ["i64"]),
    "state": ([], ["i64"]),
}
_LOW: Final = 0xFFFF_FFFF


class Called(NamedTuple):
    """What came of a call. state: what the module keeps. fuel: how much it took."""

    result: bytes
    state: bytes
    fuel: int


class Machine:
    """Runs one module. state_initial: what it keeps before the first record. Safe for threads.

    `InvalidInputError` for bytes that are no module, for one that imports anything, lacks an export
    or is too large, and for one that cannot begin within its fuel and memory.
    """

    def __init__(self, module: bytes, fuel: int, memory_bytes_max: int) -> None:
        self.fuel, self.memory_bytes_max = fuel, memory_bytes_max
        _check_counts(module)
        try:
            self._compiled = Compiled(module)
        except wasmtime.WasmtimeError as error:
            raise InvalidInputError(f"no module: {_told(error)}") from None
        self._has_state = _check_exports(self._compiled.module)
        self._place = 0
        self.state_initial = b""
        try:
            self._begin()
        except ModuleError as error:
            raise InvalidInputError(f"the module cannot begin: {error}") from None

    def _begin(self) -> None:
        with self._compiled.store() as (store, module):
            run = self._run(store, module, self.fuel)
            if self._has_state:
                self._place, size = run.place("state", run.call("state"))
                self.state_initial = bytes(run.memory(self._place, size))

    def call(self, state: bytes, records: Records, fuel: int) -> Called:
        """Give it records. state: what it kept.

        `ModuleError` where it does not answer within `fuel`; what it kept is then as before.
        """
        size = records.size
        if size > self.memory_bytes_max:
            raise OutOfMemoryError(
                f"{size} bytes of records, in a memory of at most {self.memory_bytes_max}"
            )
        with self._compiled.store() as (store, module):
            return self._call(self._run(store, module, fuel), state, records)

    def _call(self, run: _Run, state: bytes, records: Records) -> Called:
        count, size = records.count, records.size
        if state != self.state_initial:
            run.memory(self._place, len(state))[:] = state
        meta = run.alloc(size)
        if meta < self._place + len(state) and self._place < meta + size:
            raise BadResultError("alloc gave a place inside of what the module keeps")
        records.write(run.memory(meta, size))
        ends = meta + 16 * count
        data = meta + RECORD_COLUMN_BYTES * count
        answer = run.call("apply", data, records.payload_bytes, ends, count, meta)
        place, size = run.place("apply", answer)
        if size > RESULT_BYTES_MAX:
            raise BadResultError(f"a result of {size} bytes; at most {RESULT_BYTES_MAX}")
        result = bytes(run.memory(place, size))
        return Called(result, bytes(run.memory(self._place, len(state))), run.used())

    def _run(self, store: wasmtime.Store, module: wasmtime.Module, fuel: int) -> _Run:
        store.set_limits(
            memory_size=self.memory_bytes_max,
            table_elements=TABLE_ELEMENTS_MAX,
            instances=1,
            tables=TABLES_MAX,
            memories=1,
        )
        return _Run(store, module, fuel)


class _Run:
    """One instance of a module, for one call; good as long as its store is."""

    def __init__(self, store: wasmtime.Store, module: wasmtime.Module, fuel: int) -> None:
        self._store, self._fuel = store, fuel
        store.set_fuel(fuel)
        try:
            self._exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise self._why("its beginning", error) from None
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._memory = memory

    def used(self) -> int:
        """The fuel that was taken."""
        return self._fuel - self._store.get_fuel()

    def call(self, name: str, *arguments: int) -> int:
        """Call an export; what it answers, without a sign."""
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        try:
            answer: int = function(self._store, *arguments)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise self._why(name, error) from None
        return answer & 0xFFFF_FFFF_FFFF_FFFF

    def alloc(self, size: int) -> int:
        """A place for so many bytes."""
        try:
            place = self.call("alloc", size) & _LOW
        except TrapError as error:
            raise OutOfMemoryError(f"alloc({size}): {error}") from None
        if not place:
            raise OutOfMemoryError(f"alloc({size}) has no room")
        self._check("alloc", place, size)
        return place

    def place(self, name: str, answer: int) -> tuple[int, int]:
        """The place and size that an export answered, inside the memory."""
        place, size = answer >> 32, answer & _LOW
        self._check(name, place, size)
        return place, size

    def memory(self, place: int, size: int) -> memoryview:
        """The bytes at a place that was checked; good until the module runs again."""
        if not size:
            return memoryview(bytearray())
        address = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        return memoryview((ctypes.c_ubyte * size).from_address(address + place)).cast("B")

    def _check(self, name: str, place: int, size: int) -> None:
        room = self._memory.data_len(self._store)
        if place + size > room:
            raise BadResultError(f"{name} answered {size} bytes at {place}, of {room}")

    def _why(self, where: str, error: Exception) -> ModuleError:
        code = error.trap_code if isinstance(error, wasmtime.Trap) else None
        if code is wasmtime.TrapCode.OUT_OF_FUEL:
            return OutOfFuelError(f"{where}: more than {self._fuel} units of fuel")
        return TrapError(f"{where}: {_told(error)}")


def _told(error: Exception) -> str:
    """What wasmtime says, without its traces."""
    if not isinstance(error, wasmtime.Trap):
        return str(error).split("\n", 1)[0][:500]
    frames = error.frames
    where = f" in {frames[0].func_name or f'function {frames[0].func_index}'}" if frames else ""
    code = error.trap_code
    return ("a trap" if code is None else code.name.lower().replace("_", " ")) + where[:200]


def _check_exports(module: wasmtime.Module) -> bool:
    """Whether it exports `state`; `InvalidInputError` unless it has what it must have."""
    exports = {each.name: each.type for each in module.exports}
    memory = exports.get("memory")
    if not isinstance(memory, wasmtime.MemoryType) or memory.is_64 or memory.is_shared:
        raise InvalidInputError("the module exports no memory of 32 bits called memory")
    for name, (params, results) in _SIGNATURES.items():
        kind = exports.get(name)
        if kind is None and name == "state":
            continue
        given = None
        if isinstance(kind, wasmtime.FuncType):
            given = [*map(str, kind.params)], [*map(str, kind.results)]
        if given != (params, results):
            shown = f"{name}({', '.join(params)}) -> {results[0]}"
            raise InvalidInputError(f"the module exports no function {shown}")
    return "state" in exports


def _check_counts(module: bytes) -> None:
    """`InvalidInputError` for what has too many of anything, before it is compiled."""
    if len(module) > MODULE_BYTES_MAX:
        raise InvalidInputError(f"a module of {len(module)} bytes; at most {MODULE_BYTES_MAX}")
    if not module.startswith(_HEADER):
        raise InvalidInputError(
            "no WebAssembly module; of text make one with wasmtime.wat2wasm(text)"
        )
    at = len(_HEADER)
    while at < len(module):
        section = module[at]
        size, start = _number(module, at + 1)
        if section in _SECTIONS:
            what, most = _SECTIONS[section]
            count, _ = _number(module, start)
            if count > most:
                none = "a module imports nothing" if section == 2 else f"at most {most}"
                raise InvalidInputError(f"the module has {count} {what}; {none}")
        at = start + size


def _number(module: bytes, at: int) -> tuple[int, int]:
    """The number in LEB128 at a place, and where it ends."""
    number = 0
    for place, byte in enumerate(module[at : at + 5]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise InvalidInputError(f"no module: byte {at} begins no number")
