"""transit.views: state derived from streams, once, branch by branch, at any offset.

    import msgspec
    from transit import views

    class Run(msgspec.Struct, frozen=True):
        name: str
        tokens: int = 0

    class Result(msgspec.Struct):
        run: str
        tokens: int = 0

    runs = views.table("runs", Run, key="name")

    @views.reducer(runs, reads=Result)
    def tally(runs, event, at):
        row = runs.get(event.run) or Run(event.run)
        runs.put(Run(row.name, row.tokens + event.tokens))

    view = views.open(log, tally)
    view.of("task").runs["run-1"]

A view is made of records and of nothing else, so it can always be made again.

reducer, tables   what is declared; rows: types of rows and events; sources: digests of functions
folding, overlay  a fold: records in, changes of rows out
map, node, keys   the ordered map that a state is; cutting, editing, walking, differing: its parts
view, state       states at any offset; advancing: from one to the next; merges: of merged streams
savepoints, pack  states that are kept; nodes: where they come from; histories: what they are about
verifying         folded again and compared; adopting: roots taken over by changed code
subscribing       changes to subscribers
wasm_program, …   modules of WebAssembly as reducers: wasm_abi, what they are given and answer;
                  wasm_machine, wasm_fold: how they are run
tabular           rows as Arrow tables
errors            what goes wrong
"""

from __future__ import annotations

from transit import InvalidInputError, Log
from transit.views.adopting import Adopted, adopt
from transit.views.errors import (
    BadResultError,
    DivergedError,
    EventError,
    HistoryDiffersError,
    ModuleError,
    OutOfFuelError,
    OutOfMemoryError,
    ReducerError,
    TrapError,
    ViewError,
)
from transit.views.folding import At
from transit.views.histories import Bookmark, bookmark
from transit.views.overlay import RowChange, WritableTable
from transit.views.reducer import Program, Reducer, Spec, reducer
from transit.views.state import State
from transit.views.subscribing import Change, SubscriberStatus
from transit.views.tables import Table, TableState, table
from transit.views.verifying import Divergence, Verified
from transit.views.view import RECORDS_MAX, View
from transit.views.wasm_program import WasmReducer, wasm


def open(
    log: Log,
    program: Program,
    *,
    persist: str = "logged",
    savepoint_records: int = RECORDS_MAX,
) -> View:
    """A view of the streams of an open store.

    program: a reducer, or a WebAssembly module. persist: "logged" keeps savepoints and their nodes
    in the log, published and restored with it; "stateful" keeps the nodes in files of the store's
    cache, which are made again when they are gone; "ephemeral" keeps all in memory.
    savepoint_records: records from one savepoint to the next, which are at most folded again for
    any offset.
    """
    if not isinstance(log, Log):
        raise InvalidInputError(f"log must be an open transit.Log, not {type(log).__name__}")
    if not hasattr(program, "spec") or not hasattr(program, "fold"):
        raise InvalidInputError(f"not a reducer: {program!r}; declare it with @views.reducer(...)")
    if type(savepoint_records) is not int or savepoint_records < 1:
        raise InvalidInputError(f"savepoint_records must be 1 or more, not {savepoint_records!r}")
    return View(log, program, persist, savepoint_records)


__all__ = [
    "Adopted",
    "At",
    "BadResultError",
    "Bookmark",
    "Change",
    "DivergedError",
    "Divergence",
    "EventError",
    "HistoryDiffersError",
    "ModuleError",
    "OutOfFuelError",
    "OutOfMemoryError",
    "Program",
    "Reducer",
    "ReducerError",
    "RowChange",
    "Spec",
    "State",
    "SubscriberStatus",
    "Table",
    "TableState",
    "TrapError",
    "Verified",
    "View",
    "ViewError",
    "WasmReducer",
    "WritableTable",
    "adopt",
    "bookmark",
    "open",
    "reducer",
    "table",
    "wasm",
]
