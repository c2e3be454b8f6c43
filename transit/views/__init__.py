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

reducing, tables  what is declared; rows: types of rows and events; sources: digests of functions
folding, overlay  a fold: records in, changes of rows out; writing: how a row is looked at
spec              what a view is called by
opening, view     states at any offset; advancing: from one to the next; merges: of merged streams
state, tabular    a state, and its rows as Arrow tables
savepoints, pack  states that are kept; nodes: where they come from; histories: what they are of
verifying         folded again and compared; adopting: roots taken over by changed code
subscribing       changes to subscribers
loading           what a module declares, for commands and servers; stopping: who still waits
errors            what goes wrong
maps              the ordered map that a state is
modules           modules of WebAssembly as reducers
scans             records as columns, and SQL over them
loops             reconcilers and schedules
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from transit.views.loops.due import Clock, ManualClock, SystemClock
    from transit.views.loops.keeping import evict, publish, retain, sign, verify
    from transit.views.loops.reconcile import (
        Reconciler,
        Reconcilers,
        ReconcilerStatus,
        reconciler,
        reconcilers,
    )
    from transit.views.loops.running import Runner, runner
    from transit.views.loops.scheduling import (
        Schedule,
        disable_schedule,
        enable_schedule,
        schedule,
        schedules,
        unschedule,
    )
    from transit.views.loops.standing import answers, succeeds, take_over
    from transit.views.loops.ticks import Action, Line, Tick, TickLostError, TickRecord
    from transit.views.modules.program import WasmReducer, wasm
    from transit.views.opening import open
    from transit.views.overlay import RowChange, WritableTable
    from transit.views.reducing import Program, Reducer, reducer
    from transit.views.scans.declaring import Columns, columns, payload_columns
    from transit.views.scans.querying import Limits, sql
    from transit.views.scans.results import Result
    from transit.views.scans.runs import runs_columns
    from transit.views.scans.scanning import Scan, ScanPart, scan
    from transit.views.spec import Spec
    from transit.views.state import State
    from transit.views.subscribing import Change, SubscriberStatus
    from transit.views.tables import Table, TableState, table
    from transit.views.verifying import Divergence, Verified
    from transit.views.view import View

_HOMES = {
    "adopting": (
        "Adopted",
        "adopt",
    ),
    "scans.declaring": (
        "Columns",
        "columns",
        "payload_columns",
    ),
    "loops.due": (
        "Clock",
        "ManualClock",
        "SystemClock",
    ),
    "errors": (
        "BadResultError",
        "DivergedError",
        "EventError",
        "HistoryDiffersError",
        "ModuleError",
        "OutOfFuelError",
        "OutOfMemoryError",
        "ReducerError",
        "TrapError",
        "ViewError",
    ),
    "folding": ("At",),
    "histories": (
        "Bookmark",
        "bookmark",
    ),
    "loops.keeping": (
        "evict",
        "publish",
        "retain",
        "sign",
        "verify",
    ),
    "opening": ("open",),
    "overlay": (
        "RowChange",
        "WritableTable",
    ),
    "scans.querying": (
        "Limits",
        "sql",
    ),
    "loops.reconcile": (
        "Reconciler",
        "ReconcilerStatus",
        "Reconcilers",
        "reconciler",
        "reconcilers",
    ),
    "reducing": (
        "Program",
        "Reducer",
        "Spec",
        "reducer",
    ),
    "scans.results": ("Result",),
    "loops.running": (
        "Runner",
        "runner",
    ),
    "scans.runs": ("runs_columns",),
    "scans.scanning": (
        "Scan",
        "ScanPart",
        "scan",
    ),
    "loops.scheduling": (
        "Schedule",
        "disable_schedule",
        "enable_schedule",
        "schedule",
        "schedules",
        "unschedule",
    ),
    "state": ("State",),
    "subscribing": (
        "Change",
        "SubscriberStatus",
    ),
    "tables": (
        "Table",
        "TableState",
        "table",
    ),
    "loops.standing": (
        "answers",
        "succeeds",
        "take_over",
    ),
    "loops.ticks": (
        "Action",
        "Line",
        "Tick",
        "TickLostError",
        "TickRecord",
    ),
    "verifying": (
        "Divergence",
        "Verified",
    ),
    "view": ("View",),
    "modules.program": (
        "WasmReducer",
        "wasm",
    ),
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
    "answers",
    "bookmark",
    "columns",
    "disable_schedule",
    "enable_schedule",
    "evict",
    "open",
    "payload_columns",
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
    "succeeds",
    "table",
    "take_over",
    "unschedule",
    "verify",
    "wasm",
]
