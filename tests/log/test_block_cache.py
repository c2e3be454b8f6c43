"""The cache of decoded blocks: what it keeps, and what only passes through."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.log.blocks import PASSED_MIN, BlockCache, DecodedBlock

BLOCK = 50
"""Bytes of a block in these tests; it costs twice as many."""
ROOM = 16
"""So many blocks fit: 14 that are kept, 2 that pass through."""


def cache_of(blocks: int = ROOM) -> BlockCache:
    return BlockCache(blocks * 2 * BLOCK)


def key(number: int) -> tuple[str, int]:
    return "segment", number


def read(cache: BlockCache, numbers: Iterable[int], size: int = BLOCK) -> int:
    """Read these blocks as a segment does; how many had to be decoded."""
    decoded = 0
    for number in numbers:
        if cache.get(key(number)) is None:
            decoded += 1
            cache.put(key(number), DecodedBlock(bytes(size)))
    return decoded


def problems(cache: BlockCache) -> list[str]:
    """What a cache of `ROOM` blocks gets wrong."""
    found = []
    read(cache, range(100))
    if read(cache, range(10)):
        found.append("a long reader pushed its own beginning out")
    if read(cache, [99, 98]):
        found.append("what was read just now is gone")
    read(cache, [97])
    read(cache, range(400, 500))
    if read(cache, [97]):
        found.append("what was wanted again is not kept")
    if read(cache, [*range(10), 11, 12, 13]) or not read(cache, [10]):
        found.append("another one than the least recently used was let go")
    read(cache, [50, *range(600, 700), 50, *range(700, 800)])
    if not read(cache, [50]):
        found.append("what passed through long ago is kept")
    if cache._kept.bytes + cache._passing.bytes > ROOM * 2 * BLOCK:
        found.append("it has more than it may")
    return found


def test_a_reader_of_more_than_fits_pushes_out_neither_others_blocks_nor_its_beginning() -> None:
    assert problems(cache_of()) == []


def test_all_is_kept_while_there_is_room() -> None:
    cache = cache_of()
    assert read(cache, range(14)) == 14
    assert read(cache, range(14)) == 0


def test_the_newest_block_stays_however_much_of_the_cache_it_takes() -> None:
    cache = cache_of()
    read(cache, range(14))
    for number in (100, 101):
        assert read(cache, [number], size=BLOCK * ROOM) == 1
        assert read(cache, [number]) == 0
    assert cache._kept.bytes + cache._passing.bytes == ROOM * 2 * BLOCK


def test_a_block_that_is_larger_than_the_cache_is_not_kept() -> None:
    cache = cache_of()
    assert read(cache, [1, 1], size=BLOCK * ROOM + 1) == 2


def test_a_cache_of_nothing_keeps_nothing() -> None:
    assert read(cache_of(0), [1, 1]) == 2


def test_a_block_put_in_the_place_of_another_is_found() -> None:
    cache = cache_of()
    read(cache, range(100))
    for number in (3, 99, 50):
        new = DecodedBlock(bytes(BLOCK // 2))
        cache.replace(key(number), new)
        assert cache.get(key(number)) is new


steps = st.lists(
    st.tuples(st.sampled_from(["put", "replace", "get"]), st.integers(0, 30), st.integers(0, 300))
)


@given(steps)
def test_it_is_within_its_bytes_and_counts_them_right(steps: list[tuple[str, int, int]]) -> None:
    cache = cache_of(4)
    for call, number, size in steps:
        if call == "get":
            cache.get(key(number))
        else:
            getattr(cache, call)(key(number), DecodedBlock(bytes(size)))
        parts = (cache._kept, cache._passing)
        assert all(p.bytes == sum(b.cost for b in p.blocks.values()) for p in parts)
        assert sum(p.bytes for p in parts) <= 8 * BLOCK
        assert not cache._kept.blocks.keys() & cache._passing.blocks.keys()
        assert len(cache._passed) <= max(len(cache._kept.blocks), PASSED_MIN)


# The same checks, with a bug put in.


def _all_pass(cache: BlockCache) -> None:
    cache._passing_max = cache._bytes_max


def _none_passes(cache: BlockCache) -> None:
    def put(at: tuple[str, int], block: DecodedBlock, real: Any = cache._put) -> None:
        cache._passed[at] = None
        real(at, block)

    cache.__dict__["_put"] = put


def _nothing_is_known_of_what_passed(cache: BlockCache) -> None:
    def put(at: tuple[str, int], block: DecodedBlock, real: Any = cache._put) -> None:
        cache._passed.clear()
        real(at, block)

    cache.__dict__["_put"] = put


def _reading_does_not_count(cache: BlockCache) -> None:
    kept, passing = cache._kept.blocks, cache._passing.blocks
    cache.__dict__["get"] = lambda at: kept.get(at) or passing.get(at)


PLANTS = [_all_pass, _none_passes, _nothing_is_known_of_what_passed, _reading_does_not_count]


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found(plant: Callable[[BlockCache], None]) -> None:
    cache = cache_of()
    plant(cache)
    assert problems(cache)
