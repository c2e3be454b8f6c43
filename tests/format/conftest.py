"""What every codec is put through: bit flips, truncations, tables in docstrings."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

ROW = re.compile(r"^ +(-?\d+|\.) +(\d+(?:-\d+)?|\.) {2}(\S.*)$")
FIELD = re.compile(r"(\d*)([a-zA-Z])")

Flips = Callable[[bytes], Iterator[tuple[int, bytes]]]
Cuts = Callable[[bytes], Iterator[bytes]]
Table = list[tuple[int, int]]


@pytest.fixture(scope="session")
def flips() -> Flips:
    """A function that yields every single bit flip of some bytes, with the number of the byte."""

    def flipped(data: bytes) -> Iterator[tuple[int, bytes]]:
        damaged = bytearray(data)
        for bit in range(len(data) * 8):
            damaged[bit // 8] ^= 1 << bit % 8
            yield bit // 8, bytes(damaged)
            damaged[bit // 8] ^= 1 << bit % 8

    return flipped


@pytest.fixture(scope="session")
def cuts() -> Cuts:
    """A function that yields every proper prefix of some bytes."""

    def prefixes(data: bytes) -> Iterator[bytes]:
        return (data[:size] for size in range(len(data)))

    return prefixes


@pytest.fixture(scope="session")
def tables() -> Callable[[ModuleType], list[Table]]:
    """A function that reads the byte tables of a module's docstring: rows of (offset, size).

    A table begins at offset 0. Rows of variable place or size are left out.
    """

    def read(module: ModuleType) -> list[Table]:
        found: list[Table] = []
        for line in (module.__doc__ or "").splitlines():
            match = ROW.match(line)
            if match is None:
                continue
            offset, size = match[1], match[2]
            if offset == "0":
                found.append([])
            if offset.isdigit() and size.isdigit():
                found[-1].append((int(offset), int(size)))
        return found

    return read


@pytest.fixture(scope="session")
def fields() -> Callable[[struct.Struct], Table]:
    """A function that lays out a struct: (offset, size) of each field, from `struct.calcsize`."""

    def lay_out(layout: struct.Struct) -> Table:
        prefix = layout.format[0]
        codes: list[str] = []
        for count, code in FIELD.findall(layout.format[1:]):
            codes += [count + code] if code == "s" else [code] * int(count or 1)
        rows = []
        for place, code in enumerate(codes):
            offset = struct.calcsize(prefix + "".join(codes[:place]))
            rows.append((offset, struct.calcsize(prefix + code)))
        return rows

    return lay_out
