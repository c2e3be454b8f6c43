"""Offsets by hash, beside a plain list."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transit.chat import identities
from transit.chat.identities import Identities

hashes = st.integers(1, 12) | st.integers(1, 1 << 64 - 1)
steps = st.lists(st.one_of(hashes, st.lists(hashes, max_size=40)), max_size=80)


@settings(max_examples=200, deadline=None)
@given(steps, st.integers(1, 9))
def test_all_that_was_added_is_found_in_its_order(
    added: list[int | list[int]], recent: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identities, "_RECENT_MAX", recent)
        found, plain, offset = Identities(), list[tuple[int, int]](), 0
        for step in added:
            values = step if isinstance(step, list) else [step]
            offsets = range(offset, offset + len(values))
            if isinstance(step, list):
                found.add_all(values, offsets)
            else:
                found.add(step, offset)
            plain += zip(values, offsets, strict=True)
            offset += len(values)
        assert len(found) == len(plain)
        for value in {each for each, _ in plain} | {13}:
            wanted = [place for each, place in plain if each == value]
            assert list(found.find(value)) == wanted
            assert found.has(value) == bool(wanted)
            assert found.first(value) == (wanted[0] if wanted else -1)
