"""`copy`: a published store moved to another remote, with its checkpoints, and audited there.

The signed notes and what stands behind them come last, as they do when they are signed: each needs
the commits that it covers, its tiles and its bundles. The source's newest note is read before its
commits are counted, so it never covers more than there are. Notes are held against the chain, their
signatures are not judged. Tiles and bundles are derived: from the source's, each bound to the
chain, or from its commits where those are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from typing import Final

import msgspec

from transit.auditor import Audit, check_seed, parse_level
from transit.config import Settings
from transit.disk import list_folder
from transit.engine.plans import rerunning
from transit.errors import (
    CorruptError,
    InvalidInputError,
    ProofError,
    SplitViewError,
    StorePermissionError,
)
from transit.evidence.published import PublishedTree
from transit.format.names import CHECKPOINT_DIR, CHECKPOINT_FILE, LOCK_FILE, parse_checkpoint_name
from transit.handle.attaching import RemoteAddress, attach, check_settings
from transit.log.commits import CommitChain
from transit.log.signed import NOTE_BYTES_MAX
from transit.proof.checkpoint import Checkpoint
from transit.proof.notes import Note, parse_note
from transit.proof.tree import CompactRange
from transit.store import ObjectStore, folder_of_store
from transit.tier.apart import check_distinct
from transit.tier.checkpoints import RemoteCheckpoints, note_key
from transit.tier.conditional import read_twice
from transit.tier.copying import Copier
from transit.tier.progress import Progress
from transit.tier.remote import Remote, commit_key
from transit.verify import Report

_NOTES_MAX: Final = 1_000_000


class Copied(msgspec.Struct, frozen=True):
    """What a copy did, and what is in the target now.

    source, target: addresses. root: of the last commit; "" for a store without. commits: created
    now; commits_there: there before. segments, snapshots, bytes: brought now; redacted: of these
    segments, those of which the source has only what is left after an erasure. segments_there,
    bytes_there: of commits created now, what an earlier copy that was cut short had brought.
    snapshots_lacking: index snapshots that the source lacks, without which a store is whole.
    erased: segments of an earlier copy that the source erased records from since: what is left of
    them is in their place; versions: of their originals, gone. kept: versions that a lock keeps,
    hidden by their names; until: when the last lock ends, UTC nanoseconds, -1 where nobody says, 0
    for none. checkpoints: signed notes brought. report: of the audit of the target; None without.
    """

    source: str
    target: str
    store_id: str
    root: str
    commits: int
    commits_there: int
    segments: int
    segments_there: int
    redacted: int
    snapshots: int
    snapshots_lacking: int
    bytes: int
    bytes_there: int
    erased: int
    versions: int
    kept: int
    until: int
    checkpoints: int
    report: Report | None

    @property
    def ok(self) -> bool:
        """Whether the audit found nothing wrong; True where none was made."""
        return self.report is None or self.report.ok


def copy(  # noqa: PLR0913 - two places, and what to look at again in each
    source: RemoteAddress,
    target: RemoteAddress,
    *,
    level: str | None = "roots",
    verify: bool = False,
    bypass_governance: bool = False,
    source_options: Mapping[str, object] | None = None,
    target_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Copied:
    """Copy the published store in `source` to `target`, which is a remote of it from then on.

    target: an empty place, or an earlier copy: then what is new is brought, and what the source
    erased since is erased there, in all versions. Every segment is checked against its digest on
    the way, and the commits as a chain. At each moment the target is a store whose history is a
    beginning of the source's; interrupted, it goes on when it is called again. Commits that are
    published meanwhile are for the next call. No keys are needed for an encrypted store.

    level: of the audit of the target at the end, as for `audit`, which must find the source's last
    commit there; None for none. verify: read what is in the target already, and bring again what is
    damaged. bypass_governance: erase also what is locked in governance mode. source_options,
    target_options: what fsspec takes, for an address given as text.

    Not copied are objects that no commit names, and, where the source may not be listed, older
    checkpoints. Raises `NotFoundError` when there is no store in `source`, `InvalidInputError` when
    `target` holds another store, is the same place, or one of them lies inside the other,
    `ConflictError` when it has a commit that the source has not: nothing was written then.
    `CorruptError` for what is damaged or missing in the source, `SplitViewError` when a checkpoint
    there is of another history;
    `RemoteUnavailableError`, `StorePermissionError`, `OutcomeUnknownError`,
    `UnsuitableRemoteError`.
    """
    chosen_level = None if level is None else parse_level(level)
    chosen = check_settings(settings)
    with ExitStack() as stack:
        stores = []
        for address, options in ((source, source_options), (target, target_options)):
            store, release = attach(address, options, chosen)
            stack.callback(release)
            stores.append(store)
        _check_places(*stores)
        from_, to = (Remote(store, chosen) for store in stores)
        store_id = from_.existing_store_id()
        notes = _Notes(from_, to, store_id)
        copier = Copier(
            from_, to, store_id, progress, verify=verify, bypass_governance=bypass_governance
        )
        copier.run()
        checkpoints = notes.bring(copier)
        report = None
        if chosen_level is not None:
            check = Audit(to, chosen_level, copier.root or None, check_seed(None))
            report = check.run(rerunning(), progress)
    return _copied(from_, to, store_id, copier, checkpoints, report)


def _copied(
    source: Remote,
    target: Remote,
    store_id: bytes,
    copier: Copier,
    checkpoints: int,
    report: Report | None,
) -> Copied:
    counts = copier.counts
    return Copied(
        source=source.url,
        target=target.url,
        store_id=store_id.hex(),
        root=copier.root,
        commits=counts.commits,
        commits_there=counts.commits_there,
        segments=counts.segments,
        segments_there=counts.segments_there,
        redacted=counts.redacted,
        snapshots=counts.snapshots,
        snapshots_lacking=counts.lacking,
        bytes=counts.bytes,
        bytes_there=counts.bytes_there,
        erased=counts.erased,
        versions=counts.freed.versions,
        kept=counts.freed.kept,
        until=counts.freed.until,
        checkpoints=checkpoints,
        report=report,
    )


def _check_places(source: ObjectStore, target: ObjectStore) -> None:
    """`InvalidInputError` unless these are two remotes, in two places."""
    for store in (source, target):
        folder = folder_of_store(store)
        if folder is not None and LOCK_FILE in list_folder(folder):
            raise InvalidInputError(
                f"{store.url}: is a store's own folder, not a remote; publish it with remote="
            )
    check_distinct((source, target))


class _Notes:
    """The checkpoints of one remote, brought to another. Made before the commits are counted."""

    def __init__(self, source: Remote, target: Remote, store_id: bytes) -> None:
        self._source = source
        self._target = target
        self._store_id = store_id
        self._to = RemoteCheckpoints(target)
        self._newest = self._note(CHECKPOINT_FILE)

    def _note(self, key: str) -> bytes | None:
        # Nothing in a note tells a signature from a damaged one.
        return read_twice(self._source.store, key, NOTE_BYTES_MAX, b"")

    def bring(self, copier: Copier) -> int:
        """Bring the notes that the target lacks, with their tiles and bundles; their count."""
        if self._newest is None:
            return 0
        newest, note = _parsed(self._newest, self._source.place(CHECKPOINT_FILE))
        there = self._to.newest()
        if there is not None and _has_all(there, note):
            return 0
        count = copier.count
        tree = self._tree(newest, count)
        copier.claim()
        listed = dict(self._listed(self._target))
        known = {0, *listed}
        if there is not None:
            known.add(min(_parsed(there, self._target.place(CHECKPOINT_FILE))[0].size, count))
        wanted = [
            size
            for size, length in sorted(self._listed(self._source))
            # Absent in the target, or there with fewer signatures.
            if size <= count and size != newest.size and listed.get(size) != length
        ]
        for size in wanted:
            data = self._note(note_key(size))
            if data is not None:
                self._put(size, data, tree, known)
        # Last: once the target has it, it has all that there was before.
        self._put(newest.size, self._newest, tree, known)
        return len(wanted) + 1

    def _put(self, size: int, data: bytes, tree: PublishedTree, known: set[int]) -> None:
        place = self._source.place(note_key(size))
        head, _ = _parsed(data, place)
        if head.size != size:
            raise CorruptError(place, expected=f"a checkpoint of {size} commits", found=str(head))
        if head.root != tree.root(size):
            raise _split(place, head)
        old = max(each for each in known if each <= size)
        self._to.put(old, data, tree.hash_at, lambda number: tree.commit(number)[0])
        known.add(size)

    def _tree(self, newest: Checkpoint, count: int) -> PublishedTree:
        """The first `count` commits, their hashes out of the newest checkpoint's tiles."""
        place = self._source.place(CHECKPOINT_FILE)
        if newest.size > count:
            raise SplitViewError(
                f"{place}: covers {newest.size} commits, and {count} are there: an older state of "
                "the store, or an object that was put there by hand"
            )
        # Out of commits by themselves: tiles and bundles are bound to this root alone.
        if self._range(newest.size).root() != newest.root:
            raise _split(place, newest)
        return PublishedTree(self._range(count), self._read, self._source, newest)

    def _range(self, size: int) -> CompactRange:
        """The tree over the first `size` commits, as the last of them states it."""
        if not size:
            return CompactRange()
        data = self._read(size - 1)
        place = self._source.place(commit_key(size - 1))
        if data is None:
            raise CorruptError(place, expected="a commit", found="no object")
        chain = CommitChain(self._source.url, self._store_id)
        chain.begin_at(data, place)
        return chain.tree

    def _read(self, number: int) -> bytes | None:
        found = self._source.checked_commit(number)
        return None if found is None else found[0]

    def _listed(self, remote: Remote) -> Iterator[tuple[int, int]]:
        """The size, in commits, and the length of each note that a listing shows."""
        prefix = f"{CHECKPOINT_DIR}/"
        try:
            for key, length in islice(remote.store.list(prefix), _NOTES_MAX):
                size = parse_checkpoint_name(key.removeprefix(prefix))
                if size is not None:
                    yield size, length
        except StorePermissionError:
            # Only a listing has their names: the newest alone is known without.
            return


def _parsed(data: bytes, place: str) -> tuple[Checkpoint, Note]:
    try:
        note = parse_note(data)
        return Checkpoint.parse(note.text), note
    except ProofError as error:
        raise CorruptError(place, expected="a signed checkpoint", found=str(error)) from None


def _has_all(there: bytes, note: Note) -> bool:
    """Whether a note that is there has the text of another, and all of its signatures."""
    try:
        known = parse_note(there)
    except ProofError:
        return False
    return known.text == note.text and set(known.signatures) >= set(note.signatures)


def _split(place: str, head: Checkpoint) -> SplitViewError:
    return SplitViewError(
        f"{place}: a checkpoint of another history than the commits there, of {head.size} commits "
        f"with root {head.root.hex()}"
    )
