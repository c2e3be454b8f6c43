"""The steps of a frame: what each needs a right for, and how it is staged.

A step may name what an earlier one of its frame makes. The engine checks what a step holds; here is
checked who asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from transit import InvalidInputError, Log, Position, Scalar, StagedStream, Stream, WriteBatch
from transit.protocol.calls import (
    UID_PREFIX,
    Advance,
    Append,
    AppendMany,
    Branch,
    Create,
    Finish,
    FrameRequest,
    Headers,
    Hide,
    Merge,
    Parent,
    Show,
    Step,
)
from transit.server.access import APPEND, BRANCH, MERGE, READ, Grant, right_to_create
from transit.server.api.naming import find, named

HEAVY: Final = 1_000
"""A frame of more records than this keeps the event loop waiting, and so may any merge."""


class Records(NamedTuple):
    """What an `append` or an `append_many` appends."""

    payloads: list[bytes]
    headers: Headers | list[Headers | None] | None
    timestamps: list[int] | None


def records_of(step: Append | AppendMany) -> Records:
    """What a step appends; `InvalidInputError` where its parts do not fit together."""
    if isinstance(step, Append):
        if (step.payload is None) == (step.text is None):
            raise InvalidInputError("append: give payload or text")
        payload = step.payload if step.text is None else step.text.encode()
        assert payload is not None
        return Records(
            [payload], step.headers, None if step.timestamp is None else [step.timestamp]
        )
    count = len(step.payloads)
    if not count:
        raise InvalidInputError("payloads are empty")
    if isinstance(step.headers, list) and len(step.headers) != count:
        raise InvalidInputError(f"{len(step.headers)} headers for {count} payloads")
    if step.timestamps is not None and len(step.timestamps) != count:
        raise InvalidInputError(f"{len(step.timestamps)} timestamps for {count} payloads")
    return Records(step.payloads, step.headers, step.timestamps)


def is_heavy(frame: FrameRequest) -> bool:
    """Whether a frame takes so long to stage that it must not be done on the event loop."""
    if any(isinstance(step, Merge) for step in frame.steps):
        return True
    many = (len(step.payloads) for step in frame.steps if isinstance(step, AppendMany))
    return sum(many) > HEAVY


def check_steps(log: Log, grant: Grant, steps: Sequence[Step]) -> None:
    """`RefusedError` unless the client may do all of them; `NotFoundError` for an unknown uid."""
    for step in steps:
        match step:
            case Create(name=name):
                grant.check(right_to_create(name), name)
            case Branch(stream=source, name=name):
                grant.check(BRANCH, name)
                _check_named(log, grant, READ, source)
            case Merge(name=name):
                grant.check(MERGE, name)
                check_parents(log, grant, step.parents)
                if step.base is not None:
                    _check_named(log, grant, READ, step.base[0])
            case _:
                _check_named(log, grant, APPEND, step.stream)


def check_parents(log: Log, grant: Grant, parents: Sequence[Parent]) -> None:
    """`RefusedError` unless the client may read all of them."""
    for parent in parents:
        _check_named(log, grant, READ, parent if isinstance(parent, str) else parent[0])


def _check_named(log: Log, grant: Grant, right: str, name: str) -> None:
    # What an earlier step makes is not there yet: for a name, the name is enough.
    if name.startswith(UID_PREFIX):
        find(log, grant, right, name)
    else:
        grant.check(right, name)


class Steps:
    """The steps of one frame, staged in a batch.

    counts: how many records each step appended. made: the streams to be. hidden: those that the
    frame hides and does not make.
    """

    def __init__(self, log: Log, batch: WriteBatch) -> None:
        self._log = log
        self._batch = batch
        self._named: dict[str, Stream | StagedStream] = {}
        self.counts: list[int] = []
        self.made: list[StagedStream] = []
        self.hidden: list[Stream] = []

    def stage(self, steps: Sequence[Step]) -> None:
        """Stage all of them; what cannot be done raises here, or when the batch is written."""
        for step in steps:
            match step:
                case Create() | Branch() | Merge():
                    self._make(step)
                case Append() | AppendMany():
                    self._append(step)
                case Advance():
                    self._advance(step)
                case _:
                    self._change(step)

    def _make(self, step: Create | Branch | Merge) -> None:
        layer, name = parts_of(step.name)
        batch = self._batch
        if isinstance(step, Create):
            metadata = _marked(step, layer)
            made = batch.create(
                name, metadata, step.codec, layer=layer, uid=step.uid, protect=step.protect
            )
        elif isinstance(step, Branch):
            made = batch.branch(
                self._target(step.stream),
                name,
                step.at,
                step.metadata,
                layer=layer,
                uid=step.uid,
                expect=step.expect,
                empty=step.empty,
            )
        else:
            made = batch.merge(
                name,
                [self._place(parent) for parent in step.parents],
                policy=step.policy,
                base=None if step.base is None else self._position(step.base),
                params=step.params,
                metadata=step.metadata,
                merge_id=step.merge_id,
                layer=layer,
                uid=step.uid,
                expect=step.expect,
            )
        self._named[step.name] = made
        self.made.append(made)

    def _append(self, step: Append | AppendMany) -> None:
        records = records_of(step)
        self.counts.append(len(records.payloads))
        self._batch.append_many(
            self._target(step.stream),
            records.payloads,
            headers=records.headers,
            timestamps=records.timestamps,
            expect=step.expect,
        )

    def _advance(self, step: Advance) -> None:
        target = self._target(step.stream)
        if isinstance(target, StagedStream):
            raise InvalidInputError(f"{step.stream}: a cursor is advanced once its stream is there")
        cursor = target.cursor(step.cursor)
        self._batch.advance(cursor, step.position, state=step.state, expect=step.expect)

    def _change(self, step: Finish | Hide | Show) -> None:
        target, batch = self._target(step.stream), self._batch
        if isinstance(step, Finish):
            batch.finish(target, expect=step.expect, reason=step.reason)
        elif isinstance(step, Show):
            batch.show(target, expect=step.expect, reason=step.reason)
        else:
            batch.hide(target, expect=step.expect, reason=step.reason)
            if isinstance(target, Stream):
                self.hidden.append(target)

    def _target(self, name: str) -> Stream | StagedStream:
        known = self._named.get(name)
        if known is None:
            known = self._named[name] = named(self._log, name)
        return known

    def _place(self, parent: Parent) -> Stream | StagedStream | Position:
        return self._target(parent) if isinstance(parent, str) else self._position(parent)

    def _position(self, place: tuple[str, int]) -> Position:
        return Position(self._target(place[0]).name, place[1])


def parts_of(name: str) -> tuple[str | None, str]:
    """A new stream's name as (layer, name in it); None for no layer."""
    if not name.startswith("$"):
        return None, name
    layer, slash, rest = name[1:].partition("/")
    return (layer, rest) if slash else (None, name)


def _marked(step: Create, layer: str | None) -> Mapping[str, Scalar] | None:
    if not step.derived:
        return step.metadata
    if layer is None:
        raise InvalidInputError(f"{step.name}: only a stream of a layer can be derived")
    return {**(step.metadata or {}), "derived": True}
