"""Signed checkpoints in a remote, with the tiles and bundles that stand behind them.

    checkpoint                  the newest signed note; replaced
    checkpoints/<20 digits>     the note over so many commits; put-if-absent, then only replaced by
                                one with the same text and more signatures
    tile/L/N[.p/W]              hashes of the commit tree (C2SP tlog-tiles, `transit.proof.tiles`)
    tile/entries/N[.p/W]        the commits themselves, 256 in one object

Owns these objects. They are put in this order, so a checkpoint that is there has its tiles:

    order                       a stop right after leaves
    bundles, tiles              objects that no checkpoint needs: found again, with equal bytes
    checkpoints/<20 digits>     a checkpoint of that size that wins over any other
    checkpoint                  everything

Nothing here is believed: a bundle's commits are checked as commits are, and a tile against a root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Final

from transit.errors import ProofError, SplitViewError
from transit.format.names import CHECKPOINT_DIR, CHECKPOINT_FILE, checkpoint_name
from transit.log.signed import NOTE_BYTES_MAX
from transit.proof.checkpoint import Checkpoint, add_signatures
from transit.proof.notes import parse_note
from transit.proof.paths import HashAt
from transit.proof.tiles import (
    BUNDLE_BYTES_MAX,
    ENTRIES,
    TILE_WIDTH,
    Tile,
    decode_bundle,
    encode_bundle,
    tile_bytes,
    tiles_between,
)
from transit.proof.tree import HASH_BYTES
from transit.tier.conditional import put_if_absent
from transit.tier.pools import at_once
from transit.tier.remote import Remote

TILE_DIR: Final = "tile"
TILE_BYTES_MAX: Final = TILE_WIDTH * HASH_BYTES
# Objects in memory while they are put.
_AT_ONCE: Final = 64


def note_key(size: int) -> str:
    """The key of the checkpoint over the first `size` commits."""
    return f"{CHECKPOINT_DIR}/{checkpoint_name(size)}"


class RemoteCheckpoints:
    """The checkpoints of one store in its remote. Safe for threads."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    @property
    def url(self) -> str:
        """The remote's address, without credentials."""
        return self._remote.url

    def newest(self) -> bytes | None:
        """The newest note's bytes, nothing of them verified; None when there is none."""
        return self._remote.store.get(CHECKPOINT_FILE, NOTE_BYTES_MAX)

    def read(self, size: int) -> bytes | None:
        """The note over so many commits, nothing of it verified; None when there is none."""
        return self._remote.store.get(note_key(size), NOTE_BYTES_MAX)

    def put(self, old: int, note: bytes, hash_at: HashAt, commit: Callable[[int], bytes]) -> bytes:
        """Publish a signed note with what it needs beyond a checkpoint of `old` commits.

        The note of its size in the remote from then on, which is another where one of that size and
        root was there before. `SplitViewError` when there is one with another root.
        """
        signed = Checkpoint.parse(parse_note(note).text)
        wanted = _objects(old, signed.size)
        while tiles := list(islice(wanted, _AT_ONCE)):
            made = [(tile.path, _bytes_of(tile, hash_at, commit)) for tile in tiles]
            at_once(self._put, made, self._remote.settings.transfers_max)
        note = self._put_note(signed, note)
        self._remote.store.put(CHECKPOINT_FILE, note)
        return note

    def _put(self, item: tuple[str, bytes]) -> None:
        self._remote.store.put(*item)

    def _put_note(self, signed: Checkpoint, note: bytes) -> bytes:
        other = put_if_absent(
            self._remote.store,
            note_key(signed.size),
            note,
            NOTE_BYTES_MAX,
            self._remote.settings.remote_timeout_s,
        )
        if other is None or other == note:
            return note
        place = self._remote.place(note_key(signed.size))
        try:
            found = Checkpoint.parse(parse_note(other).text)
        except ProofError as error:
            raise SplitViewError(f"{place}: another object has that name: {error}") from None
        if found != signed:
            raise SplitViewError(
                f"{place}: a checkpoint of another history, of {found.size} commits with root "
                f"{found.root.hex()}; ours has root {signed.root.hex()}"
            )
        # Of the same tree: whoever signed either has signed it.
        both = add_signatures(parse_note(other), parse_note(note).signatures).encode()
        if both != other:
            self._remote.store.put(note_key(signed.size), both)
        return both

    # Reading many commits

    def commits(self, first: int, stop: int, size: int) -> Iterator[bytes]:
        """The bytes of commits from `first` to before `stop` out of bundles, unchecked.

        size: of a checkpoint that covers them. Ends early where a bundle is gone or is none.
        """
        for index in range(first // TILE_WIDTH, -(-stop // TILE_WIDTH)):
            width = min(TILE_WIDTH, size - index * TILE_WIDTH)
            found = self._bundle(Tile(ENTRIES, index, width))
            if found is None:
                return
            begin = index * TILE_WIDTH
            yield from found[max(first - begin, 0) : stop - begin]

    def _bundle(self, tile: Tile) -> list[bytes] | None:
        for each in dict.fromkeys((tile, tile.full)):
            data = self._remote.store.get(each.path, BUNDLE_BYTES_MAX)
            if data is not None:
                try:
                    return decode_bundle(data, each)[: tile.width]
                except ProofError:
                    return None
        return None

    def fetch_tile(self, path: str) -> bytes:
        """The bytes of a tile; `LookupError` when it is not there."""
        data = self._remote.store.get(path, TILE_BYTES_MAX)
        if data is None:
            raise LookupError(path)
        return data


def _bytes_of(tile: Tile, hash_at: HashAt, commit: Callable[[int], bytes]) -> bytes:
    if tile.level != ENTRIES:
        return tile_bytes(tile, hash_at)
    first = tile.index * TILE_WIDTH
    return encode_bundle([commit(number) for number in range(first, first + tile.width)])


def _objects(old: int, new: int) -> Iterator[Tile]:
    """The bundles and tiles that growth from `old` to `new` commits needs, bundles first."""
    tiles = list(tiles_between(old, new))
    return chain((tile.entries for tile in tiles if tile.level == 0), tiles)
