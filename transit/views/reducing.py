"""Reducers: what makes rows of records, and what a view is called by.

A reducer is a function of its tables, one event and the event's place: `function(table, …, event,
at)`. All that decides its result is in the id of the view: name, version, source, the types of its
rows and events, and how it treats records that are no events. Another id is another view.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, Protocol

from transit import Batch, InvalidInputError
from transit.views.folding import PythonFold, Skipped
from transit.views.maps.map import Map
from transit.views.overlay import RowChange
from transit.views.rows import EventType
from transit.views.sources import source_digest
from transit.views.spec import Spec
from transit.views.tables import TABLES_MAX, Table

ON_ERROR: Final = ("stop", "skip")
MERGES: Final = ("fold", "three-way")


class Folding(Protocol):
    """A fold under way: records in, the next state out. `transit.views.folding` has that of Python.

    applied, skipped: what was taken since `begin_anew`.
    """

    applied: int
    skipped: list[Skipped]

    def take(self, batch: Batch, first: int, stop: int) -> None:
        """Fold rows `first` to before `stop` of a batch; `ReducerError`, `EventError`."""

    def step(self, batch: Batch, row: int) -> list[RowChange]:
        """Fold one row; what it changed, in the order of tables and keys."""

    def flush(self) -> Map:
        """The map that has all changes; `InvalidInputError` where a row cannot be written, and
        what `take` raises, where the fold only now comes to what it took."""

    def begin_anew(self) -> None:
        """Count from here on."""


class Program(Protocol):
    """What a view is made by: a `Reducer`, or a WebAssembly module."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables it fills."""

    @property
    def spec(self) -> Spec:
        """All that decides its result."""

    def fold(self, map_: Map, stream: str) -> Folding:
        """A fold that goes on from a map. stream: its name, for errors."""


class Reducer:
    """A reducer as it is declared; made by `reducer`. Calling it calls the function."""

    def __init__(
        self,
        function: Callable[..., None],
        tables: tuple[Table, ...],
        events: EventType,
        spec: Spec,
    ) -> None:
        self.function, self.tables, self.events, self.spec = function, tables, events, spec
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__

    def __repr__(self) -> str:
        return f"<transit.views.Reducer {self.spec.name!r}, {self.spec.id[:8]}>"

    def __call__(self, *arguments: Any) -> None:
        """Call the function itself, as a test of it does."""
        self.function(*arguments)

    def fold(self, map_: Map, stream: str) -> Folding:
        """A fold that goes on from a map."""
        return PythonFold(self, map_, stream)

    def __reduce__(self) -> tuple[object, ...]:
        return find_reducer, (self.function.__module__, self.function.__qualname__)


def find_reducer(module: str, name: str) -> Reducer:
    """The reducer that a module has under this name; `InvalidInputError` where it has none."""
    found: object = import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Reducer):
        raise InvalidInputError(f"{module}.{name} is no reducer of a module's own")
    return found


def reducer(
    *tables: Table,
    reads: Any,
    version: int = 1,
    name: str | None = None,
    codec: str = "json",
    where: Mapping[str, str | Sequence[str]] | None = None,
    on_error: str = "stop",
    merge: str = "fold",
    code: str | None = None,
) -> Callable[[Callable[..., None]], Reducer]:
    """Declare a reducer: `@reducer(runs, reads=ToolResult)` above `def tally(runs, event, at)`.

    reads: the type of an event, decoded strictly from each record, fields that it does not name
    ignored; `bytes` for the payload as it is. codec: "json" or "msgpack". where: headers that a
    record must have to be read at all. on_error: "stop" at a record that is no such event, or
    "skip" it, which the savepoint notes. merge: what a stream that was merged begins with: "fold"
    its records in the order of the merge, or "three-way": rows that one side changed are taken
    over, and those that both did go to the `merge` of their table, which each table then has.
    version: to be raised when something that the function calls changes. code: stands for the
    source, where that is not to be had.

    The function must depend on nothing but its arguments. `InvalidInputError` for what cannot be a
    reducer.
    """
    declared = check_tables(tables)
    events = EventType(reads, codec)
    if on_error not in ON_ERROR:
        raise InvalidInputError(f"on_error {on_error!r}: not one of {', '.join(ON_ERROR)}")
    _check_merge(merge, declared)
    headers = check_where(where)

    def declare(function: Callable[..., None]) -> Reducer:
        _check_arguments(function, len(declared))
        return Reducer(
            function,
            declared,
            events,
            Spec(
                name=name or function.__name__,
                version=version,
                kind="python",
                code=source_digest(function) if code is None else code,
                tables=[each.schema for each in declared],
                events=events.schema,
                where=headers,
                on_error=on_error,
                merge=merge,
                limits={},
            ),
        )

    return declare


def check_tables(tables: tuple[Table, ...]) -> tuple[Table, ...]:
    """The tables of a reducer; `InvalidInputError` for what they cannot be."""
    if not tables or not all(isinstance(each, Table) for each in tables):
        raise InvalidInputError("a reducer needs its tables first: @reducer(runs, reads=...)")
    if len(tables) > TABLES_MAX:
        raise InvalidInputError(f"{len(tables)} tables; at most {TABLES_MAX}")
    if len({each.name for each in tables}) != len(tables):
        raise InvalidInputError("two tables have the same name")
    return tables


def _check_merge(merge: str, tables: tuple[Table, ...]) -> None:
    if merge not in MERGES:
        raise InvalidInputError(f"merge {merge!r}: not one of {', '.join(MERGES)}")
    for each in tables:
        if (each.merge is None) is (merge == "three-way"):
            raise InvalidInputError(
                f'table {each.name}: with merge="three-way" each table has a merge, else none'
            )


def check_where(where: Mapping[str, str | Sequence[str]] | None) -> dict[str, list[str]]:
    """The headers that records must have, in one form."""
    found = {}
    for key, values in sorted((where or {}).items()):
        found[key] = [values] if isinstance(values, str) else sorted(values)
    return found


def _check_arguments(function: Callable[..., None], tables: int) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise InvalidInputError(f"{function.__name__}: a reducer is a plain function")
    try:
        inspect.signature(function).bind(*range(tables + 2))
    except TypeError as error:
        raise InvalidInputError(
            f"{function.__name__}: a reducer takes its {tables} tables, the event and its place: "
            f"{error}"
        ) from None
