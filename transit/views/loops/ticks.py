"""Ticks: a reconciler's history, one record a tick, and what the body of a tick is given.

Owns `$views/ticks/<name>`: the record at offset n is tick n. It is appended on the condition that
n is the next offset, in one frame with all that the tick itself appends, so of two runners that
both did tick n one has done nothing. A tick that had nothing to do writes nothing, unless its
reconciler wants that written, somebody asked for the tick, or it said, kept or appended something.

A record says what the tick did, and what the next one must know: due times, failures in a row, and
what changed of the key-value state. The state is folded from the changes since the last record
that holds all of it (`kv_from`), which is at most 64 records back.

What becomes of these streams elsewhere: they are the user's history, and go along. A rebase brings
local ticks along as a branch, and the remote's history is the one that goes on: two runners on two
machines never make one history of both. `restore(streams=)` brings them with "$views/";
`transit export --all` and `transit import` keep them under their names.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from transit import ConflictError, CorruptError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from transit import Log, Stream, WriteBatch

LINES_MAX: Final = 200
LINE_CHARS_MAX: Final = 1_000
ACTIONS_MAX: Final = 200
ACTION_BYTES_MAX: Final = 4_096
ERROR_CHARS_MAX: Final = 2_000
KV_BYTES_MAX: Final = 64 * 1024
KV_KEY_CHARS_MAX: Final = 256
FOLD_MAX: Final = 64
"""All of the key-value state is written again after so many records at most."""

_NOT_JSON: Final = (TypeError, ValueError, OverflowError, RecursionError)

Level = Literal["debug", "info", "warning", "error"]
Result = Literal["ok", "failed", "timeout", "skipped", "noop", "deleted"]


class TickLostError(ConflictError):
    """This tick is no longer this runner's to do: another has it, or its reconciler is off.

    Let it pass out of the body. Nothing of the tick is written.
    """


class Line(msgspec.Struct, frozen=True):
    """A line that a body logged; `at` in nanoseconds."""

    at: int
    level: Level
    text: str


class Action(msgspec.Struct, frozen=True):
    """What a body said that it did."""

    name: str
    fields: dict[str, object] = {}


class TickRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One tick. Times in UTC nanoseconds; `due` is None for a tick that was asked for.

    result: "skipped": dues passed and its policy lets them; "deleted": the reconciler was deleted,
    and its key-value state with it. lines, actions: what the body said; `cut`: how much of it was
    too much. skipped: dues before this one that no tick was made for; dues answered by ticks that
    wrote nothing may be among them after a crash. noops: ticks since the last record that wrote
    nothing. failures: in a row, with this one. retry_at: not before then. answered: the request it
    answered, or the last one before it. runner: who did it.
    kv, gone: keys that were set and deleted; all that there are where `kv_from` is n.
    """

    n: int
    result: Result
    due: int | None = None
    started: int = 0
    ended: int = 0
    error: str = ""
    actions: tuple[Action, ...] = ()
    lines: tuple[Line, ...] = ()
    cut: int = 0
    skipped: int = 0
    noops: int = 0
    failures: int = 0
    next_due: int | None = None
    retry_at: int | None = None
    answered: int = -1
    epoch: int = 0
    runner: str = ""
    kv: dict[str, object] = {}
    gone: tuple[str, ...] = ()
    kv_from: int = 0


def decode_tick(payload: bytes, place: str) -> TickRecord:
    """A record of a stream of ticks; `CorruptError` for bytes that are none."""
    try:
        return msgspec.json.decode(payload, type=TickRecord)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CorruptError(place, expected="a tick", found=str(error)) from None


def read_ticks(stream: Stream, last: int | None, before: int | None = None) -> Iterator[TickRecord]:
    """The last ticks of a stream, or the last before a number, oldest first; None: all of them."""
    stop = stream.next_offset if before is None else min(before, stream.next_offset)
    start = 0 if last is None else max(0, stop - last)
    for record in stream.read(start, stop):
        yield decode_tick(record.payload, f"{stream.name}@{record.offset}")


# Key-value state


class State(MutableMapping[str, object]):
    """What a reconciler keeps from tick to tick: JSON values by name, at most 64 KiB.

    A value is what was set; one that is changed in place must be set again. `InvalidInputError` for
    what would not come back as it was. For one thread.
    """

    def __init__(self, values: dict[str, bytes]) -> None:
        self._values = dict(values)
        self._before = values

    def __getitem__(self, key: str) -> object:
        return msgspec.json.decode(self._values[key])

    def __setitem__(self, key: str, value: object) -> None:
        if not isinstance(key, str) or not 0 < len(key) <= KV_KEY_CHARS_MAX:
            raise InvalidInputError(f"a key is text of 1 to {KV_KEY_CHARS_MAX} characters")
        try:
            key.encode()
            data = msgspec.json.encode(value)
            comes_back = msgspec.json.decode(data) == value
        except (msgspec.MsgspecError, *_NOT_JSON) as error:
            raise InvalidInputError(f"kv[{key!r}] is no JSON value: {error}") from None
        if not comes_back:
            raise InvalidInputError(f"kv[{key!r}] would not come back as it is: {value!r}"[:500])
        held = sum(len(k) + len(v) for k, v in self._values.items() if k != key)
        if held + len(key) + len(data) > KV_BYTES_MAX:
            raise InvalidInputError(f"kv would hold more than {KV_BYTES_MAX} bytes")
        self._values[key] = data

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def encoded(self) -> dict[str, bytes]:
        """All values, as JSON."""
        return dict(self._values)

    def changed(self) -> dict[str, bytes]:
        """The values that are others than at the start, as JSON."""
        before = self._before
        return {key: data for key, data in self._values.items() if before.get(key) != data}

    def gone(self) -> tuple[str, ...]:
        """The keys that were there at the start, and are not now."""
        return tuple(sorted(self._before.keys() - self._values.keys()))


class KeyValues:
    """The key-value state before tick `n`, folded from the records."""

    def __init__(self) -> None:
        self.n = 0
        self.values: dict[str, bytes] = {}
        self.kv_from = 0

    def read(self, stream: Stream) -> TickRecord | None:
        """Go on to the end of the stream; the last record, None when there is nothing new."""
        stop = stream.next_offset
        if stop <= self.n:
            return None
        last = decode_tick(stream[stop - 1].payload, f"{stream.name}@{stop - 1}")
        start = max(self.n, min(last.kv_from, stop - 1))
        for record in stream.read(start, stop):
            last = decode_tick(record.payload, f"{stream.name}@{record.offset}")
            self.take(last, record.offset)
        return last

    def take(self, record: TickRecord, offset: int) -> None:
        """Go on by one record that was read."""
        values = {} if record.kv_from == offset else dict(self.values)
        values.update((key, msgspec.json.encode(value)) for key, value in record.kv.items())
        for key in record.gone:
            values.pop(key, None)
        self.n, self.values, self.kv_from = offset + 1, values, record.kv_from

    def go_on(self, record: TickRecord, state: State | None) -> None:
        """Go on by one record that was written, with the state it was made of; None: as it was."""
        self.n, self.kv_from = record.n + 1, record.kv_from
        if state is not None:
            self.values = state.encoded()

    def written(self, state: State | None) -> dict[str, object]:
        """The fields of the next record that say what became of the state."""
        if self.n - self.kv_from >= FOLD_MAX or self.n == 0:
            values = self.values if state is None else state.encoded()
            return {"kv": _raw(values), "kv_from": self.n}
        if state is None:
            return {"kv_from": self.kv_from}
        return {"kv": _raw(state.changed()), "gone": state.gone(), "kv_from": self.kv_from}


def _raw(values: dict[str, bytes]) -> dict[str, object]:
    return {key: msgspec.Raw(data) for key, data in values.items()}


# What a body is given


class Tick:
    """One tick, as the body of a reconciler has it; for the thread that runs the body.

    name, n: tick n of this reconciler. due: the time it is for, UTC nanoseconds; None when it was
    asked for. attempt: 1, or more after failures in a row. skipped: dues before it that no tick was
    made for. key: the same for this tick whenever and wherever it is tried, for effects outside.
    log: the store. kv: what the reconciler keeps; written with the tick, or not at all.
    """

    def __init__(  # noqa: PLR0913 - as many things make a tick
        self,
        log: Log,
        name: str,
        n: int,
        due: int | None,
        *,
        attempt: int,
        skipped: int,
        kv: State,
        now: Callable[[], int],
        check: Callable[[], None],
    ) -> None:
        self.log = log
        self.name = name
        self.n = n
        self.due = due
        self.attempt = attempt
        self.skipped = skipped
        self.kv = kv
        self._now = now
        self._check = check
        self._batch: WriteBatch | None = None
        self._is_noop = False
        self.lines: list[Line] = []
        self.actions: list[Action] = []
        self.cut = 0

    def __repr__(self) -> str:
        return f"<views.Tick {self.n} of {self.name!r}>"

    @property
    def key(self) -> str:
        """An idempotency key: `<name>/<n>`."""
        return f"{self.name}/{self.n}"

    @property
    def batch(self) -> WriteBatch:
        """What the tick appends: written in the frame of its record, or not at all."""
        if self._batch is None:
            self._batch = self.log.batch().__enter__()
        return self._batch

    @property
    def staged(self) -> WriteBatch | None:
        """The batch, where the body has asked for it."""
        return self._batch

    def check(self) -> None:
        """Ask right before an effect outside; `TickLostError` when the tick is another's by now.

        Another runner may take over between this and the effect: give `key` along.
        """
        self._check()

    def emit(self, action: str, **fields: object) -> None:
        """Say that something was done, with what a reader of the history wants to know of it."""
        try:
            made = Action(_text(action, LINE_CHARS_MAX), msgspec.to_builtins(fields))
            size = len(msgspec.json.encode(made))
        except (msgspec.MsgspecError, *_NOT_JSON) as error:
            raise InvalidInputError(f"{action}: fields are no JSON values: {error}") from None
        if size > ACTION_BYTES_MAX or len(self.actions) >= ACTIONS_MAX:
            self.cut += 1
        else:
            self.actions.append(made)

    def debug(self, text: str) -> None:
        """Log a line that helps to find a mistake."""
        self._line("debug", text)

    def info(self, text: str) -> None:
        """Log a line."""
        self._line("info", text)

    def warning(self, text: str) -> None:
        """Log a line that somebody should read."""
        self._line("warning", text)

    def error(self, text: str) -> None:
        """Log a line about what went wrong."""
        self._line("error", text)

    def noop(self) -> None:
        """Say that there was nothing to do."""
        self._is_noop = True

    @property
    def is_noop(self) -> bool:
        """Whether the body said so, and did not do, say or keep anything either."""
        return self._is_noop and not (
            self._batch is not None
            or self.lines
            or self.actions
            or self.cut
            or self.kv.changed()
            or self.kv.gone()
        )

    @property
    def result(self) -> Result:
        """What is recorded of a body that ended."""
        return "noop" if self._is_noop and self._batch is None and not self.actions else "ok"

    def _line(self, level: Level, text: str) -> None:
        if len(self.lines) >= LINES_MAX:
            self.cut += 1
        else:
            self.lines.append(Line(self._now(), level, _text(text, LINE_CHARS_MAX)))


def _text(text: object, chars_max: int) -> str:
    """Text that can be written, and is not too long."""
    whole = str(text)
    cut = whole if len(whole) <= chars_max else whole[: chars_max - 1] + "…"
    return cut.encode("utf-8", "backslashreplace").decode()


def error_text(error: BaseException) -> str:
    """What is recorded of an exception: class, message, and the line that raised it."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        # Its own methods may raise too.
        text = type(error).__name__
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    text = _text(text, ERROR_CHARS_MAX)
    if trace is None:
        return text
    code = trace.tb_frame.f_code
    place = f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
    return f"{text} ({_text(place, LINE_CHARS_MAX)})"
