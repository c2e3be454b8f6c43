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
from transit.testing.strategies import (
    FUTURE,
    Row,
    headers,
    metadata,
    names,
    payloads,
    rows,
    scalars,
    spots,
    timestamps,
)

Value = TypeVar("Value")
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


maybe_timestamps = st.one_of(st.none(), timestamps)
# What the rows of a long frame need not vary in is drawn once.
durabilities = st.sampled_from([None, "memory", "os", "local"])
codecs = st.sampled_from([None, None, None, "json"])
aheads = st.sampled_from([None, None, 0, 0, 1, -1])
"""How far `expect=` lies from the next offset."""
states = st.one_of(st.none(), st.sampled_from([b"", b"1", b"\n\0"]), st.binary(max_size=40))
"""What cursors keep with their positions."""
json_values = st.one_of(
    st.none(),
    st.integers(-(2**53), 2**53),
    st.text(max_size=8),
    st.lists(st.integers(0, 9), max_size=3),
    st.dictionaries(st.text(max_size=3), st.booleans(), max_size=2),
)

__all__ = [
    "CUSTOM", "FUTURE", "POLICIES", "SMALL", "Row", "aheads", "backwards", "codecs", "durabilities",
    "headers", "json_values", "maybe_timestamps", "metadata", "names", "payloads",
    "register_policies", "rows", "scalars", "sparse", "spots", "states",
    "timestamps",
]  # fmt: skip
