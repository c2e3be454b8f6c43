"""WebAssembly modules as what makes rows of records: how they are declared.

A module is in the spec of its view by the digest of its bytes, with the limits it runs under, which
are part of what it comes to: another byte or another limit is another view. What it must export is
in `transit.views.modules.abi`.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from transit import InvalidInputError
from transit.views.maps.map import Map
from transit.views.modules.abi import ABI_VERSION, ResultDecoder
from transit.views.modules.fold import WasmFold
from transit.views.reducing import Folding, check_tables, check_where
from transit.views.spec import Spec
from transit.views.tables import Table

if TYPE_CHECKING:
    from transit.views.modules.machine import Machine

FUEL: Final = 50_000_000
FUEL_MAX: Final = 1 << 40
MEMORY_BYTES: Final = 8 << 20
MEMORY_BYTES_MIN: Final = 64 << 10
MEMORY_BYTES_MAX: Final = 1 << 30

Where = Mapping[str, str | Sequence[str]]


class WasmReducer:
    """A module as it is declared; made by `wasm`."""

    def __init__(self, module: bytes, tables: tuple[Table, ...], spec: Spec) -> None:
        self.tables, self.spec = tables, spec
        self.machine = _machine(module, spec.limits)
        self.decoder = ResultDecoder(tables)
        self._module = module

    def __repr__(self) -> str:
        return f"<transit.views.WasmReducer {self.spec.name!r}, {self.spec.id[:8]}>"

    def fold(self, map_: Map, stream: str) -> Folding:
        """A fold that goes on from a map."""
        return WasmFold(self.machine, self.decoder, self.tables, map_, stream)

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (self._module, [_home(each) for each in self.tables], self.spec)


def wasm(
    module: str | PathLike[str] | bytes,
    *,
    tables: Sequence[Table],
    fuel: int = FUEL,
    memory_bytes_max: int = MEMORY_BYTES,
    name: str | None = None,
    version: int = 1,
    where: Where | None = None,
) -> WasmReducer:
    """Declare a reducer that is a WebAssembly module: `views.wasm("tally.wasm", tables=[runs])`.

    module: the path of a file, or the bytes. tables: by their place in this list the module names
    them. fuel: what one record may take, about one unit an instruction; the view stops before a
    record that takes more. A call of many records has no more than that either: it is made smaller
    where that is not enough, so a limit far above what a record takes is quicker than one that is
    near. memory_bytes_max: of its memory, 64 KiB to 1 GiB. name: by default that of the file,
    without its ending. where: headers that a record must have to be given to it.

    Raises `InvalidInputError` for what is no such module, and without wasmtime.
    """
    data, stem = _read(module)
    declared = check_tables(tuple(tables))
    if any(each.merge is not None for each in declared):
        raise InvalidInputError("a module folds what is merged: no table of it has a merge")
    if any(each.auto for each in declared):
        raise InvalidInputError("a module numbers rows itself: no table of it has auto")
    _check_limit("fuel", fuel, 1, FUEL_MAX)
    _check_limit("memory_bytes_max", memory_bytes_max, MEMORY_BYTES_MIN, MEMORY_BYTES_MAX)
    spec = Spec(
        name=stem if name is None else name,
        version=version,
        kind="wasm",
        code=blake3(data).hexdigest(),
        tables=[each.schema for each in declared],
        events=["columns"],
        where=check_where(where),
        on_error="stop",
        merge="fold",
        limits={"abi": ABI_VERSION, "fuel": fuel, "memory_bytes_max": memory_bytes_max},
    )
    return WasmReducer(data, declared, spec)


def _machine(module: bytes, limits: Mapping[str, int]) -> Machine:
    try:
        # Loaded here: it loads wasmtime, which is an extra.
        from transit.views.modules.machine import Machine
    except ModuleNotFoundError as error:
        if error.name != "wasmtime":
            raise
        raise InvalidInputError(
            "a WebAssembly module needs wasmtime: pip install 'transit[wasm]'"
        ) from None
    return Machine(module, limits["fuel"], limits["memory_bytes_max"])


def _read(module: str | PathLike[str] | bytes) -> tuple[bytes, str]:
    if isinstance(module, bytes):
        return module, "wasm"
    path = Path(module)
    try:
        return path.read_bytes(), path.stem
    except OSError as error:
        raise InvalidInputError(f"the module {path} cannot be read: {error}") from None


def _check_limit(name: str, value: int, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise InvalidInputError(f"{name} must be {low} to {high}, not {value!r}")


def _home(table: Table) -> tuple[str, str]:
    """The module and the name by which another process finds a table: beside its type of rows."""
    module = table.row.type.__module__
    for name, value in list(vars(sys.modules[module]).items()):
        if value is table:
            return module, name
    raise pickle.PicklingError(f"table {table.name} is not a name of {module}")


def _again(module: bytes, homes: list[tuple[str, str]], spec: Spec) -> WasmReducer:
    tables = tuple(getattr(import_module(home), name) for home, name in homes)
    if [each.schema for each in tables] != spec.tables:
        raise InvalidInputError(f"the tables of {spec.name} are others here")
    return WasmReducer(module, tables, spec)
