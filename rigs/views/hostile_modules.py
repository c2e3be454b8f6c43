"""WebAssembly modules that mean harm: to the compiler, to the machine, to the host that reads them.

`CASES` has by name the bytes, and how it ends: a class of error when the module is declared, or the
cause of the `ReducerError` when it is given three records.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec
import wasmtime

import transit
from rigs.views.models import MemoryNodes
from transit import views
from transit.views.maps.map import Map


class Row(msgspec.Struct, frozen=True):
    """A row that a module may write."""

    key: int
    text: str = ""


table = views.table("rows", Row, key="key")

_HEADER: Final = b"\0asm\1\0\0\0"
_ADDRESSES: Final = 16 << 30


def _leb(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def _section(number: int, entries: Iterable[bytes]) -> bytes:
    items = list(entries)
    body = _leb(len(items)) + b"".join(items)
    return bytes([number]) + _leb(len(body)) + body


def _function(code: bytes, kept: bytes = b"\0") -> bytes:
    """The only function of a module, with nothing in or out."""
    body = kept + code + b"\x0b"
    types, functions = _section(1, [b"\x60\0\0"]), _section(3, [b"\0"])
    return _HEADER + types + functions + _section(10, [_leb(len(body)) + body])


def _functions(count: int) -> bytes:
    types, functions = _section(1, [b"\x60\0\0"]), _section(3, [b"\0"] * count)
    return _HEADER + types + functions + _section(10, [b"\2\0\x0b"] * count)


def module(
    apply: str = "(i64.const 0)",
    alloc: str = "(i32.const 4096)",
    more: str = "",
    memory: str = '(memory (export "memory") 2)',
) -> bytes:
    """A whole module of these expressions."""
    return bytes(
        wasmtime.wat2wasm(
            f"(module {memory} {more}"
            f'(func $alloc (export "alloc") (param i32) (result i32) {alloc})'
            '(func $apply (export "apply") (param i32 i32 i32 i32 i32) (result i64) (local $n i32)'
            f" {apply}))"
        )
    )


def answering(data: bytes) -> bytes:
    """A module that answers these bytes, from 64 on."""
    text = "".join(f"\\{byte:02x}" for byte in data)
    return module(f"(i64.const {64 << 32 | len(data)})", more=f'(data (i32.const 64) "{text}")')


_MANY: Final = (
    "(loop {} (br_if 0 (i32.ne (i32.const -1)"
    " (local.tee $n (i32.add (local.get $n) (i32.const 1)))))) (i64.const 0)"
)
_FILL: Final = "(memory.fill (i32.const 0) (i32.const {}) (i32.const {}))"
_STATE: Final = '(func (export "state") (result i64) (i64.const {}))'
_TABLE: Final = "(table $t 1 {} funcref)"

DECLARED: Final = "InvalidInputError"
_FUEL, _TRAP, _RESULT, _MEMORY = "OutOfFuelError", "TrapError", "BadResultError", "OutOfMemoryError"

CASES: Final[dict[str, tuple[Callable[[], bytes], str]]] = {
    # For the compiler
    "nothing": (lambda: b"", DECLARED),
    "half a header": (lambda: _HEADER[:6], DECLARED),
    "a size without an end": (lambda: _HEADER + b"\1\xff\xff\xff\xff\xff\xff", DECLARED),
    "a section that is not all there": (lambda: _HEADER + b"\1\xff\xff\xff\x0f", DECLARED),
    "two megabytes": (lambda: _HEADER + bytes(2 << 20), DECLARED),
    "a bomb of functions": (lambda: _functions(60_000), DECLARED),
    "a bomb of globals": (lambda: _HEADER + _section(6, [b"\x7f\1\x41\0\x0b"] * 80_000), DECLARED),
    "a bomb of exports": (
        lambda: (
            _HEADER
            + _section(5, [b"\0\1"])
            + _section(7, (_leb(len(str(n))) + str(n).encode() + b"\2\0" for n in range(40_000)))
        ),
        DECLARED,
    ),
    "a bomb of data segments": (
        lambda: _HEADER + _section(5, [b"\0\1"]) + _section(11, [b"\0\x41\0\x0b\1a"] * 60_000),
        DECLARED,
    ),
    "a bomb of tables": (lambda: _HEADER + _section(4, [b"\x70\0\1"] * 1_000), DECLARED),
    "a count of a billion globals": (lambda: _HEADER + b"\6\5" + _leb(1 << 30), DECLARED),
    "blocks in blocks": (lambda: _function(b"\2\x40" * 160_000 + b"\x0b" * 160_000), DECLARED),
    "a function of 50,000 locals": (
        lambda: _function(b"", b"\1" + _leb(50_000) + b"\x7f"),
        DECLARED,
    ),
    "a function of a billion locals": (
        lambda: _function(b"", b"\1" + _leb(1 << 30) + b"\x7f"),
        DECLARED,
    ),
    "much straight code": (lambda: _function(b"\x41\1\x1a" * 160_000), DECLARED),
    # For the machine, before the first record
    "an import": (
        lambda: module(
            more='(import "env" "time" (func (result i64)))',
            memory='(import "env" "memory" (memory 1))',
        ),
        DECLARED,
    ),
    "wasi": (
        lambda: bytes(
            wasmtime.wat2wasm(
                '(module (import "wasi_snapshot_preview1" "clock_time_get"'
                ' (func (param i32 i64 i32) (result i32))) (memory (export "memory") 1))'
            )
        ),
        DECLARED,
    ),
    "a memory of 4 GiB": (lambda: module(memory='(memory (export "memory") 65536)'), DECLARED),
    "a memory of 64 bits": (lambda: module(memory='(memory (export "memory") i64 1)'), DECLARED),
    "a shared memory": (lambda: module(memory='(memory (export "memory") 1 1 shared)'), DECLARED),
    "a table of four billion": (lambda: module(more="(table 4294967295 funcref)"), DECLARED),
    "a start that never ends": (
        lambda: module(more="(func $s (loop (br 0))) (start $s)"),
        DECLARED,
    ),
    "a start that traps": (lambda: module(more="(func $s unreachable) (start $s)"), DECLARED),
    "data outside of the memory": (
        lambda: module(more='(data (i32.const 131070) "abcd")'),
        DECLARED,
    ),
    "a state outside of the memory": (
        lambda: module(more=_STATE.format(131_000 << 32 | 4096)),
        DECLARED,
    ),
    "a state of four billion bytes": (lambda: module(more=_STATE.format(0xFFFF_FFFF)), DECLARED),
    # For the machine, with records
    "an endless loop": (lambda: module("(loop (br 0)) (i64.const 0)"), _FUEL),
    "an endless loop in alloc": (lambda: module(alloc="(loop (br 0)) (i32.const 0)"), _FUEL),
    "memory filled without end": (lambda: module(_MANY.format(_FILL.format(7, 131072))), _FUEL),
    "memory grown without end": (
        lambda: module(
            "(loop (br_if 0 (i32.ne (i32.const -1) (memory.grow (i32.const 1))))) unreachable"
        ),
        _TRAP,
    ),
    "memory grown to its end and filled": (
        lambda: module(
            "(drop (memory.grow (i32.const 126)))" + _MANY.format(_FILL.format(7, 8388608))
        ),
        _FUEL,
    ),
    "a table grown without end": (
        lambda: module(
            "(loop (br_if 0 (i32.ne (i32.const -1)"
            " (table.grow $t (ref.null func) (i32.const 100))))) unreachable",
            more=_TABLE.format(""),
        ),
        _TRAP,
    ),
    "a table filled without end": (
        lambda: module(
            _MANY.format("(table.fill $t (i32.const 0) (ref.null func) (i32.const 10000))"),
            more="(table $t 10000 funcref)",
        ),
        _FUEL,
    ),
    "a function that calls itself": (
        lambda: module(
            "(call $apply (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))"
        ),
        _TRAP,
    ),
    "a call of nothing": (
        lambda: module("(call_indirect $t (result i64) (i32.const 0))", more=_TABLE.format("")),
        _TRAP,
    ),
    "reading outside": (lambda: module("(i64.load (i32.const -8))"), _TRAP),
    "dividing by zero": (lambda: module("(i64.div_u (i64.const 1) (i64.const 0))"), _TRAP),
    # For the host
    "no room": (lambda: module(alloc="(i32.const 0)"), _MEMORY),
    "alloc traps": (lambda: module(alloc="unreachable"), _MEMORY),
    "alloc at the end": (lambda: module(alloc="(i32.const 131072)"), _RESULT),
    "alloc below zero": (lambda: module(alloc="(i32.const -8)"), _RESULT),
    "alloc inside of the state": (lambda: module(more=_STATE.format(4096 << 32 | 4096)), _RESULT),
    "a result outside": (lambda: module("(i64.const -1)"), _RESULT),
    "a result that begins at the end": (lambda: module(f"(i64.const {131072 << 32 | 1})"), _RESULT),
    "a result of all the memory": (
        lambda: module(f"(drop (memory.grow (i32.const 100))) (i64.const {6 << 20})"),
        _RESULT,
    ),
    "a result of zeros": (lambda: module("(i64.const 65536)"), _RESULT),
    "a list of four billion": (lambda: answering(b"\xdd\xff\xff\xff\xff"), _RESULT),
    "lists in lists": (lambda: answering(b"\x91" * 50_000), _RESULT),
    "a million nils": (
        lambda: module(
            _FILL.format("0xc0", 131072)
            + " (i32.store (i32.const 0) (i32.const 0xfbff01dd)) (i64.const 131072)"
        ),
        _RESULT,
    ),
    "a text of four billion": (
        lambda: answering(b"\x91\x93\0\1\x92\1\xdb\xff\xff\xff\xff"),
        _RESULT,
    ),
    "a text that is none": (lambda: answering(b"\x91\x93\0\1\x92\1\xa1\xff"), _RESULT),
    "another type": (lambda: answering(b"\x91\x93\0\1\x92\1\1"), _RESULT),
    "a table that is not there": (lambda: answering(b"\x91\x93\1\1\x92\1\xa1a"), _RESULT),
    "a table below zero": (lambda: answering(b"\x91\x93\xff\1\x92\1\xa1a"), _RESULT),
    "another key": (lambda: answering(b"\x91\x93\0\2\x92\1\xa1a"), _RESULT),
    "neither key nor row": (lambda: answering(b"\x91\x93\0\xc0\xc0"), _RESULT),
    "something behind": (lambda: answering(b"\x90\x90"), _RESULT),
    "four elements": (lambda: answering(b"\x91\x94\0\1\x92\1\xa1a\0"), _RESULT),
}


def tried_anew(name: str) -> Callable[[], str]:
    """What becomes of a module whose memory is new in each call: the class of the error."""
    return _tried(name)


def tried_in_kept(name: str) -> Callable[[], str]:
    """What becomes of it in memory that is kept from call to call."""
    # That has its addresses from the first module on, before they are limited.
    views.wasm(module(), tables=[table])
    return _tried(name)


def _tried(name: str) -> Callable[[], str]:
    data = CASES[name][0]()
    with tempfile.TemporaryDirectory() as folder, transit.open(Path(folder) / "s") as log:
        log.create("s").append_many([b"one", b"two", b"three"])
        batch = next(iter(log.stream("s").batches()))
    # Memories reserve more addresses than the process is left with: these are given back then.
    room = mmap.mmap(-1, _ADDRESSES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 0)

    def step() -> str:
        room.close()
        try:
            fold = views.wasm(data, tables=[table]).fold(Map(MemoryNodes()), "s")
            fold.take(batch, 0, len(batch))
            fold.flush()
        except views.ReducerError as error:
            return type(error.__cause__).__name__ if error.offset == 0 else "another record"
        except transit.TransitError as error:
            return type(error).__name__
        return "ok"

    return step
