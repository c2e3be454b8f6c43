"""What goes wrong with views, as classes where a caller would act differently.

TransitError
├── ViewError
│   ├── ReducerError          a reducer raised, or did what a reducer must not
│   ├── EventError            a record that is not what the reducer reads
│   ├── DivergedError         folded again, a state is not what was recorded
│   └── ModuleError           why a WebAssembly module stopped: the cause of a ReducerError
│       ├── OutOfFuelError    a record took more than the module's fuel
│       ├── OutOfMemoryError  the module had no room for a record
│       ├── TrapError         the module gave up, or did what it cannot
│       └── BadResultError    what it answered is no list of rows, or not of its tables
└── ConflictError
    └── HistoryDiffersError   a place that belongs to another history
"""

from __future__ import annotations

from transit import ConflictError, TransitError


class ViewError(TransitError):
    """A view cannot be where it was asked to be."""


class _StoppedError(ViewError):
    """A view stands before a record. stream: its name. offset: of the record."""

    def __init__(self, stream: str, offset: int, message: str) -> None:
        super().__init__(f"{stream}@{offset}: {message}")
        self.stream = stream
        self.offset = offset
        self._message = message

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.stream, self.offset, self._message)


class ReducerError(_StoppedError):
    """A reducer raised at a record, or did what a reducer must not; the cause is `__cause__`.

    The view stands before `offset`: states up to there stay readable.
    """


class EventError(_StoppedError):
    """A record is not what the reducer reads, and the view does not skip such records."""


class DivergedError(ViewError):
    """A state that was recorded does not come out again: the reducer is not deterministic."""


class ModuleError(ViewError):
    """Why a WebAssembly module stopped at a record: the cause of a `ReducerError`."""


class OutOfFuelError(ModuleError):
    """A record took more than the fuel that the module was declared with."""


class OutOfMemoryError(ModuleError):
    """The module had no room for a record within the memory that it was declared with."""


class TrapError(ModuleError):
    """The module gave up, or did what it cannot: the message says what and in which function."""


class BadResultError(ModuleError):
    """What the module answered is not what `transit.views.modules.abi` says, or fits no table."""


class HistoryDiffersError(ConflictError):
    """What was kept about a stream belongs to another history of it."""
