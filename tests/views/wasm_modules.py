"""Modules in WebAssembly's text for tests, and a reducer in Python that comes to the same.

`LETTERS` counts records by the first byte of their payloads. What it keeps is at 1024: for each of
128 letters a count, the size of all payloads, the last offset and the last timestamp.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import wasmtime

import transit
from transit import views
from transit.views.folding import At


class Letter(msgspec.Struct, frozen=True):
    letter: int
    count: int = 0
    size: int = 0
    offset: int = 0
    time: int = 0


letters = views.table("letters", Letter, key="letter", index=["count"])


@views.reducer(letters, reads=bytes)
def in_python(rows: Any, event: bytes, at: At) -> None:
    if event:
        row = rows.get(event[0] % 128) or Letter(event[0] % 128)
        rows.put(Letter(row.letter, row.count + 1, row.size + len(event), at.offset, at.time))


LETTERS = """
(module
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 16384))
  (global $out (mut i32) (i32.const 0))
  (func (export "state") (result i64) (i64.const 0x40000001000))

  (func $alloc (export "alloc") (param $size i32) (result i32) (local $place i32)
    (local.set $place (global.get $top))
    (global.set $top (i32.add (global.get $top) (local.get $size)))
    (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))) (then
      (if (i32.eq (i32.const -1) (memory.grow (i32.shr_u
          (i32.add (i32.sub (global.get $top) (i32.mul (memory.size) (i32.const 65536)))
            (i32.const 65535)) (i32.const 16))))
        (then (return (i32.const 0))))))
    (local.get $place))

  (func $byte (param $value i32)
    (i32.store8 (global.get $out) (local.get $value))
    (global.set $out (i32.add (global.get $out) (i32.const 1))))

  (func $number (param $code i32) (param $value i64) (local $shift i64)
    (call $byte (local.get $code))
    (local.set $shift (i64.const 56))
    (loop $again
      (call $byte (i32.wrap_i64 (i64.shr_u (local.get $value) (local.get $shift))))
      (local.set $shift (i64.sub (local.get $shift) (i64.const 8)))
      (br_if $again (i64.ge_s (local.get $shift) (i64.const 0)))))

  (func (export "apply") (param $data i32) (param $size i32) (param $ends i32) (param $count i32)
      (param $meta i32) (result i64)
    (local $n i32) (local $start i32) (local $end i32) (local $row i32) (local $place i32)
    (local $rows i32)
    (loop $next
      (local.set $end (i32.load (i32.add (local.get $ends)
        (i32.mul (local.get $n) (i32.const 4)))))
      (if (i32.lt_u (local.get $start) (local.get $end)) (then
        (local.set $row (i32.and (i32.const 127)
          (i32.load8_u (i32.add (local.get $data) (local.get $start)))))
        ;; Touched in this call: a byte for each letter, at 8192.
        (i32.store8 offset=8192 (local.get $row) (i32.const 1))
        (local.set $row (i32.add (i32.const 1024) (i32.mul (local.get $row) (i32.const 32))))
        (i64.store (local.get $row) (i64.add (i64.load (local.get $row)) (i64.const 1)))
        (i64.store offset=8 (local.get $row) (i64.add (i64.load offset=8 (local.get $row))
          (i64.extend_i32_u (i32.sub (local.get $end) (local.get $start)))))
        (i64.store offset=16 (local.get $row) (i64.load (i32.add (local.get $meta)
          (i32.mul (local.get $n) (i32.const 8)))))
        (i64.store offset=24 (local.get $row) (i64.load (i32.add (local.get $meta)
          (i32.mul (i32.add (local.get $count) (local.get $n)) (i32.const 8)))))))
      (local.set $start (local.get $end))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (local.get $count))))
    (local.set $place (call $alloc (i32.const 8192)))
    ;; The count of rows is known at the end: its three bytes are written then.
    (global.set $out (i32.add (local.get $place) (i32.const 3)))
    (local.set $n (i32.const 0))
    (loop $letter
      (if (i32.load8_u offset=8192 (local.get $n)) (then
        (local.set $rows (i32.add (local.get $rows) (i32.const 1)))
        (local.set $row (i32.add (i32.const 1024) (i32.mul (local.get $n) (i32.const 32))))
        (call $byte (i32.const 0x93))
        (call $byte (i32.const 0))
        (call $byte (local.get $n))
        (call $byte (i32.const 0x95))
        (call $byte (local.get $n))
        (call $number (i32.const 0xcf) (i64.load (local.get $row)))
        (call $number (i32.const 0xcf) (i64.load offset=8 (local.get $row)))
        (call $number (i32.const 0xcf) (i64.load offset=16 (local.get $row)))
        (call $number (i32.const 0xd3) (i64.load offset=24 (local.get $row)))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $letter (i32.lt_u (local.get $n) (i32.const 128))))
    (local.set $size (i32.sub (global.get $out) (local.get $place)))
    (global.set $out (local.get $place))
    (call $byte (i32.const 0xdc))
    (call $byte (i32.shr_u (local.get $rows) (i32.const 8)))
    (call $byte (local.get $rows))
    (i64.or (i64.shl (i64.extend_i32_u (local.get $place)) (i64.const 32))
      (i64.extend_i32_u (local.get $size)))))
"""


def compiled(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def small(
    apply: str = "(i64.const 0)",
    *,
    alloc: str = "(i32.const 4096)",
    state: str = "",
    memory: str = '(memory (export "memory") 2)',
    more: str = "",
) -> bytes:
    """A module whose functions are these expressions."""
    parts = [
        "(module",
        memory,
        more,
        f'(func (export "alloc") (param $size i32) (result i32) {alloc})',
        '(func (export "apply") (param $data i32) (param $size i32) (param $ends i32)'
        f" (param $count i32) (param $meta i32) (result i64) {apply})",
    ]
    if state:
        parts.append(f'(func (export "state") (result i64) {state})')
    return compiled("\n".join([*parts, ")"]))


def escaped(data: bytes) -> str:
    """Bytes as a text of WebAssembly's."""
    return "".join(f"\\{byte:02x}" for byte in data)


def answering(result: bytes, before: str = "") -> bytes:
    """A module whose every call answers these bytes. before: what `apply` does first."""
    text = escaped(result)
    return small(
        f"{before} (i64.const {8 << 32 | len(result)})", more=f'(data (i32.const 8) "{text}")'
    )


def program(module: bytes | str = LETTERS, **options: Any) -> views.WasmReducer:
    data = compiled(module) if isinstance(module, str) else module
    return views.wasm(data, **{"tables": [letters], "name": "letters", **options})


def filled(folder: Path, count: int, *, name: str = "all") -> transit.Log:
    """A store with so many records in one stream, in frames of many and of few."""
    log = transit.open(folder)
    stream = log.create(name)
    done = 0
    while done < count:
        part = min((1, 7, 100, 3)[done % 4], count - done)
        stream.append_many([payload(done + each) for each in range(part)])
        done += part
    return log


def payload(number: int) -> bytes:
    """Of 97 letters, of 0 to 22 bytes."""
    return bytes([32 + number % 97]) * (number % 23)
