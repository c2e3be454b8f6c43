"""Calls out of the program: what they are to who records them, and to a replay that answers them.

Owns what is compared: the name, and a digest of the arguments. How calls are made and how outcomes
come back is in `transit.trace.boundary`, the decorator in `transit.trace.functions`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

import msgspec

from transit import TransitError
from transit.trace.events import CallChunk, CallResult, ErrorInfo, GivenAs, encode_json
from transit.trace.forms import Forms


class RecordedCallError(TransitError):
    """A recorded call raised; `type` is the name of its exception's class, with its module's."""

    def __init__(self, error: ErrorInfo) -> None:
        super().__init__(f"{error.type}: {error.message}")
        self.type = error.type


class RecordedExitError(BaseException):
    """A recorded call was left by what is no `Exception`; `type` as of `RecordedCallError`."""

    def __init__(self, error: ErrorInfo) -> None:
        super().__init__(f"{error.type}: {error.message}")
        self.type = error.type

    def __reduce__(self) -> tuple[object, ...]:
        # Made again without __init__: the text in `args` is not what it takes.
        return _make_again, (type(self), *self.args), self.__dict__ or None


def _make_again(kind: type[BaseException], *args: object) -> BaseException:
    return kind.__new__(kind, *args)


class NotReplayableError(TransitError):
    """What a call gave is not in the recording, or not as it was: a replay cannot give it.

    `place` says which value it is, and of what type.
    """

    def __init__(self, call: str, place: str, hint: str) -> None:
        super().__init__(f"{call}: {place} is not in the recording as it was: {hint}")
        self.place = place


class Call(msgspec.Struct, frozen=True):
    """A call about to be made. arguments: in exact form. digest: as `Forms` gives it.

    redacted: count of places that a redaction policy changed. given: the arguments themselves, by
    parameter or in order.
    """

    name: str
    arguments: object
    digest: str
    redacted: int = 0
    given: dict[str, object] | list[object] | None = None

    def __str__(self) -> str:
        text = encode_json(self.arguments).decode("utf-8", "replace")
        return f"{self.name}({text if len(text) <= 200 else text[:200] + '…'})"


class Given(msgspec.Struct, frozen=True):
    """Something the recording gives, and how the moment is awaited at which it came."""

    event: CallResult | CallChunk
    wait: Callable[[], Awaitable[None]]


class Outcome(msgspec.Struct, frozen=True):
    """What the recording says came of a call. chunks: what a generator gave before."""

    result: Given
    chunks: Callable[[], Iterator[Given]]
    allow_redacted: bool = False


class Ended(msgspec.Struct, frozen=True):
    """What came of a call that was made.

    given_as: how the result was had; see `CallResult`. is_argument: the parameter whose argument
    the result is, itself. changed: arguments that the call changed in place, in exact form.
    lost_change: the first of these that the form does not hold. redacted: count of places in them
    that a policy changed. duration_ns: of the call, nanoseconds.
    """

    result: object = None
    error: BaseException | None = None
    given_as: GivenAs = ""
    is_argument: str = ""
    changed: dict[str, object] | None = None
    lost_change: str = ""
    redacted: int = 0
    duration_ns: int = 0


class Recorder(Protocol):
    """What makes or answers calls: a task, or a replay of one."""

    @property
    def forms(self) -> Forms:
        """What it remembers of the values of its calls."""
        ...

    def begin_call(self, call: Call) -> str | Outcome:
        """The id of the call to make now, or what came of it when it was recorded."""
        ...

    def chunk_call(self, call_id: str, value: object) -> None:
        """Record a value that a generator gave."""
        ...

    def end_call(self, call_id: str, call: Call, ended: Ended) -> None:
        """Record what came of a call that was made."""
        ...

    def clean(self, value: object) -> tuple[object, int]:
        """A value in exact form as it may be recorded, and how many places were changed."""
        ...


def make_call(recorder: Recorder, name: str, arguments: dict[str, object] | list[object]) -> Call:
    """A call with its digest, which is about what may be recorded of the arguments."""
    form, count = recorder.clean(recorder.forms.exact(arguments, "arguments").value)
    return Call(name, form, recorder.forms.digest(form), count, arguments)
