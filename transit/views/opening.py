"""`open`: a view of an open store."""

from __future__ import annotations

from transit import InvalidInputError, Log
from transit.views.reducing import Program
from transit.views.view import RECORDS_MAX, View


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
