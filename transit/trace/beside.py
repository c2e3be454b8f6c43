"""Two runs beside each other: which steps are the same, and where they first differ.

Steps are aligned by what they say: kind, name, what was asked, what came of it. Not by offsets,
times, durations or ids, which differ between two runs of one program.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final

import msgspec
from blake3 import blake3

from transit.trace.events import Artifact, Checkpoint, Evaluation, RunEnd
from transit.trace.steps import Step
from transit.trace.values import encode_plain

# Members that name one moment or one call, and nothing that was said.
_IDS: Final = frozenset(
    (
        "id", "tool_call_id", "tool_use_id", "call_id", "response_id", "request_id", "created",
        "created_at", "timestamp", "system_fingerprint", "uuid",
    )
)  # fmt: skip
# Names that were made up for one run.
_MADE_UP: Final = re.compile(r"\b[0-9a-f]{8,}\b|\b[0-9]{6,}\b")
# From so many on, steps that come again and again are not tried everywhere.
_MANY: Final = 2_000


class Row(msgspec.Struct, frozen=True, gc=False):
    """Two steps that stand beside each other; None where one run has nothing to match.

    same: whether they say the same. depth: how many steps they are inside of.
    """

    left: Step | None
    right: Step | None
    same: bool
    depth: int = 0


def beside(left: Sequence[Step], right: Sequence[Step]) -> list[Row]:
    """The steps of two runs, aligned; what is inside matched steps is aligned in turn."""
    rows: list[Row] = []
    digests = _Digests()
    # Aligned from the outside in, without recursion: each pair's inside follows it.
    waiting: list[Iterator[Row]] = [iter(_aligned(digests, left, right, 0))]
    while waiting:
        row = next(waiting[-1], None)
        if row is None:
            waiting.pop()
            continue
        rows.append(row)
        inner_left = row.left.steps if row.left else []
        inner_right = row.right.steps if row.right else []
        if inner_left or inner_right:
            waiting.append(iter(_aligned(digests, inner_left, inner_right, row.depth + 1)))
    return rows


def first_difference(rows: Sequence[Row]) -> int | None:
    """The number of the first row whose sides differ; None where none does."""
    return next((n for n, row in enumerate(rows) if not row.same), None)


def _aligned(
    digests: _Digests, left: Sequence[Step], right: Sequence[Step], depth: int
) -> list[Row]:
    ours, theirs = list(map(digests.of, left)), list(map(digests.of, right))
    rows: list[Row] = []
    for tag, a, b, c, d in _matched(ours, theirs):
        if tag == "equal":
            pairs = zip(left[a:b], right[c:d], strict=True)
            rows += [Row(one, other, True, depth) for one, other in pairs]
        else:
            rows += _differing(left[a:b], right[c:d], depth)
    return rows


def _differing(left: Sequence[Step], right: Sequence[Step], depth: int) -> list[Row]:
    """Steps that differ: those of one kind and name are beside each other, in order."""
    ours, theirs = [_label(step) for step in left], [_label(step) for step in right]
    rows: list[Row] = []
    for tag, a, b, c, d in _matched(ours, theirs):
        if tag == "equal":
            pairs = zip(left[a:b], right[c:d], strict=True)
            rows += [Row(one, other, False, depth) for one, other in pairs]
        else:
            rows += [Row(step, None, False, depth) for step in left[a:b]]
            rows += [Row(None, step, False, depth) for step in right[c:d]]
    return rows


def _matched(
    left: Sequence[object], right: Sequence[object]
) -> Iterator[tuple[str, int, int, int, int]]:
    """As `SequenceMatcher.get_opcodes`; what both begin or end with costs next to nothing."""
    head, most = 0, min(len(left), len(right))
    while head < most and left[head] == right[head]:
        head += 1
    tail = 0
    while tail < most - head and left[-1 - tail] == right[-1 - tail]:
        tail += 1
    if head:
        yield "equal", 0, head, 0, head
    middle, other = left[head : len(left) - tail], right[head : len(right) - tail]
    many = max(len(middle), len(other)) > _MANY
    matcher = SequenceMatcher(None, middle, other, autojunk=many)
    for tag, a, b, c, d in matcher.get_opcodes():
        yield tag, a + head, b + head, c + head, d + head
    if tail:
        yield "equal", len(left) - tail, len(left), len(right) - tail, len(right)


def _label(step: Step) -> tuple[str, str]:
    # Child runs are named anew in each run.
    return step.kind, "" if step.kind == "run" else step.name


class _Digests:
    """Digests of what steps say. Those of a run have the messages in common that they repeat."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def of(self, step: Step) -> bytes:
        """BLAKE3, 16 bytes, of what a step says; two with the same one are the same here."""
        event = step.first.event
        said: list[object] = [*_label(step), step.status, self._form(step.input)]
        said.append(self._form(step.output))
        error = step.error
        if error is not None:
            said += [error.type, _MADE_UP.sub("", error.message)]
        if isinstance(event, Evaluation):
            said += [event.decision, event.score, event.reason]
        elif isinstance(event, Checkpoint):
            said += [event.status, event.reason]
        elif isinstance(event, Artifact):
            said = [step.kind, event.kind, event.digest]
        elif isinstance(event, RunEnd):
            said = [step.kind, event.status]
        return _digest(said)

    def _form(self, value: object) -> object:
        try:
            return self._without_ids(value)
        except RecursionError:
            return value

    def _without_ids(self, value: object) -> object:
        if isinstance(value, dict):
            members = value.items()
            return {key: self._without_ids(each) for key, each in members if key not in _IDS}
        if isinstance(value, list | tuple):
            return [self._item(each) for each in value]
        return value

    def _item(self, item: object) -> object:
        """An item of a list; an object stands as its digest, which is made once."""
        if not isinstance(item, dict):
            return self._without_ids(item)
        known = self._known.get(id(item))
        if known is None:
            # The steps hold the object: its id is no other's meanwhile.
            known = self._known[id(item)] = _digest(self._without_ids(item)).hex()
        return known


def _digest(value: object) -> bytes:
    return blake3(encode_plain(value)).digest(16)
