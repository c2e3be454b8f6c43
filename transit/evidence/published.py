"""The tree of commits of a store that is only in a remote, in few requests.

Owns where its hashes and commits come from: out of tiles and bundles where the newest checkpoint in
the remote has them, else out of single commits. Tiles are bound to the root that they are said to
be of, and a bundle's entry to its tile; whether that root is right, the caller's check decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from transit.errors import FormatError, ProofError, SplitViewError
from transit.evidence.commits import CommitTree
from transit.log.remembered import Remembered
from transit.proof.checkpoint import Checkpoint
from transit.proof.notes import parse_note
from transit.proof.tiles import TILE_WIDTH, TileHashes
from transit.proof.tree import CompactRange, leaf_hash
from transit.tier.checkpoints import RemoteCheckpoints
from transit.tier.remote import Remote

_BUNDLES_KEPT: Final = 4


class PublishedTree(CommitTree):
    """A `CommitTree` whose hashes are looked for in tiles first.

    read: a commit by its number. remote: where the tiles are; None for none.
    head: the checkpoint whose tiles they are; None for the newest in the remote.
    """

    def __init__(
        self,
        tree: CompactRange,
        read: Callable[[int], bytes | None],
        remote: Remote | None,
        head: Checkpoint | None = None,
    ) -> None:
        super().__init__(tree, self._bundled)
        self._single = read
        self._source = None if remote is None else RemoteCheckpoints(remote)
        self._head = head
        self._looked = False
        self._tiles: TileHashes | None = None
        self._bundles: dict[int, list[bytes]] = {}

    def check_kept(self, kept: Remembered, place: str) -> None:
        """`SplitViewError` unless this tree grew from the one that was kept."""
        try:
            kept.check_growth(self._tree, self.hash_at, place)
        except SplitViewError:
            if self._tiles is None:
                raise
            # The tiles may be another tree's: the commits themselves decide.
            self._without_tiles()
            self._hashes.clear()
            kept.check_growth(self._tree, self.hash_at, place)

    def _without_tiles(self) -> None:
        self._looked, self._tiles, self._source = True, None, None

    def _hashes_there(self) -> TileHashes | None:
        if not self._looked:
            self._looked = True
            head = self._head or self._newest()
            if head is not None and head.size and self._source is not None:
                self._tiles = TileHashes(head.size, head.root, self._source.fetch_tile)
                self._head = head
        return self._tiles

    def _newest(self) -> Checkpoint | None:
        try:
            note = None if self._source is None else self._source.newest()
            return None if note is None else Checkpoint.parse(parse_note(note).text)
        except (ProofError, FormatError):
            return None

    def _known(self, level: int, index: int) -> bytes | None:
        tiles = self._hashes_there()
        if tiles is None:
            return None
        try:
            return tiles.hash_at(level, index)
        except LookupError:
            # Beyond that checkpoint, or a tile is gone.
            return None
        except (ProofError, FormatError):
            self._without_tiles()
            return None

    def _bundled(self, number: int) -> bytes | None:
        """A commit out of its bundle where that fits its tile, else by itself."""
        expected = self._known(0, number)
        if expected is None or self._head is None or self._source is None:
            return self._single(number)
        index = number // TILE_WIDTH
        entries = self._bundles.get(index)
        if entries is None:
            first = index * TILE_WIDTH
            stop = min(first + TILE_WIDTH, self._head.size)
            entries = self._entries(self._source, first, stop)
            if len(self._bundles) >= _BUNDLES_KEPT:
                self._bundles.clear()
            self._bundles[index] = entries
        at = number % TILE_WIDTH
        if at < len(entries) and leaf_hash(entries[at]) == expected:
            return entries[at]
        return self._single(number)

    def _entries(self, source: RemoteCheckpoints, first: int, stop: int) -> list[bytes]:
        try:
            return list(source.commits(first, stop, stop))
        except FormatError:
            return []
