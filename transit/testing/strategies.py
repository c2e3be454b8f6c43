"""What hypothesis draws for tests of a surface that is built on transit: values, and histories.

    @given(history=histories())
    def test_my_surface_answers_as_the_model_does(history: History) -> None:
        log, model = MySurface(), ModelLog()
        for step in history:
            step.apply(log, model)
        compare(log, model)

A history is a list of steps that make streams, append, branch and merge, by public methods of a
`Log` and its streams. Each step names its streams by numbers, taken modulo what is there, so that a
failing history is shrunk by leaving steps out. `compare` holds everything that can be read to
`transit.testing.model`. Needs the extra `testing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from transit.testing import explain_missing

with explain_missing():
    from hypothesis import strategies as st

import transit
from transit.testing.model import ModelLog, Scalar

Row = tuple[bytes, int, dict[str, str] | None]
"""Payload, timestamp in UTC nanoseconds, headers."""

POLICIES: Final = ("append", "interleave", "base", "select")

# Joiners, private use and what is not assigned are drawn too.
_characters = st.characters(codec="utf-8", exclude_categories=("Cc", "Z")).filter(
    lambda c: c not in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
# A few are drawn often, so that two writers meet in them.
names = st.one_of(
    st.sampled_from(["x", "y"]),
    st.text(_characters.filter(lambda c: c != "$"), min_size=1, max_size=4),
)
"""Names of streams."""
spots = st.integers(0, 255)
"""Which of the things that are there, modulo their count."""
payloads = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda byte, size: byte * size, st.binary(min_size=1, max_size=1), st.integers(0, 9000)
    ),
)
FUTURE: Final = 2**62
"""Nanoseconds: after every clock's now."""
timestamps = st.one_of(st.integers(0, 9), st.just(FUTURE), st.integers(-(2**63), 2**63 - 1))
headers = st.one_of(
    st.none(),
    st.just({"kind": "tool-call"}),
    st.dictionaries(
        st.text(_characters, min_size=1, max_size=5),
        st.text(st.characters(codec="utf-8"), max_size=8),
        max_size=3,
    ),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(_characters, max_size=5),
)
metadata = st.one_of(
    st.none(), st.dictionaries(st.text(_characters, max_size=5), scalars, max_size=3)
)
rows = st.tuples(payloads, timestamps, headers)


@dataclass(frozen=True)
class CreateStep:
    """A new root stream; its name gets a number where it is taken."""

    name: str
    metadata: dict[str, Scalar] | None

    def apply(self, log: transit.Log, model: ModelLog) -> None:
        """In the log and in the model."""
        name = _fresh(model, self.name)
        model.create(name, self.metadata)
        log.create(name, metadata=self.metadata)


@dataclass(frozen=True)
class AppendStep:
    """Records at the end of a stream: one by one, or as one frame."""

    spot: int
    rows: list[Row]
    together: bool

    def apply(self, log: transit.Log, model: ModelLog) -> None:
        """In the log and in the model."""
        stream = log.stream(_picked(model, self.spot))
        contents, times, heads = (list(column) for column in zip(*self.rows, strict=True))
        model.append_many(stream.name, contents, times, heads)
        if self.together:
            stream.append_many(contents, timestamps=times, headers=heads)
            return
        for payload, time, head in self.rows:
            stream.append(payload, timestamp=time, headers=head)


@dataclass(frozen=True)
class BranchStep:
    """A branch at one of the records of a stream, or at its head."""

    spot: int
    name: str
    at: int | None

    def apply(self, log: transit.Log, model: ModelLog) -> None:
        """In the log and in the model."""
        parent, name = _picked(model, self.spot), _fresh(model, self.name)
        count = len(model.stream(parent).records)
        at = None if self.at is None or not count else self.at % count
        model.branch(parent, name, at)
        log.stream(parent).branch(name, at=at)


@dataclass(frozen=True)
class MergeStep:
    """A merge of the heads of two streams."""

    spots: tuple[int, int]
    name: str
    policy: str

    def apply(self, log: transit.Log, model: ModelLog) -> None:
        """In the log and in the model, unless both are one stream."""
        parents = list(dict.fromkeys(_picked(model, spot) for spot in self.spots))
        if len(parents) < 2:
            return
        params: dict[str, Scalar] = {"selected": parents[0]} if self.policy == "select" else {}
        name = _fresh(model, self.name)
        made = model.merge(name, parents, self.policy, params=params)
        heads = [log.stream(parent) for parent in parents]
        found = log.merge(name, heads, policy=self.policy, params=params)
        assert found.name == made


Step = CreateStep | AppendStep | BranchStep | MergeStep
History = list[Step]

_steps = st.one_of(
    st.builds(CreateStep, names, metadata),
    st.builds(AppendStep, spots, st.lists(rows, min_size=1, max_size=4), st.booleans()),
    st.builds(AppendStep, spots, st.lists(rows, min_size=1, max_size=4), st.booleans()),
    st.builds(BranchStep, spots, names, st.one_of(st.none(), spots)),
    st.builds(MergeStep, st.tuples(spots, spots), names, st.sampled_from(POLICIES)),
)


def histories(steps_max: int = 20) -> st.SearchStrategy[History]:
    """Histories of up to `steps_max` steps, of which the first makes a stream."""
    first = st.builds(CreateStep, names, metadata)
    return st.builds(lambda a, b: [a, *b], first, st.lists(_steps, max_size=steps_max - 1))


def compare(log: transit.Log, model: ModelLog) -> None:
    """`AssertionError` unless the log shows what the model has: names, records, descent."""
    assert [stream.name for stream in log.streams()] == list(model.streams)
    for expected in model.streams.values():
        stream = log.stream(expected.name)
        assert (stream.kind, dict(stream.metadata)) == (expected.kind, dict(expected.metadata))
        assert [tuple(parent) for parent in stream.parents] == list(map(tuple, expected.parents))
        found = [
            (each.offset, each.timestamp, each.payload, dict(each.headers), tuple(each.origin))
            for each in stream.read()
        ]
        assert found == [
            (each.offset, each.timestamp, each.payload, dict(each.headers), tuple(each.origin))
            for each in expected.records
        ]
        assert stream.next_offset == len(expected.records)


def _picked(model: ModelLog, spot: int) -> str:
    streams = list(model.streams)
    return streams[spot % len(streams)]


def _fresh(model: ModelLog, name: str) -> str:
    number = 1
    fresh = name
    while fresh in model.streams:
        number += 1
        fresh = f"{name}{number}"
    return fresh


__all__ = [
    "FUTURE",
    "POLICIES",
    "AppendStep",
    "BranchStep",
    "CreateStep",
    "History",
    "MergeStep",
    "Row",
    "Step",
    "compare",
    "headers",
    "histories",
    "metadata",
    "names",
    "payloads",
    "rows",
    "scalars",
    "spots",
    "timestamps",
]  # fmt: skip
