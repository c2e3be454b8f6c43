"""Planted bugs of the remote and of several writers (see `rigs.plants`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from rigs.plants.replacing import replace
from transit import disk
from transit.errors import AlreadyExistsError
from transit.format.commit import SegmentRef, encode_format
from transit.format.names import CHECKPOINT_FILE
from transit.handle.tiering import Tiering
from transit.locks import Lock
from transit.log.segments import Segment
from transit.log.turns import SharedTurn
from transit.proof.checkpoint import Checkpoint
from transit.proof.notes import parse_note
from transit.proof.paths import HashAt
from transit.store import ObjectStore
from transit.store.folder import FolderStore
from transit.tier import conditional, publish, retain
from transit.tier.checkpoints import RemoteCheckpoints, note_key
from transit.tier.locating import own_commit
from transit.tier.publish import Publisher
from transit.tier.restore import Restorer

ReadCommit = Callable[[int], bytes]


def append_lock_not_taken() -> None:
    """In mode "shared" a process does not wait for another's turn to end."""
    take = Lock.try_acquire

    def always(lock: Lock, *, shared: bool = False) -> bool:
        return lock.path.endswith("LOCK.append") or take(lock, shared=shared)

    replace(Lock, "try_acquire", always)


def others_not_read() -> None:
    """In mode "shared" a turn begins without taking up what others wrote."""

    def take(turn: SharedTurn) -> None:
        turn._turns.acquire(timeout_s=turn._timeout_s)

    replace(SharedTurn, "_take_turn", take)


def tiered_without_publishing() -> None:
    """An append returns as "tiered", and nothing is published."""
    replace(Tiering, "reach", lambda tiering, lsn: None)


def evict_before_publish() -> None:
    """Every segment may be let go, whether or not the remote has it."""

    def choose(local: list[Segment], published: int, *limits: object) -> list[Segment]:
        return local

    replace(retain, "_choose", choose)
    replace(retain, "at_once", lambda call, items, threads: [])


def checkpoint_before_tiles() -> None:
    """A checkpoint is in the remote before the tiles and bundles that it needs."""
    put = RemoteCheckpoints.put

    def early(
        checkpoints: RemoteCheckpoints, old: int, note: bytes, hash_at: HashAt, commit: ReadCommit
    ) -> bytes:
        size = Checkpoint.parse(parse_note(note).text).size
        checkpoints._remote.store.put(note_key(size), note)
        checkpoints._remote.store.put(CHECKPOINT_FILE, note)
        return put(checkpoints, old, note, hash_at, commit)

    replace(RemoteCheckpoints, "put", early)


def remote_commit_before_segments() -> None:
    """A commit is created in the remote before the objects that it names are there."""

    def finish(publisher: Publisher, pending: publish._Pending) -> None:
        publisher.remote.create_commit(pending.number, pending.data)
        for upload in pending.uploads:
            upload.result()
        publisher.published = pending.number + 1
        publisher.published_lsn = pending.commit.next_lsn

    def start(publisher: Publisher, pool: object, number: int, meter: object) -> publish._Pending:
        publisher.remote.create_commit(number, own_commit(publisher._catalog, number)[0])
        return begin(publisher, pool, number, meter)  # type: ignore[arg-type]

    begin = Publisher._start
    replace(Publisher, "_start", start)
    replace(Publisher, "_finish", finish)


def remote_folder_not_synced() -> None:
    """A remote in a folder says "stored" before anything is synced."""

    def put(store: FolderStore, key: str, data: bytes) -> None:
        folder, name = store._place(key)
        disk.put_unsynced(folder, name, data)

    replace(FolderStore, "put", put)


def restore_begins_with_format() -> None:
    """A restored folder is called a store before its history is there."""
    fetch = Restorer.fetch_commits

    def early(restorer: Restorer, at: int | str | None) -> list[SegmentRef]:
        disk.put_if_absent(restorer._root, "FORMAT", encode_format(restorer._store_id))
        return fetch(restorer, at)

    replace(Restorer, "fetch_commits", early)


def lost_answer_taken_for_conflict() -> None:
    """ "It exists" is taken for another writer's, without looking whose it is."""

    def hasty(
        store: ObjectStore, key: str, data: bytes, bytes_max: int, timeout_s: float
    ) -> bytes | None:
        try:
            store.create(key, data)
        except AlreadyExistsError:
            return b"another's"
        return None

    replace(conditional, "put_if_absent", hasty)


def conflict_taken_for_success() -> None:
    """ "It exists" is taken for our own, without looking whose it is."""

    def hasty(
        store: ObjectStore, key: str, data: bytes, bytes_max: int, timeout_s: float
    ) -> bytes | None:
        try:
            store.create(key, data)
        except AlreadyExistsError:
            return None
        return None

    replace(conditional, "put_if_absent", hasty)


def head_believed() -> None:
    """Whatever HEAD says is published is taken for published."""

    def locate(publisher: Publisher) -> None:
        head = publisher.remote.head(publisher._catalog.store_id)
        publisher._reached(min(head.number + 1, publisher._chain.count) if head else 0)

    replace(Publisher, "locate", locate)


TIER: Final[Mapping[str, Callable[[], None]]] = {
    made.__name__: made
    for made in (
        append_lock_not_taken,
        others_not_read,
        tiered_without_publishing,
        evict_before_publish,
        checkpoint_before_tiles,
        remote_commit_before_segments,
        remote_folder_not_synced,
        restore_begins_with_format,
        lost_answer_taken_for_conflict,
        conflict_taken_for_success,
        head_believed,
    )
}
