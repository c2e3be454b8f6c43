"""Tiles and bundles: paths, which ones a growth needs, what is verified, strict decoders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import InvalidInputError, ProofError
from transit.proof.paths import LeafHashes, consistency_path, inclusion_path
from transit.proof.tiles import (
    ENTRIES,
    ENTRY_BYTES_MAX,
    TILES_KEPT_MAX,
    Tile,
    TileCounts,
    TileHashes,
    check_tiles,
    decode_bundle,
    decode_tile,
    encode_bundle,
    parse_path,
    tile_bytes,
    tiles_between,
    tiles_in,
    tiles_of,
)
from transit.proof.tree import leaf_hash

from .logs import ENTRIES as LOGGED
from .logs import LEAVES, files_of

SIZES = [1, 2, 255, 256, 257, 300, 511, 512, 513, 600, 700]


def test_a_path_is_as_the_standard_writes_it() -> None:
    for tile, path in (
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 0), "tile/0/000"),
        (Tile(63, 999, 1), "tile/63/999.p/1"),
        (Tile(1, 1000, 255), "tile/1/x001/000.p/255"),
        (Tile(ENTRIES, 273, 112), "tile/entries/273.p/112"),
    ):
        assert tile.path == path
        assert parse_path(path) == tile
    assert Tile(0, 3, 7).entries == Tile(ENTRIES, 3, 7)
    assert Tile(0, 3, 7).full == Tile(0, 3)


@pytest.mark.parametrize(
    "path",
    [
        "", "tile", "tile/0", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/00/000", "tile/64/000",
        "tile/-1/000", "tile/0/x000/001", "tile/0/001/000", "tile/0/000.p/0", "tile/0/000.p/256",
        "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p", "tile/0/000/", "/tile/0/000",
        "tile/0/000\n", "tile/0/x001", "tile/Entries/000", "tile/0/\u0660\u0660\u0660",
        "tile/8/0/000", "tile/0/../000", "tile/0/" + "x999/" * 7 + "999",
    ],
)  # fmt: skip
def test_what_is_no_path_of_a_tile_is_refused(path: str) -> None:
    with pytest.raises(InvalidInputError, match="no path of a tile"):
        parse_path(path)


def test_a_tree_of_70000_has_the_tiles_that_the_standard_counts() -> None:
    tiles = list(tiles_in(70_000))
    assert [tile for tile in tiles if tile.width < 256] == [
        Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1),
    ]  # fmt: skip
    assert sum(tile.level == 0 for tile in tiles) == 274
    assert sum(tile.level == 1 for tile in tiles) == 2
    assert list(tiles_in(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles_in(0)) == []
    # Not one by one: the largest tree has as many levels as fit.
    assert max(tile.level for tile in tiles_between((1 << 63) - 2, (1 << 63) - 1)) == 0


@given(st.integers(0, 200_000), st.integers(0, 3_000))
def test_a_growth_needs_the_tiles_that_the_smaller_tree_had_not(old: int, grown: int) -> None:
    new = old + grown
    needed = set(tiles_between(old, new))
    assert needed == set(tiles_in(new)) - set(tiles_in(old))
    assert len(needed) == len(list(tiles_between(old, new)))


@pytest.mark.parametrize("size", SIZES)
def test_every_hash_and_path_comes_out_of_tiles_as_out_of_the_leaves(size: int) -> None:
    files = dict(tiles_of(LEAVES.hash_at, 0, size))
    assert all(len(data) == parse_path(path).width * 32 for path, data in files.items())
    hashes = TileHashes(size, LEAVES.root(size), files.__getitem__)
    for level in range(size.bit_length()):
        for index in range(size >> level):
            assert hashes.hash_at(level, index) == LEAVES.hash_at(level, index)
        with pytest.raises(LookupError):
            hashes.hash_at(level, size >> level)
    for index in {0, 1, size // 2, size - 1}:
        expected = inclusion_path(index, size, LEAVES.hash_at) if index < size else None
        if expected is not None:
            assert inclusion_path(index, size, hashes.hash_at) == expected
    for old in (1, size // 3, size - 1):
        expected = consistency_path(old, size, LEAVES.hash_at)
        assert consistency_path(old, size, hashes.hash_at) == expected


def test_tiles_that_were_written_for_each_checkpoint_serve_all_of_them() -> None:
    files: dict[str, bytes] = {}
    sizes = [3, 255, 256, 400, 512, 700]
    for old, new in zip([0, *sizes], sizes, strict=False):
        for path, data in tiles_of(LEAVES.hash_at, old, new):
            assert path not in files
            files[path] = data
    for size in sizes:
        hashes = TileHashes(size, LEAVES.root(size), files.__getitem__)
        assert hashes.hash_at(0, size - 1) == LEAVES.hash_at(0, size - 1)


def test_a_partial_tile_that_is_gone_is_read_from_the_full_one() -> None:
    files = {path: data for path, data in files_of(700).items() if path.startswith("tile/1")}
    files |= {path: data for path, data in files_of(512).items() if ".p/" not in path}
    size = 500
    files["tile/1/000.p/1"] = LEAVES.hash_at(8, 0)
    asked = []

    def fetch(path: str) -> bytes:
        asked.append(path)
        return files[path]

    hashes = TileHashes(size, LEAVES.root(size), fetch)
    assert hashes.hash_at(0, 499) == LEAVES.hash_at(0, 499)
    assert asked == ["tile/0/001.p/244", "tile/0/001", "tile/1/000.p/1"]
    assert check_tiles(size, LEAVES.root(size), [], files.__getitem__).entries == size
    del files["tile/0/001"]
    with pytest.raises(LookupError):
        TileHashes(size, LEAVES.root(size), files.__getitem__).hash_at(0, 0)


def test_nothing_is_believed_of_a_tile_before_it_is_bound_to_the_root() -> None:
    """Any one changed hash of any tile: no hash under it is given, and no other is wrong."""
    files = files_of(600)
    tiles = {path: data for path, data in files.items() if "entries" not in path}
    for path, data in tiles.items():
        for at in (0, len(data) - 1):
            bad = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
            hashes = TileHashes(600, LEAVES.root(600), {**tiles, path: bad}.__getitem__)
            refused = 0
            for index in range(0, 600, 50):
                try:
                    assert hashes.hash_at(0, index) == LEAVES.hash_at(0, index)
                except ProofError:
                    refused += 1
            assert refused


def test_a_tile_is_fetched_once_and_kept_tiles_are_bounded() -> None:
    size = 256 * (3 * TILES_KEPT_MAX) + 5
    leaves = LeafHashes(leaf_hash(b"%d" % number) for number in range(size))
    files = dict(tiles_of(leaves.hash_at, 0, size))
    asked: list[str] = []

    def fetch(path: str) -> bytes:
        asked.append(path)
        return files[path]

    hashes = TileHashes(size, leaves.root(), fetch)
    for index in (0, 5, 255, 0):
        hashes.hash_at(0, index)
    assert sorted(asked) == [
        "tile/0/000", "tile/0/384.p/5", "tile/1/000", "tile/1/001.p/128", "tile/2/000.p/1",
    ]  # fmt: skip
    for index in range(size):
        hashes.hash_at(0, index)
    # Each once, those above too, though more than are kept were read in between.
    assert len(asked) == len(set(asked)) == len(files)
    assert len(hashes._kept) == TILES_KEPT_MAX


def test_a_tile_that_the_tree_has_not_is_not_given() -> None:
    files = files_of(600)
    hashes = TileHashes(600, LEAVES.root(600), files.__getitem__)
    assert hashes.hashes_of(Tile(0, 2, 88)) == decode_tile(files["tile/0/002.p/88"], Tile(0, 2, 88))
    for tile in (Tile(0, 2), Tile(0, 3), Tile(0, 2, 87), Tile(ENTRIES, 0), Tile(2, 0, 1)):
        with pytest.raises(LookupError):
            hashes.hashes_of(tile)
    for level, index in ((0, 600), (1, 300), (9, 1), (10, 0), (-1, 0), (0, -1)):
        with pytest.raises(LookupError, match=f"has no subtree {index} of level {level}"):
            hashes.hash_at(level, index)
    with pytest.raises(LookupError):
        TileHashes(0, LEAVES.root(0), files.__getitem__).hash_at(0, 0)


@pytest.mark.parametrize("size", [0, *SIZES])
def test_a_whole_log_is_checked_tile_by_tile(size: int) -> None:
    files = files_of(size)
    counts = check_tiles(size, LEAVES.root(size), files, files.__getitem__)
    tiles = list(tiles_in(size))
    assert counts == TileCounts(len(tiles), sum(tile.level == 0 for tile in tiles), size, 0)
    for path in files:
        less = {each: data for each, data in files.items() if each != path}
        with pytest.raises(ProofError, match=f"tiles of a tree of {size}:"):
            check_tiles(size, LEAVES.root(size), less, less.__getitem__)


def test_what_belongs_to_no_tree_of_that_size_is_counted_and_not_read() -> None:
    files = files_of(300)
    more = ["tile/0/002", "tile/2/000.p/1", "tile/entries/002", "README", "tile/0/0", "checkpoint"]
    counts = check_tiles(300, LEAVES.root(300), [*files, *more], files.__getitem__)
    assert counts.strangers == len(more)
    # What is named and not there is told.
    with pytest.raises(ProofError, match=r"tiles of a tree of 300: 'tile/0/000\.p/7'"):
        check_tiles(300, LEAVES.root(300), ["tile/0/000.p/7"], files.__getitem__)


def test_entries_of_any_size_come_back_from_a_bundle() -> None:
    entries = [b"", b"a", bytes(ENTRY_BYTES_MAX), b"\0\0"]
    data = encode_bundle(entries)
    assert data[:5] == b"\0\0\0\1a"
    assert decode_bundle(data, Tile(ENTRIES, 0, 4)) == entries
    for wrong in ([], [b""] * 257, [bytes(ENTRY_BYTES_MAX + 1)]):
        with pytest.raises(InvalidInputError):
            encode_bundle(wrong)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8))
def test_every_truncation_of_a_bundle_is_refused(entries: list[bytes]) -> None:
    data = encode_bundle(entries)
    tile = Tile(ENTRIES, 0, len(entries))
    assert decode_bundle(data, tile) == entries
    for cut in range(len(data)):
        with pytest.raises(ProofError):
            decode_bundle(data[:cut], tile)
    with pytest.raises(ProofError):
        decode_bundle(data + b"\0", tile)


def test_a_tile_of_nothing_known_is_not_made() -> None:
    with pytest.raises(LookupError):
        tile_bytes(Tile(0, 2), LEAVES.hash_at)
    with pytest.raises(InvalidInputError):
        list(tiles_between(5, 4))
    assert len(LOGGED) == 700
