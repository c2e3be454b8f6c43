"""Rows of an index that name blocks which its segment does not have."""

from __future__ import annotations

import pytest

from transit.errors import CorruptError
from transit.format.commit import SegmentRef
from transit.format.digest import digest
from transit.format.segment import (
    STORED,
    TAIL,
    Block,
    Extent,
    Footer,
    encode_block,
    encode_footer,
    encode_index,
)
from transit.format.snapshot import SnapshotSegment, covered_by

STORE = bytes(range(16))


def segment(*blocks_named: int) -> SnapshotSegment:
    """A segment of two blocks whose index has a row for each of these block numbers."""
    extents = [Extent(stream, 0, 5, 1, block, 0) for stream, block in enumerate(blocks_named)]
    blocks = [Block(32 + 50 * n, 50, 50, STORED, 7, digest(b"block")) for n in range(2)]
    entry, index = encode_block(encode_index(extents, []), 132, None)
    ended = encode_footer(Footer(STORE, 0, 1, 2, 0, 0, 0, 0, 2, (*blocks, entry)))
    footer = ended[: -TAIL.size]
    ref = SegmentRef(
        digest="ab" * 32,
        footer=digest(footer).hex(),
        chunks="0a" * 32,
        bytes=132 + len(index) + len(ended),
        records=2,
        streams=2,
        lsn=(0, 1),
        time=(0, 0),
        written=(0, 0),
    )
    return SnapshotSegment(0, ref, footer, index)


@pytest.mark.parametrize("named", [(), (0,), (1,), (0, 1)])
def test_an_index_names_only_blocks_that_the_footer_has(named: tuple[int, ...]) -> None:
    footer, index = covered_by(segment(*named), "here")
    assert len(footer.blocks) == 3
    assert tuple(index.blocks) == named


@pytest.mark.parametrize("named", [(2,), (0, 3), (2**32 - 1, 0)])
def test_an_index_that_names_another_block_is_corrupt(named: tuple[int, ...]) -> None:
    with pytest.raises(CorruptError, match="expected 2 blocks") as caught:
        covered_by(segment(*named), "here")
    assert caught.value.place == "here, index"
