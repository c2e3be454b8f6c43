"""Proofs of an open store: which checkpoint they stand on, and what they are made from.

Owns nothing on disk but leaves of segments in the room `proofs` (`Log.cache`), which save unfolding
a segment again for each proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from transit.engine.caching import Cache
from transit.engine.checkpoints import Checkpoints
from transit.errors import CorruptError, InvalidInputError, OffsetError, ProofError
from transit.evidence.checking import Checked, Shown
from transit.evidence.commits import CommitTree
from transit.evidence.folder import write_folder
from transit.evidence.how import how_text
from transit.evidence.leaves import SegmentLeaves, leaves_of
from transit.evidence.making import Files, Maker, Sealed
from transit.evidence.statement import HOW_FILE, PAYLOAD_FILE, STATEMENT_FILE
from transit.handle.handle import Handle
from transit.log.catalog import StreamState
from transit.log.gone import gone
from transit.log.segments import Segment
from transit.proof.checkpoint import Checkpoint, SignedCheckpoint
from transit.proof.files import ConsistencyFile
from transit.proof.notes import parse_note
from transit.proof.paths import consistency_path

_LEAVES_KEPT: Final = 64
_SMALL_BYTES_MAX: Final = 64 * 1024


class Proof(Mapping[str, bytes]):
    """A proof's files by name (`transit.evidence.statement`), checked once but for signatures."""

    def __init__(self, files: Files, checked: Checked) -> None:
        self._files = files
        self.checked = checked
        """What came of checking it, which left the signatures to whoever gets it."""

    @property
    def shown(self) -> Shown:
        """What it shows."""
        return self.checked.shown

    def __repr__(self) -> str:
        first, stop = self.shown.records
        end = ", and no more" if self.shown.end else ""
        return (
            f"<transit.Proof of {self.shown.stream!r} {first}:{stop}{end}, "
            f"at {self.shown.checkpoint.size} commits>"
        )

    def __getitem__(self, name: str) -> bytes:
        return self._files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def among(self, files: Mapping[str, bytes]) -> Checked:
        """The same proof as it stands among the files of others: `ProofError` where it does not.

        files: commits, leaves and the one checkpoint of several proofs.
        """
        whole = {**files, STATEMENT_FILE: self._files[STATEMENT_FILE]}
        return Checked(whole, lambda note: self.shown.checkpoint)

    def save(self, folder: str) -> None:
        """Write the files into a new or empty folder; `AlreadyExistsError` for another."""
        write_folder(folder, self._files)


class Proving:
    """Makes proofs of one open store. Safe for threads where its `Handle` is."""

    def __init__(self, handle: Handle, checkpoints: Checkpoints, cache: Cache) -> None:
        self._handle = handle
        self._checkpoints = checkpoints
        self._cache = cache
        self._leaves: dict[str, SegmentLeaves] = {}

    def prove(
        self,
        state: StreamState,
        offset: int | None,
        *,
        records: tuple[int, int | None] | None,
        end: bool,
        checkpoint: SignedCheckpoint | bytes | None,
    ) -> Proof:
        """See `Log.prove`."""
        self._handle.refresh()
        note = self.note_of(checkpoint)
        head, tree = self._head(note)
        maker = Maker(Sealed(self._handle.catalog, tree, self._leaves_of), head, note)
        first, stop = _chosen(state.name, maker.count(state.id), offset, records, end=end)
        if first < min(state.gone, stop):
            raise gone(self._handle.catalog, state, first)
        files = maker.make(state.id, first, stop, end=end)
        self._checkpoints.give_back(head, tree)
        # Whoever holds the files checks the signatures too; everything else is checked here.
        checked = Checked(files, lambda data: head)
        record = None
        if offset is not None:
            (record,) = checked.records()
            files[PAYLOAD_FILE] = record.payload
        files[HOW_FILE] = how_text(checked.statement, files, record)
        return Proof(files, checked)

    def growth(self, old: SignedCheckpoint | bytes, new: SignedCheckpoint | bytes | None) -> bytes:
        """See `Log.prove_growth`."""
        self._handle.refresh()
        older, _ = self._head(self.note_of(old))
        note = self.note_of(new)
        newer, tree = self._head(note)
        if older.size > newer.size:
            raise InvalidInputError(
                f"a checkpoint of {newer.size} commits does not follow one of {older.size}"
            )
        path = tuple(consistency_path(older.size, newer.size, tree.hash_at))
        self._checkpoints.give_back(newer, tree)
        return ConsistencyFile(older.size, path, note).encode()

    def note_of(self, checkpoint: SignedCheckpoint | bytes | None) -> bytes:
        """The bytes of a checkpoint; of the newest one where none was given."""
        if isinstance(checkpoint, SignedCheckpoint):
            return checkpoint.note
        if checkpoint is not None:
            if not isinstance(checkpoint, bytes):
                raise InvalidInputError("a checkpoint is a SignedCheckpoint or the bytes of a note")
            return checkpoint
        note = self._checkpoints.newest()
        if note is None:
            raise InvalidInputError(
                "this store has no checkpoint: checkpoint(signer) makes one, and proofs stand on it"
            )
        return note

    def _head(self, note: bytes) -> tuple[Checkpoint, CommitTree]:
        """The checkpoint of a note and the commits that it covers; it must be of this history."""
        head = Checkpoint.parse(parse_note(note).text)
        store = self._handle.catalog.store_id.hex()
        if not head.origin.endswith(f"/{store}"):
            raise ProofError(f"the checkpoint is of {head.origin!a}, not of store {store}")
        tree = self._checkpoints.tree_at(head)
        return head, tree

    def _leaves_of(self, segment: Segment) -> SegmentLeaves:
        name = segment.ref.digest
        found = self._leaves.get(name)
        if found is None:
            found = self._kept_leaves(segment)
            if len(self._leaves) >= _LEAVES_KEPT:
                self._leaves.clear()
            self._leaves[name] = found
        return found

    def _kept_leaves(self, segment: Segment) -> SegmentLeaves:
        if segment.ref.bytes <= _SMALL_BYTES_MAX:
            # Unfolding it again takes less than looking for what was kept.
            return SegmentLeaves(segment, leaves_of(segment))
        name = f"{segment.ref.digest}.leaves"
        data = self._cache.read(name)
        if data is not None:
            with suppress(CorruptError):
                return SegmentLeaves(segment, data)
        packed = leaves_of(segment)
        made = SegmentLeaves(segment, packed)
        self._cache.put(name, packed)
        return made


def _chosen(
    name: str,
    count: int,
    offset: int | None,
    records: tuple[int, int | None] | None,
    *,
    end: bool,
) -> tuple[int, int]:
    """The records a proof shows, from first to before stop, of a stream that has `count`."""
    if offset is not None:
        if records is not None:
            raise InvalidInputError("an offset or records, not both")
        first = offset + count if offset < 0 else offset
        records = first, first + 1
    first, stop = records if records is not None else (count, None)
    stop = count if stop is None else stop
    if not 0 <= first <= stop <= count:
        raise OffsetError(
            f"{name!r}: the checkpoint covers {count} records, not those from {first} to {stop}"
        )
    if end and stop != count:
        raise InvalidInputError(
            f"{name!r}: records from {stop} on are there too: end=True shows that none follow"
        )
    return first, stop
