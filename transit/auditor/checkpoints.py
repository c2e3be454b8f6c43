"""The checkpoints of a remote, its tiles and bundles, and the one that the auditor kept.

Notes are read before the commits: a checkpoint is put after the commits that it covers, so one that
is larger than the chain is wrong, and not new. All of them must have the chain's root at their
size. Every tile and bundle that the newest one needs must be there, with the hashes and the commits
of the chain; so must, where bodies are read, whatever else has the name of a tile of the tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from transit.auditor.chain import PASSES, ChainAudit, listed
from transit.errors import CorruptError, InvalidInputError, ProofError, SplitViewError, TransitError
from transit.format.commit import FORMAT_BYTES_MAX
from transit.format.names import (
    CHECKPOINT_DIR,
    CHECKPOINT_FILE,
    FORMAT_FILE,
    SIGNED_FILE,
    parse_checkpoint_name,
)
from transit.log.remembered import Remembered
from transit.log.signed import NOTE_BYTES_MAX
from transit.proof.checkpoint import Checkpoint
from transit.proof.policy import Policy
from transit.proof.tiles import (
    BUNDLE_BYTES_MAX,
    ENTRIES,
    TILE_LEVELS,
    TILE_WIDTH,
    Tile,
    decode_bundle,
    decode_tile,
    parse_path,
    tiles_in,
)
from transit.proof.tree import leaf_hash
from transit.tier.checkpoints import TILE_BYTES_MAX, TILE_DIR, note_key
from transit.tier.pools import at_once
from transit.tier.remote import Remote
from transit.verify.findings import Ledger
from transit.verify.notes import NoteCheck
from transit.verify.stages import highest

_AT_ONCE: Final = 64


class CheckpointAudit:
    """Of one remote; used once. thorough: read every tile, not only those that are needed."""

    def __init__(
        self,
        remote: Remote,
        ledger: Ledger,
        policy: Policy | None,
        remembered: Remembered | None,
        *,
        thorough: bool,
    ) -> None:
        self._remote = remote
        self._ledger = ledger
        self._remembered = remembered
        self._thorough = thorough
        self._notes = NoteCheck(ledger, policy)
        self._newest: Checkpoint | None = None

    # Notes

    def read(self) -> None:
        """Read all notes that are there, before the chain is read."""
        # Who may not list is told of an absent object only once it could read another.
        self._get(FORMAT_FILE, FORMAT_BYTES_MAX)
        newest = self._get(CHECKPOINT_FILE, NOTE_BYTES_MAX)
        place = self._remote.place(CHECKPOINT_FILE)
        if isinstance(newest, TransitError):
            self._ledger.take(newest)
        elif newest is not None:
            self._newest = self._notes.take(place, newest, newest=True)
        for size, note in self._sized():
            key = note_key(size)
            if isinstance(note, TransitError):
                self._ledger.take(note)
            elif note is not None:
                self._notes.take(self._remote.place(key), note, size=size)
        if self._newest is not None:
            key = note_key(self._newest.size)
            if self._get(key, NOTE_BYTES_MAX) is None:
                self._ledger.find(
                    self._remote.place(key), f"the note that {CHECKPOINT_FILE} is", "no object"
                )

    def _sized(self) -> Iterator[tuple[int, bytes | TransitError | None]]:
        """The notes below `checkpoints/`, with the size that their name says."""
        names = listed(self._remote, self._ledger, f"{CHECKPOINT_DIR}/")
        sizes = []
        for name in names:
            size = parse_checkpoint_name(name)
            if size is not None:
                sizes.append(size)
            else:
                # A folder of a store's own has what it signed last beside them.
                self._ledger.counts["unnamed_objects"] += name != SIGNED_FILE
        for start in range(0, len(sizes), _AT_ONCE):
            part = sizes[start : start + _AT_ONCE]
            notes = at_once(self._note, part, self._remote.settings.transfers_max)
            yield from zip(part, notes, strict=True)

    def _note(self, size: int) -> bytes | TransitError | None:
        return self._get(note_key(size), NOTE_BYTES_MAX)

    def _get(self, key: str, size_max: int) -> bytes | TransitError | None:
        try:
            return self._remote.store.get(key, size_max)
        except TransitError as error:
            if isinstance(error, PASSES):
                raise
            return error

    # Against the chain

    def check(self, chain: ChainAudit) -> str:
        """Hold all against the chain that was read; the highest stage that it has by them."""
        stages = [self._check_remembered(chain)]
        good = self._notes.compare(
            chain.store_id, len(chain.leaves), chain.leaves.root, whole=chain.whole
        )
        stages += [known.stage for known in good]
        if self._newest is not None and self._newest in [known.checkpoint for known in good]:
            self._tiles(chain, self._newest.size)
        return highest(*stages)

    def _check_remembered(self, chain: ChainAudit) -> str:
        """Hold the chain against the checkpoint that was kept; the stage that it has by it."""
        kept, count = self._remembered, len(chain.leaves)
        if kept is None:
            return ""
        try:
            kept.check_store(chain.store_id, self._remote.url)
            kept.check_count(count, self._remote.url)
            kept.check_root(chain.leaves.root(kept.size), count, self._remote.url)
        except SplitViewError as error:
            self._ledger.find(
                self._remote.place(CHECKPOINT_DIR),
                f"a history that extends the remembered checkpoint over {kept.size} commits, with "
                f"root {kept.checkpoint.root.hex()}",
                str(error),
            )
            return ""
        return kept.stage

    # Tiles

    def _tiles(self, chain: ChainAudit, size: int) -> None:
        needed = [each for tile in tiles_in(size) for each in _with_bundle(tile)]
        self._check_all(needed, chain, needed=True)
        known = {tile.path for tile in needed}
        others = []
        for name in listed(self._remote, self._ledger, f"{TILE_DIR}/"):
            path = f"{TILE_DIR}/{name}"
            if path not in known:
                tile = _tile_of(path, len(chain.leaves))
                self._ledger.counts["unnamed_objects"] += tile is None
                others += [tile] if tile is not None and self._thorough else []
        self._check_all(others, chain, needed=False)

    def _check_all(self, tiles: Iterable[Tile], chain: ChainAudit, *, needed: bool) -> None:
        waiting = iter(tiles)
        while part := list(islice(waiting, _AT_ONCE)):
            found = at_once(self._fetch, part, self._remote.settings.transfers_max)
            for tile, data in zip(part, found, strict=True):
                self._check_tile(tile, data, chain, needed=needed)

    def _fetch(self, tile: Tile) -> tuple[Tile, bytes | TransitError | None]:
        """A tile, or the full one where a partial one is gone."""
        limit = BUNDLE_BYTES_MAX if tile.level == ENTRIES else TILE_BYTES_MAX
        data = self._get(tile.path, limit)
        if data is None and tile.width < TILE_WIDTH:
            return tile.full, self._get(tile.full.path, limit)
        return tile, data

    def _check_tile(
        self,
        wanted: Tile,
        found: tuple[Tile, bytes | TransitError | None],
        chain: ChainAudit,
        *,
        needed: bool,
    ) -> None:
        tile, data = found
        place = self._remote.place(wanted.path)
        with self._ledger.catching():
            if isinstance(data, TransitError):
                raise data
            if data is None:
                if needed:
                    self._ledger.find(place, "a tile of the newest checkpoint", "no object")
                return
            self._ledger.counts["tiles"] += 1
            _compare(tile, data, wanted, chain, place)


def _with_bundle(tile: Tile) -> tuple[Tile, ...]:
    return (tile, tile.entries) if tile.level == 0 else (tile,)


def _compare(tile: Tile, data: bytes, wanted: Tile, chain: ChainAudit, place: str) -> None:
    """`CorruptError` unless a tile has what the chain has in its place."""
    level = max(tile.level, 0) * TILE_LEVELS
    try:
        if tile.level == ENTRIES:
            hashes = [leaf_hash(entry) for entry in decode_bundle(data, tile)]
        else:
            hashes = decode_tile(data, tile)
    except ProofError as error:
        raise CorruptError(place, expected=f"{tile.width} of them", found=str(error)) from None
    first = tile.index * TILE_WIDTH
    for number, found in enumerate(hashes[: wanted.width]):
        expected = chain.leaves.hash_at(level, first + number)
        if found != expected:
            what = f"commit {first + number}" if tile.level == ENTRIES else f"hash {number}"
            raise CorruptError(
                f"{place}, {what}", expected=f"hash {expected.hex()}", found=found.hex()
            )


def _tile_of(path: str, count: int) -> Tile | None:
    """The tile at a path; None for what a tree of `count` leaves does not have."""
    try:
        tile = parse_path(path)
    except InvalidInputError:
        return None
    there = count >> TILE_LEVELS * max(tile.level, 0)
    return tile if tile.index * TILE_WIDTH + tile.width <= there else None
