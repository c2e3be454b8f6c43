"""Status: what an open store holds, in numbers."""

from __future__ import annotations

import msgspec

from transit.config import Durability, Encrypted, Mode
from transit.engine.finding import StreamCount
from transit.handle.handle import Handle
from transit.handle.replicas import ReplicaStatus
from transit.log.clock import ahead_s, steps


class Status(msgspec.Struct, frozen=True):
    """What an open store holds. Sizes in bytes.

    streams: the user's that are not hidden; None where records that say so are only in a remote
    that is not attached, or encrypted and without their key. records: of all streams, the store's
    own too. unsynced_bytes: of the WAL.
    commits, segments, segment_bytes: sealed. wal_files, wal_bytes: not sealed yet.
    head: root of the last commit, "" before the first. epoch: of the last commit, -1 before it.
    clock_ahead_s: by how much the last record's time of writing is ahead of this machine's clock,
    seconds; 0 when it is not. clock_steps: how often the clock was set back by more than a minute.
    seal_error: why sealing does not go on, "" while it does.
    remote: address of the remote, "" without one. published: commits that are there; None without
    a remote: none was asked. remote_noted: the address in the file REMOTE, in which segments are
    that are not in the folder, "" without that file.
    remote_error: why publishing did not go on the last time, "" when it did.
    remote_keeps: what the remote keeps of what is deleted there, so that `Log.erase` may free less:
    "versions", "versions, object lock (compliance, 30 days)", "unknown" where the rights to ask are
    missing; "" for nothing, in mode "read", and for remotes that cannot say.
    replicas: the remotes that follow it, and how far each is; in mode "read" none.
    encryption: of what is written from now on: "none", "remote" (all that is sealed), "all" (the
    WAL too); in mode "read", whether sealed records are encrypted: "none" or "remote".
    """

    path: str
    store_id: str
    mode: Mode
    durability: Durability
    streams: int | None
    records: int
    commits: int
    head: str
    epoch: int
    segments: int
    segment_bytes: int
    wal_files: int
    wal_bytes: int
    unsynced_bytes: int
    clock_ahead_s: float
    clock_steps: int
    seal_error: str
    remote: str
    published: int | None
    remote_error: str
    remote_noted: str
    remote_keeps: str = ""
    replicas: tuple[ReplicaStatus, ...] = ()
    encryption: Encrypted = "none"


def status_of(handle: Handle, counted: StreamCount) -> Status:
    """What an open store holds now; of a remote, what is known without asking it."""
    handle.refresh()
    catalog = handle.catalog
    view, head = catalog.view, catalog.commits.head
    error = handle.seal_error
    times = catalog.times()
    return Status(
        path=handle.root,
        store_id=catalog.store_id.hex(),
        mode=handle.mode,
        durability=handle.durability,
        streams=counted.of(handle),
        records=view.wals[-1].next_lsn if view.wals else catalog.commits.next_lsn,
        commits=catalog.commits.count,
        head=catalog.commits.root,
        epoch=head.epoch if head else -1,
        segments=len(view.segments),
        segment_bytes=sum(segment.ref.bytes for segment in view.segments),
        wal_files=len(view.wals),
        wal_bytes=sum(wal.tail for wal in view.wals),
        unsynced_bytes=sum(wal.tail - wal.durable for wal in view.wals),
        clock_ahead_s=ahead_s(times),
        clock_steps=steps(times),
        seal_error=str(error) if error is not None else "",
        remote=handle.remote_url,
        published=handle.published,
        remote_error=handle.remote_error,
        remote_noted=handle.remote_noted,
        encryption=handle.encrypted
        if handle.mode != "read"
        else ("remote" if catalog.commits.encrypted else "none"),
        remote_keeps="" if handle.remote is None else handle.remote.keeps,
        replicas=handle.replicas,
    )
