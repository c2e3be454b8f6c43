"""Values that hypothesis draws for the state machines, and merge policies for them to name.

Rules draw plain numbers and take them modulo what is there, so that a drawn value never depends on
what the store holds: a failing run is then shrunk by leaving steps out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from hypothesis import strategies as st

import transit
from transit.testing.model import Scalar

Value = TypeVar("Value")
Row = tuple[bytes, int, dict[str, str] | None]
Order = Callable[[Sequence[Sequence[Value]], Mapping[str, Scalar]], Iterable[Value]]

# Small enough that blocks, WAL files and frames end often. No flusher: what waits in memory stays.
SMALL: Final = transit.Settings(
    block_bytes=4096,
    seal_bytes=32768,
    compression_level=1,
    flush_interval_ms=60_000,
    transfers_max=2,
)


def backwards(suffixes: Sequence[Sequence[Value]], params: Mapping[str, Scalar]) -> Iterable[Value]:
    """A merge policy: the last record first."""
    return [record for suffix in reversed(suffixes) for record in reversed(suffix)]


def sparse(suffixes: Sequence[Sequence[Value]], params: Mapping[str, Scalar]) -> Iterable[Value]:
    """A merge policy: every n-th record of each parent."""
    step = int(params["step"] or 1)
    return [record for suffix in suffixes for record in suffix[::step]]


CUSTOM: Final = {"test-backwards": backwards, "test-sparse": sparse}
POLICIES: Final = (
    "fast-forward",
    "select",
    "append",
    "interleave",
    "base",
    "custom:test-backwards",
    "custom:test-sparse",
    "custom:nobody-knows-it",
)


def register_policies() -> None:
    """Make the custom policies known to this process."""
    transit.register_policy("test-backwards", backwards)
    transit.register_policy("test-sparse", sparse)


# Joiners, private use and what is not assigned are drawn too.
_characters = st.characters(codec="utf-8", exclude_categories=("Cc", "Z")).filter(
    lambda c: c not in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
# A few are drawn often, so that two writers meet in them.
names = st.one_of(
    st.sampled_from(["x", "y"]),
    st.text(_characters.filter(lambda c: c != "$"), min_size=1, max_size=4),
)
spots = st.integers(0, 255)
"""Which of the things that are there, modulo their count."""
payloads = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda byte, size: byte * size, st.binary(min_size=1, max_size=1), st.integers(0, 9000)
    ),
)
FUTURE: Final = 2**62
"""Nanoseconds: after every clock's now, so that the engine must go on from there."""
timestamps = st.one_of(st.integers(0, 9), st.just(FUTURE), st.integers(-(2**63), 2**63 - 1))
maybe_timestamps = st.one_of(st.none(), timestamps)
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
# What the rows of a long frame need not vary in is drawn once.
durabilities = st.sampled_from([None, "memory", "os", "local"])
codecs = st.sampled_from([None, None, None, "json"])
aheads = st.sampled_from([None, None, 0, 0, 1, -1])
"""How far `expect=` lies from the next offset."""
json_values = st.one_of(
    st.none(),
    st.integers(-(2**53), 2**53),
    st.text(max_size=8),
    st.lists(st.integers(0, 9), max_size=3),
    st.dictionaries(st.text(max_size=3), st.booleans(), max_size=2),
)
