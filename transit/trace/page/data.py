"""What a page shows, as JSON: the runs, their steps in order, and the values these refer to.

Owns the shape below; `values` owns the packed form of values, `heads` the facts about a run.
Members that say nothing are left out.

    version    1
    title      text
    sides      of each run that is shown, one or two: its head (see `heads`) with
                 time      UTC nanoseconds, as text, that the times of its steps are counted from
                 manifest  packed; error: what it ended with, packed
                 steps     the number of its first step, and how many there are
    runs       names of streams
    steps      each one before those inside it, with
                 kind, name, status, failed, inherited
                 level     how many steps it is inside of
                 run       number of the stream that `first` was read from
                 began     nanoseconds after the side's time; took: nanoseconds
                 first     record of the request, or the only one
                 last      record of the outcome, where that is another
                 chunks    records of parts of the answer
                 tokens    [input, output], -1 where not told; cost: as prices, or the service, say
               A record is [offset, nanoseconds after the side's time, event, origin, headers], the
               event as its JSON with values packed, the origin as [run, offset] or 0 for the place
               it was read from; what is empty at the end is left out.
    rows       with two runs: [level, left step or -1, right step or -1, 1 where both say the same]
    notes      see `heads.notes_of`
    bound      where values were cut so that the page keeps to a bound: the bound, bytes; above what
               size they were cut; how many
    values     packed, by number
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from transit.trace.beside import Row
from transit.trace.events import Event, ModelCall, ModelRequest, Unknown
from transit.trace.page.bounds import fitted
from transit.trace.page.heads import cost_of, end_of, head_of, manifest_of
from transit.trace.page.values import VALUE_BYTES_MAX, Cut, Values, encoded
from transit.trace.prices import Prices
from transit.trace.reading import Trace
from transit.trace.records import EventRecord
from transit.trace.steps import Step

VERSION: Final = 1
# What stands between the parts of the JSON.
_BESIDES: Final = 128
_Fields = list[tuple[str, str, object]]


class PageData:
    """The JSON of a page, made of one run or two."""

    def __init__(self, prices: Prices | None = None) -> None:
        self._prices = prices
        self._values = Values()
        # The first of them as JSON, as far as `values` was asked for.
        self._written: list[bytes] = []
        self._runs: dict[str, int] = {}
        self._sides: list[object] = []
        self._steps: list[bytes] = []
        self._numbers: dict[int, int] = {}
        self._time = 0

    def add(self, trace: Trace, steps: Sequence[Step]) -> None:
        """A run, beside those that were added before."""
        self.begin(trace, steps)
        begin = len(self._steps)
        for level, step in levels(steps):
            self._numbers[id(step)] = len(self._steps)
            self._steps.append(encoded(self.step(level, step)))
        self._sides.append(self.head(trace, steps, begin))

    def begin(self, trace: Trace, steps: Sequence[Step]) -> None:
        """Count times from now on from the beginning of this run."""
        self._time = _beginning(trace.created_at, steps)

    def head(self, trace: Trace, steps: Sequence[Step], begin: int) -> dict[str, object]:
        """The facts about a run whose first step is number `begin`."""
        head = head_of(trace, steps, self._prices)
        head["time"] = str(self._time)
        for key in ("created", "began"):
            at = head[key]
            head[key] = at - self._time if isinstance(at, int) else None
        head["manifest"] = self._values.pack(manifest_of(trace, steps))
        head["metadata"] = self._values.pack(head["metadata"])
        head["error"] = self._values.pack(msgspec.to_builtins(end_of(trace, steps)))
        head["steps"] = [begin, sum(1 for _ in levels(steps))]
        return {key: value for key, value in head.items() if value not in (None, "")}

    def rows(self, rows: Iterable[Row]) -> list[list[int]]:
        """The steps of two runs that stand beside each other."""
        return [
            [row.depth, self._number(row.left), self._number(row.right), int(row.same)]
            for row in rows
        ]

    def encode(
        self,
        title: str,
        notes: Sequence[object],
        rows: list[list[int]] | None,
        most: int,
        besides: int,
    ) -> bytes:
        """All of it as JSON that may stand in HTML.

        most: bytes that the page should keep to, of which it has some besides.
        """
        whole: dict[str, object] = {"version": VERSION, "title": title, "sides": self._sides}
        whole["notes"] = [self._values.pack(note) for note in notes]
        if rows is not None:
            whole["rows"] = rows
        whole["runs"] = list(self._runs)
        begin = harmless(encoded(whole)[:-1])
        steps = harmless(b",\n".join(self._steps))
        left = most - besides - len(begin) - len(steps) - _BESIDES
        found = fitted(self._values, left, harmless)
        bound = b""
        if found.cut:
            bound = b',"bound":' + encoded([most, found.above, found.cut])
        parts = (
            begin, bound, b',"steps":[', steps, b'],"values":[', b",\n".join(found.entries), b"]}",
        )  # fmt: skip
        return b"".join(parts)

    def _number(self, step: Step | None) -> int:
        return -1 if step is None else self._numbers[id(step)]

    @property
    def values(self) -> list[bytes]:
        """The values so far, as JSON: nothing of them is cut to a bound."""
        self._written += map(_written, self._values.entries[len(self._written) :])
        return self._written

    @property
    def runs(self) -> list[str]:
        """The names of streams so far."""
        return list(self._runs)

    def note(self, note: object) -> object:
        """A note, packed."""
        return self._values.pack(note)

    def step(self, level: int, step: Step) -> dict[str, object]:
        """A step that is inside of `level` others."""
        said: dict[str, object] = {
            "kind": step.kind, "name": step.name, "level": level, "run": self._run(step.run),
            "status": step.status, "failed": int(step.failed), "inherited": int(step.inherited),
            "began": step.begun_at - self._time, "took": step.duration_ns or 0,
        }  # fmt: skip
        made = {key: value for key, value in said.items() if value not in (0, "")}
        made["first"] = self.record(step.run, step.first)
        if step.last is not None and step.last is not step.first:
            made["last"] = self.record(step.run, step.last)
        if step.chunks:
            made["chunks"] = [self.record(step.run, each) for each in step.chunks]
        if step.tokens != (-1, -1):
            made["tokens"] = step.tokens
        if (cost := cost_of(step, self._prices)) is not None:
            made["cost"] = cost
        return made

    def _run(self, name: str) -> int:
        return self._runs.setdefault(name, len(self._runs))

    def record(self, run: str, record: EventRecord) -> list[object]:
        """A record, read from stream `run`."""
        origin = record.origin
        made = [record.offset, record.timestamp - self._time, self._event(run, record), 0, 0]
        if origin != (run, record.offset):
            made[3] = [self._run(origin.stream), origin.offset]
        if record.headers:
            made[4] = self._values.pack(dict(record.headers))
        while made[-1] == 0:
            made.pop()
        return made

    def _event(self, run: str, record: EventRecord) -> object:
        event = record.event
        if isinstance(event, Unknown):
            if event.data is None:
                return self._values.pack(record.payload.decode("utf-8", "backslashreplace"))
            return self._values.pack(event.data)
        packed: dict[str, object] = {"event": type(event).__struct_config__.tag}
        for attribute, name, default in _fields_of(type(event)):
            value = getattr(event, attribute)
            if value is default or value == default:
                continue
            if attribute == "request" and isinstance(event, ModelCall | ModelRequest):
                packed[name] = self._values.pack_request(run, value)
            else:
                packed[name] = self._values.pack(_plain(value))
        return packed


def _written(entry: bytes | str | Cut) -> bytes:
    if isinstance(entry, str):
        return encoded(entry)
    return encoded(entry.packed(VALUE_BYTES_MAX)) if isinstance(entry, Cut) else entry


def harmless(data: bytes) -> bytes:
    """JSON without what HTML or a script would take for the end of it, or for anything else."""
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        data = data.replace(character.encode(), f"\\u{ord(character):04x}".encode())
    return data


def _beginning(created: int | None, steps: Sequence[Step]) -> int:
    """The time that others are counted from: the first that is known."""
    times = [] if created is None else [created]
    times += [step.begun_at for step in steps[:1]]
    times += [step.begun_at for step in steps if not step.inherited][:1]
    return min(times, default=0)


def levels(steps: Sequence[Step]) -> Iterator[tuple[int, Step]]:
    """All steps in order, each with how many it is inside of."""
    waiting = [(0, step) for step in reversed(steps)]
    while waiting:
        level, step = waiting.pop()
        yield level, step
        waiting.extend((level + 1, each) for each in reversed(step.steps))


_known_fields: dict[type, _Fields] = {}


def _fields_of(kind: type[Event]) -> _Fields:
    """Of each field: the attribute, its name in JSON, its default."""
    found = _known_fields.get(kind)
    if found is None:
        found = [(f.name, f.encode_name, _default_of(f)) for f in msgspec.structs.fields(kind)]
        _known_fields[kind] = found
    return found


def _default_of(field: msgspec.structs.FieldInfo) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _plain(value: object) -> object:
    """A field's value as JSON has it."""
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    return list(value) if isinstance(value, tuple) else value
