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

A view is made of records and of nothing else, so it can always be made again. Names are loaded when
they are first asked for: who uses reducers needs no pyarrow, no DuckDB and no wasmtime.

Tables and reducers
    reducer, tables   what is declared; rows: types of rows and events; sources: digests of functions
    folding, overlay  a fold: records in, changes of rows out
    view, state       states at any offset; advancing: from one to the next; merges: of merged ones
    opening           `open`
    savepoints, pack  states that are kept; nodes: where they come from; histories: what they are of
    verifying         folded again and compared; adopting: roots taken over by changed code
    subscribing       changes to subscribers
    tabular           rows as Arrow tables
    errors            what goes wrong

The ordered map that a state is
    map, node, keys   the map, its nodes, values as keys in their order
    cutting, editing  where nodes end; the next map; walking, differing: reading and comparing

Modules of WebAssembly as reducers
    wasm_program      `wasm`; wasm_abi: what they are given and answer; wasm_machine, wasm_fold,
                      wasm_memory: how they are run

Records as columns, and SQL
    declaring, fields which columns a program reads of payloads; runs: those of recorded runs
    decoding, arrows  payloads to columns; what cannot be read becomes text, and no record is lost
    choosing, layout  which streams, and up to where; where their records lie
    files, tails      columns files, made once a segment; what is not sealed, decoded once a process
    scanning          all of that as Arrow: `scan`
    querying          `sql`: DuckDB over a scan; statements: what queries may do, and what LAST
                      means; feeding: a scan as DuckDB takes it; results: what a query gives

Loops and schedules
    reconcile, naming reconcilers: their definitions, and what is said of them in the log
    ticks, keeping    a reconciler's history, and what a body is given; ready-made ones
    schedule, firing  records that are appended when they are due
    due               when something is due: intervals, cron-like times, one-shots; clocks
    runner, looping   the loop that runs them all; one of them; claims: who runs it; workers: threads
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transit.views.adopting import Adopted, adopt
    from transit.views.declaring import Columns, columns
    from transit.views.due import Clock, ManualClock, SystemClock
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
    from transit.views.keeping import evict, publish, retain, sign, verify
    from transit.views.opening import open
    from transit.views.overlay import RowChange, WritableTable
    from transit.views.querying import Limits, sql
    from transit.views.reconcile import Reconciler, ReconcilerStatus, Reconcilers, reconciler
    from transit.views.reducer import Program, Reducer, Spec, reducer
    from transit.views.results import Result
    from transit.views.runner import Runner, runner
    from transit.views.runs import runs_columns
    from transit.views.scanning import Scan, ScanPart, scan
    from transit.views.schedule import (
        Schedule,
        disable_schedule,
        enable_schedule,
        schedule,
        schedules,
        unschedule,
    )
    from transit.views.state import State
    from transit.views.subscribing import Change, SubscriberStatus
    from transit.views.tables import Table, TableState, table
    from transit.views.ticks import Action, Line, Tick, TickLostError, TickRecord
    from transit.views.verifying import Divergence, Verified
    from transit.views.view import View
    from transit.views.wasm_program import WasmReducer, wasm

_HOMES = {
    "adopting": ("Adopted", "adopt",),
    "declaring": ("Columns", "columns",),
    "due": ("Clock", "ManualClock", "SystemClock",),
    "errors": ("BadResultError", "DivergedError", "EventError", "HistoryDiffersError", "ModuleError", "OutOfFuelError", "OutOfMemoryError", "ReducerError", "TrapError", "ViewError",),
    "folding": ("At",),
    "histories": ("Bookmark", "bookmark",),
    "keeping": ("evict", "publish", "retain", "sign", "verify",),
    "opening": ("open",),
    "overlay": ("RowChange", "WritableTable",),
    "querying": ("Limits", "sql",),
    "reconcile": ("Reconciler", "ReconcilerStatus", "Reconcilers", "reconciler",),
    "reducer": ("Program", "Reducer", "Spec", "reducer",),
    "results": ("Result",),
    "runner": ("Runner", "runner",),
    "runs": ("runs_columns",),
    "scanning": ("Scan", "ScanPart", "scan",),
    "schedule": ("Schedule", "disable_schedule", "enable_schedule", "schedule", "schedules", "unschedule",),
    "state": ("State",),
    "subscribing": ("Change", "SubscriberStatus",),
    "tables": ("Table", "TableState", "table",),
    "ticks": ("Action", "Line", "Tick", "TickLostError", "TickRecord",),
    "verifying": ("Divergence", "Verified",),
    "view": ("View",),
    "wasm_program": ("WasmReducer", "wasm",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """The public name `name`, from the module that has it."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


__all__ = [
    "Action",
    "Adopted",
    "At",
    "BadResultError",
    "Bookmark",
    "Change",
    "Clock",
    "Columns",
    "DivergedError",
    "Divergence",
    "EventError",
    "HistoryDiffersError",
    "Limits",
    "Line",
    "ManualClock",
    "ModuleError",
    "OutOfFuelError",
    "OutOfMemoryError",
    "Program",
    "Reconciler",
    "ReconcilerStatus",
    "Reconcilers",
    "Reducer",
    "ReducerError",
    "Result",
    "RowChange",
    "Runner",
    "Scan",
    "ScanPart",
    "Schedule",
    "Spec",
    "State",
    "SubscriberStatus",
    "SystemClock",
    "Table",
    "TableState",
    "Tick",
    "TickLostError",
    "TickRecord",
    "TrapError",
    "Verified",
    "View",
    "ViewError",
    "WasmReducer",
    "WritableTable",
    "adopt",
    "bookmark",
    "columns",
    "disable_schedule",
    "enable_schedule",
    "evict",
    "open",
    "publish",
    "reconciler",
    "reconcilers",
    "reducer",
    "retain",
    "runner",
    "runs_columns",
    "scan",
    "schedule",
    "schedules",
    "sign",
    "sql",
    "table",
    "unschedule",
    "verify",
    "wasm",
]
