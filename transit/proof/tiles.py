"""Tiles: the tree as files of 256 hashes, and its entries as bundles (C2SP tlog-tiles 0.1.0).

    tile/L/N[.p/W]          W hashes of 32 bytes; without .p, 256 of them: 8,192 bytes
    tile/entries/N[.p/W]    W entries: size, u16 big-endian, and the entry

Hash i of tile N of level L is the root of the perfect subtree of `256**L` leaves that begins at
leaf `(256 * N + i) * 256**L`. N is written in groups of three digits, all but the last with an `x`:
1234067 is x001/x234/067. A tree of `size` leaves has, on level L, `size >> 8 * L` such hashes; its
last tile of a level is partial unless they fill it, and no hash of a partial tile is in a tile
above. So the partial tiles alone give the root, and bind each other tile from above: `TileHashes`
believes nothing before that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from transit.errors import InvalidInputError, ProofError
from transit.proof.paths import HashAt, LeafHashes
from transit.proof.spellings import shown, strict_number
from transit.proof.tree import HASH_BYTES, TREE_SIZE_MAX, CompactRange, leaf_hash

TILE_WIDTH: Final = 256
TILE_LEVELS: Final = 8
"""Levels of the tree in one tile: `2**8` is its width."""
LEVEL_MAX: Final = 63
ENTRIES: Final = -1
"""The level of a bundle of entries."""
ENTRY_BYTES_MAX: Final = 65_535
BUNDLE_BYTES_MAX: Final = TILE_WIDTH * (2 + ENTRY_BYTES_MAX)
TILES_KEPT_MAX: Final = 128
"""Full tiles that `TileHashes` keeps with the hashes in them: 5 MiB."""
_PATH: Final = re.compile(
    r"tile/(0|[1-9][0-9]?|entries)/((?:x[0-9]{3}/){0,6})([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)

Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile, or with the level `ENTRIES` a bundle of entries; `width` hashes or entries of it."""

    level: int
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Its path below the log's prefix."""
        groups, rest = f"{self.index % 1000:03}", self.index // 1000
        while rest:
            groups, rest = f"x{rest % 1000:03}/{groups}", rest // 1000
        level = "entries" if self.level == ENTRIES else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{groups}{partial}"

    @property
    def full(self) -> Tile:
        """The full tile that this is, or will be, the beginning of."""
        return replace(self, width=TILE_WIDTH)

    @property
    def entries(self) -> Tile:
        """The bundle of the entries under this tile of level 0."""
        return replace(self, level=ENTRIES)


def parse_path(path: str) -> Tile:
    """The tile or bundle at a path, which has one spelling; else `InvalidInputError`."""
    found = _PATH.fullmatch(path)
    if found:
        level, groups, last, width = found.groups()
        tile = Tile(
            ENTRIES if level == "entries" else int(level),
            int(re.sub("[x/]", "", groups) + last),
            TILE_WIDTH if width is None else strict_number(width) or 0,
        )
        if tile.path == path and tile.level <= LEVEL_MAX and 1 <= tile.width <= TILE_WIDTH:
            return tile
    raise InvalidInputError(f"no path of a tile: {shown(path)}")


def tiles_in(size: int) -> Iterator[Tile]:
    """Every tile of a tree of `size` leaves, without bundles, by level and index."""
    return tiles_between(0, size)


def tiles_between(old: int, new: int) -> Iterator[Tile]:
    """The tiles that a tree of `new` leaves has and one of `old` had not, by level and index.

    Those of level 0 each have a bundle of entries: `.entries`. `InvalidInputError` where the new
    tree is the smaller one.
    """
    if not 0 <= old <= new <= TREE_SIZE_MAX:
        raise InvalidInputError(f"a tree of {new} does not follow one of {old}")
    level = 0
    while new:
        if old != new:
            for index in range(old // TILE_WIDTH, -(-new // TILE_WIDTH)):
                yield Tile(level, index, min(TILE_WIDTH, new - index * TILE_WIDTH))
        level, old, new = level + 1, old >> TILE_LEVELS, new >> TILE_LEVELS


def tile_bytes(tile: Tile, hash_at: HashAt) -> bytes:
    """The hashes of a tile; what `hash_at` raises."""
    first = tile.index * TILE_WIDTH
    level = tile.level * TILE_LEVELS
    return b"".join(hash_at(level, first + each) for each in range(tile.width))


def tiles_of(hash_at: HashAt, old: int, new: int) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of each tile that growth from `old` to `new` leaves needs."""
    for tile in tiles_between(old, new):
        yield tile.path, tile_bytes(tile, hash_at)


def decode_tile(data: bytes, tile: Tile) -> list[bytes]:
    """The hashes of a tile; `ProofError` where it has not as many as its path says."""
    if len(data) != tile.width * HASH_BYTES:
        raise ProofError(
            f"{tile.path}: expected {tile.width * HASH_BYTES} bytes, found {len(data)}"
        )
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """1 to 256 entries as a bundle; `InvalidInputError` for more, and for one that is too long."""
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise InvalidInputError(f"a bundle has 1 to {TILE_WIDTH} entries, not {len(entries)}")
    for each in entries:
        if len(each) > ENTRY_BYTES_MAX:
            raise InvalidInputError(f"an entry has at most {ENTRY_BYTES_MAX} bytes")
    return b"".join(len(each).to_bytes(2, "big") + each for each in entries)


def decode_bundle(data: bytes, tile: Tile) -> list[bytes]:
    """The entries of a bundle; `ProofError` where they are not as many as its path says."""
    entries, at = [], 0
    for number in range(tile.width):
        begin = at + 2
        at = begin + int.from_bytes(data[at:begin], "big")
        if begin > len(data) or at > len(data):
            raise ProofError(f"{tile.path}: entry {number} goes on beyond its {len(data)} bytes")
        entries.append(data[begin:at])
    if at != len(data):
        raise ProofError(f"{tile.path}: {len(data) - at} bytes after its {tile.width} entries")
    return entries


class TileCounts(NamedTuple):
    """What `check_tiles` found in its place; `strangers` belong to no tree of that size."""

    tiles: int
    bundles: int
    entries: int
    strangers: int


class TileHashes:
    """The hashes of a tree out of its tiles, each verified against the root of a checkpoint.

    size, root: those of a checkpoint that is believed
    fetch: the bytes of the tile at a path; raises `LookupError` where there is none. Where a
        partial tile is gone, the full one is asked for.

    Not safe for threads.
    """

    __slots__ = ("_edge", "_fetch", "_kept", "_root", "_size")

    def __init__(self, size: int, root: bytes, fetch: Fetch) -> None:
        self._size = size
        self._root = root
        self._fetch = fetch
        self._edge: dict[int, LeafHashes] = {}
        self._kept: dict[Tile, LeafHashes] = {}

    def hash_at(self, level: int, index: int) -> bytes:
        """The root of the perfect subtree of `2**level` leaves, number `index`.

        `LookupError` where the tree has no such subtree or a tile is gone, `ProofError` where a
        tile is not that of the checkpoint; what `fetch` raises.
        """
        if level < 0 or index < 0 or index + 1 > self._size >> level:
            raise LookupError(f"a tree of {self._size} has no subtree {index} of level {level}")
        above, inside = divmod(level, TILE_LEVELS)
        first = index << inside
        hashes = self._hashes(self.tile_at(above, first // TILE_WIDTH))
        return hashes.hash_at(inside, (first % TILE_WIDTH) >> inside)

    def hashes_of(self, tile: Tile) -> list[bytes]:
        """The hashes of a tile of the tree; errors as of `hash_at`."""
        if tile.level < 0 or tile.width < 1 or tile != self.tile_at(tile.level, tile.index):
            raise LookupError(f"a tree of {self._size} has no {tile.path}")
        hashes = self._hashes(tile)
        return [hashes.hash_at(0, each) for each in range(tile.width)]

    def tile_at(self, level: int, index: int) -> Tile:
        """The tile of that level and index, as wide as the tree has it."""
        count = self._size >> TILE_LEVELS * level
        return Tile(level, index, min(TILE_WIDTH, count - index * TILE_WIDTH))

    def _hashes(self, tile: Tile) -> LeafHashes:
        self._verify_edge()
        if tile.width < TILE_WIDTH:
            return self._edge[tile.level]
        # From the tile that is verified down to this one: each level is bound by that above it.
        wanted = []
        while tile.width == TILE_WIDTH and tile not in self._kept:
            wanted.append(tile)
            tile = self.tile_at(tile.level + 1, tile.index // TILE_WIDTH)
        if tile.width < TILE_WIDTH:
            hashes = self._edge[tile.level]
        else:
            # What was used last is the last to be let go: the tiles above many are asked for often.
            hashes = self._kept[tile] = self._kept.pop(tile)
        for each in reversed(wanted):
            expected = hashes.hash_at(0, each.index % TILE_WIDTH)
            hashes = LeafHashes(decode_tile(self._fetch(each.path), each))
            if hashes.root() != expected:
                raise ProofError(f"{each.path}: its root is not the hash in the tile above it")
            self._keep(each, hashes)
        return hashes

    def _keep(self, tile: Tile, hashes: LeafHashes) -> None:
        if len(self._kept) >= TILES_KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[tile] = hashes

    def _verify_edge(self) -> None:
        """The partial tiles, verified: their hashes alone make up the tree's root."""
        if self._edge or not self._size:
            return
        edge, peaks = {}, []
        for level in range(-(-self._size.bit_length() // TILE_LEVELS)):
            count = self._size >> TILE_LEVELS * level
            tile = self.tile_at(level, count // TILE_WIDTH)
            if tile.width:
                edge[level] = LeafHashes(self._partial(tile))
                peaks.append(_peaks(edge[level]))
        hashes = tuple(each for level in reversed(peaks) for each in level)
        if CompactRange(self._size, hashes).root() != self._root:
            raise ProofError(f"tiles: their root is not that of the checkpoint of {self._size}")
        self._edge = edge

    def _partial(self, tile: Tile) -> list[bytes]:
        try:
            return decode_tile(self._fetch(tile.path), tile)
        except LookupError:
            data = self._fetch(tile.full.path)
        return decode_tile(data, tile.full)[: tile.width]


def _peaks(hashes: LeafHashes) -> list[bytes]:
    """The roots of the perfect subtrees of a partial tile, largest first."""
    found, at = [], 0
    for level in reversed(range(TILE_LEVELS)):
        if len(hashes) >> level & 1:
            found.append(hashes.hash_at(level, at >> level))
            at += 1 << level
    return found


def check_tiles(size: int, root: bytes, paths: Iterable[str], fetch: Fetch) -> TileCounts:
    """All tiles and bundles of a tree are there, and are those of a checkpoint.

    paths: what there is. A partial tile beside a wider one must be its beginning, and a tile that
    is wider than the tree has it must begin with it; what belongs to no tree of that size is
    counted, not read.

    `ProofError` names the first tile that is missing or another.
    """
    hashes = TileHashes(size, root, fetch)
    tiles = bundles = entries = strangers = 0
    try:
        for tile in tiles_in(size):
            found = hashes.hashes_of(tile)
            tiles += 1
            if tile.level == 0:
                bundle = _bundle(tile.entries, fetch)
                _check_common(tile.entries, bundle, found)
                bundles, entries = bundles + 1, entries + len(bundle)
        for path in paths:
            strangers += not _check_other(path, hashes, fetch)
    except LookupError as error:
        raise ProofError(f"tiles of a tree of {size}: {error}") from None
    return TileCounts(tiles, bundles, entries, strangers)


def _bundle(tile: Tile, fetch: Fetch) -> list[bytes]:
    """The leaf hashes of a bundle, or of as many entries of the full one where it is gone."""
    try:
        return _leaves(fetch(tile.path), tile)
    except LookupError:
        if tile.width == TILE_WIDTH:
            raise
        data = fetch(tile.full.path)
    return _leaves(data, tile.full)[: tile.width]


def _leaves(data: bytes, tile: Tile) -> list[bytes]:
    return [leaf_hash(each) for each in decode_bundle(data, tile)]


def _check_other(path: str, hashes: TileHashes, fetch: Fetch) -> bool:
    """Whether a path is of the tree; one that the tree has not must agree with one that it has."""
    try:
        tile = parse_path(path)
    except InvalidInputError:
        return False
    own = hashes.tile_at(max(tile.level, 0), tile.index)
    if own.width < 1:
        return False
    if tile.width != own.width:
        read = _leaves if tile.level == ENTRIES else decode_tile
        _check_common(tile, read(fetch(path), tile), hashes.hashes_of(own))
    return True


def _check_common(tile: Tile, found: list[bytes], expected: list[bytes]) -> None:
    for number, (one, other) in enumerate(zip(found, expected, strict=False)):
        if one != other:
            what = "entry" if tile.level == ENTRIES else "hash"
            raise ProofError(f"{tile.path}: {what} {number} is not that of the checkpoint")
