"""Retention of local segments: those the remote has may go, history stays what it is.

Owns which local files are dropped. Each is asked for in the remote once more, by size, right before
its file goes; the note that segments live in the remote is made first, or, on a disk that is full,
as soon as the first files that went have left room for it.
"""

from __future__ import annotations

import contextlib
import os
import time

import msgspec

from transit.disk import file_size, is_same_file, remove
from transit.errors import CorruptError, StorageFullError, UnsuitableRemoteError
from transit.log.catalog import Catalog
from transit.log.clock import believed
from transit.log.guides import put_marker, read_marker
from transit.log.segments import Segment
from transit.log.snapshots import Snapshots
from transit.store import folder_of_store
from transit.tier.apart import check_not_served
from transit.tier.pools import at_once
from transit.tier.remote import Remote, redacted_key, segment_key


class Evicted(msgspec.Struct, frozen=True):
    """What was dropped: count of segments, and their size in bytes."""

    segments: int
    bytes: int


def evict(
    catalog: Catalog,
    remote: Remote,
    published: int,
    bytes_max: int | None,
    older_than_s: float | None,
) -> Evicted:
    """Drop local segments of the first `published` commits, oldest first.

    bytes_max: until the local segments take no more than this. older_than_s: those whose records
    were all written longer ago, seconds, by the engine's clock. Raises before anything is dropped
    when the remote lacks one of them.
    """
    catalog.check_place()
    if catalog.view.wals:
        check_not_served(catalog.root, remote.store, catalog.view.wals[-1].first_lsn)
    local = [segment for segment in catalog.view.segments if _local_size(segment) is not None]
    chosen = _choose(local, published, bytes_max, older_than_s)

    def check(segment: Segment) -> None:
        key, expected = _other_copy(segment), _local_size(segment)
        found = remote.store.size(key)
        if found != expected:
            raise CorruptError(
                remote.place(key),
                expected=f"{expected} bytes",
                found="no object" if found is None else f"{found} bytes",
            )

    size = sum(_local_size(segment) or 0 for segment in chosen)
    at_once(check, chosen, remote.settings.transfers_max)
    if chosen:
        _drop(catalog, remote, chosen)
    elif len(local) < len(catalog.view.segments) and read_marker(catalog.root) is None:
        # The last time there was no room for the note, even at the end.
        put_marker(catalog.root, remote.url)
    return Evicted(len(chosen), size)


def _is_whole(segment: Segment) -> bool:
    return file_size(segment.path) is not None


def _path(segment: Segment) -> str:
    """The file that is dropped: the segment, or what is left of it."""
    return segment.path if _is_whole(segment) else segment.redacted_path


def _local_size(segment: Segment) -> int | None:
    return file_size(_path(segment))


def _other_copy(segment: Segment) -> str:
    """The key of the same in the remote."""
    name = segment.ref.digest
    return segment_key(name) if _is_whole(segment) else redacted_key(name)


def _check_other_copy(segment: Segment, remote: Remote) -> None:
    """Last of all, and by the file itself: what is dropped is not what is left."""
    folder = folder_of_store(remote.store)
    key, path = _other_copy(segment), _path(segment)
    if folder is not None and is_same_file(path, os.path.join(folder, key)):
        raise UnsuitableRemoteError(
            f"{remote.place(key)}: is the very file that would be dropped, {path}"
        )


def _drop(catalog: Catalog, remote: Remote, chosen: list[Segment]) -> None:
    """Remove the segments' files, once their place and their guides are noted."""
    snapshots = Snapshots(catalog)
    # The guides of the segments stay here, so that only their blocks need the remote.
    guides = snapshots.encode()
    noted = False
    for segment in chosen:
        segment.load()
        if not noted:
            with contextlib.suppress(StorageFullError):
                catalog.check_place()
                put_marker(catalog.root, remote.url)
                snapshots.put(guides)
                noted = True
        catalog.check_place()
        _check_other_copy(segment, remote)
        remove(_path(segment))
        segment.forget_redacted()
    if not noted:
        put_marker(catalog.root, remote.url)
        with contextlib.suppress(StorageFullError):
            # A store is whole without it: a reader that needs it asks the remote.
            snapshots.put(guides)


def _choose(
    local: list[Segment], published: int, bytes_max: int | None, older_than_s: float | None
) -> list[Segment]:
    total = sum(_local_size(segment) or 0 for segment in local)
    now = time.time_ns()
    ages = (now - written for written in believed([each.ref.written for each in local], now))
    chosen = []
    for segment, age in zip(local, ages, strict=True):
        if segment.commit >= published:
            break
        if bytes_max is not None and total > bytes_max:
            total -= _local_size(segment) or 0
        elif older_than_s is None or age < older_than_s * 1e9:
            continue
        chosen.append(segment)
    return chosen
