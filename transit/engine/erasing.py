"""Erasing: the bytes of what was deleted or trimmed are freed, here and in the remote.

Each segment that has some of them is replaced by what is left of it (`transit.format.redacted`).
The order, and what a crash right after leaves:

    everything sealed and published         records that are gone for readers, and their bytes
    what is left of a segment, put here     the original too: readers take the original
    the same, put in the remote             the same there
    original removed here                   what is left
    versions removed in the remote          what is left, there too
    the same two steps in each replica      replicas that have the original: they free it when they
                                            follow
    (the next segment)
    copies removed: caches, rooms, ...      segments without them
    `erased` or `freed` in `$names`         the same, said: an auditor that finds the bytes from
                                            here on says so
    that published                          done

Nothing is undone, and erasing again goes on: it looks at what is there, and not at notes. It says
that bytes are gone only of what it saw gone.

What is not in reach is not freed: copies of the folder and of remotes, caches of other machines,
memory of other processes, blocks of the disk that the file system has given up and not written to
again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial

import msgspec

from transit.disk import (
    file_size,
    is_folder,
    leads_to_folder,
    list_folder,
    make_folder,
    put,
    remove,
    remove_tree,
    sync_folder,
)
from transit.engine.deleting import shred
from transit.engine.staging import Staging, stage
from transit.errors import InvalidInputError, TransitError
from transit.format.life import ALL, Life
from transit.format.names import DIVERGED_DIR, REBASE_DIR, parse_segment_name, segment_name
from transit.handle.handle import Handle
from transit.log.catalog import Catalog
from transit.log.redacting import Redaction, redact
from transit.log.redactions import MemoryBytes, Redacted, check_left
from transit.log.segments import Segment
from transit.log.sizes import row_bytes
from transit.store.versions import Freed, later
from transit.tier.erase import drop_unfinished, free_original, put_left
from transit.tier.fetch import Fetcher
from transit.tier.progress import Meter, Report
from transit.tier.remote import Remote


class Erased(msgspec.Struct, frozen=True):
    """What an erasure did.

    streams: names of those whose bytes are gone, wholly or up to where they were trimmed. records,
    bytes: that went, `bytes` unfolded. segments: that chunks were erased from. copies: files of
    caches and rooms, unnamed
    segments, and folders of diverged histories, that were removed. versions: of objects in the
    remote that are gone. kept: versions there that are hidden by their names, and not freed;
    until: when the last lock on them ends, UTC nanoseconds, -1 where nobody says, 0 for none.
    waiting: addresses of replicas that still have bytes of them, until they follow.
    """

    streams: tuple[str, ...] = ()
    records: int = 0
    bytes: int = 0
    segments: int = 0
    copies: int = 0
    versions: int = 0
    kept: int = 0
    until: int = 0
    waiting: tuple[str, ...] = ()


def erase(handle: Handle, report: Report | None, *, bypass_governance: bool) -> Erased:
    """Free the bytes of all that is gone for readers; what that did."""
    if handle.mode != "exclusive":
        raise InvalidInputError('erase() needs mode "exclusive"')
    handle.writer.check()
    # Of a deletion that was cut short.
    shred(handle, "")
    lives = _due(handle)
    if not lives:
        return Erased()
    _seal(handle, report)
    work = _Work(handle, lives, bypass_governance)
    done = handle.while_sealing_pauses(partial(work.run, Meter("erase", report)))
    _say(handle, work)
    if handle.remote is None:
        handle.writer.sync()
        return done
    replicas = handle.tiering.publish(report).replicas
    waiting = tuple(each.url for each in replicas if each.behind)
    return msgspec.structs.replace(done, waiting=waiting)


def _due(handle: Handle) -> dict[int, Life]:
    """What is said of the streams that have bytes to free, or that a lock may have kept."""
    handle.refresh()
    lives = handle.catalog.known_lives().notable
    back = _back_again(handle.catalog, lives)
    return {
        stream: life
        for stream, life in lives.items()
        if life.gone > life.gone_bytes
        or life.locked_until
        or (life.here and handle.remote is not None)
        or stream in back
    }


def _back_again(catalog: Catalog, lives: Mapping[int, Life]) -> set[int]:
    """The streams whose bytes are in this folder although they were erased.

    Another machine erased them, and this folder took up its commits.
    """
    erased = {stream: life.gone_bytes for stream, life in lives.items() if life.gone_bytes}
    found: set[int] = set()
    for segment in catalog.view.segments if erased else ():
        whole = file_size(segment.path) is not None
        if not whole and file_size(segment.redacted_path) is None:
            continue
        index = segment.index
        rows = [
            row
            for row, stream in enumerate(index.streams)
            if stream in erased and index.stop(row) <= erased[stream]
        ]
        left = None if whole or not rows else segment.redacted()
        found |= {index.streams[row] for row in rows if whole or (left and left.has(row))}
    return found


def _seal(handle: Handle, report: Report | None) -> None:
    if handle.remote is not None:
        handle.tiering.publish(report)
    else:
        handle.writer.rotate()
        handle.sealer.seal_ended()


class _Work:
    """One erasure."""

    def __init__(self, handle: Handle, lives: Mapping[int, Life], bypass_governance: bool) -> None:
        self._handle = handle
        self._catalog = handle.catalog
        self._remote: Remote | None = handle.remote
        # Those that have all that the first has. From others it goes when they follow.
        self._replicas = handle.remotes[1:]
        self._bypass = bypass_governance
        self.lives = lives
        # By stream: before which of its own offsets bytes are gone, how many, and locks on them.
        self.reached: dict[int, int] = {}
        self.sizes: dict[int, int] = {}
        self.until: dict[int, int] = {}
        self._done = Erased()

    def run(self, meter: Meter) -> Erased:
        """Free the bytes; what that did."""
        wanted = [
            (segment, rows)
            for segment in self._catalog.view.segments
            if (rows := self._rows(segment))
        ]
        meter.expect(len(wanted), sum(segment.ref.bytes for segment, _ in wanted))
        for segment, rows in wanted:
            self._catalog.check_place()
            self._segment(segment, rows)
            meter.add(1, segment.ref.bytes)
        news = [stream for stream, life in self.lives.items() if self.is_news(stream, life)]
        if news or self._done.segments:
            self._copies()
        names = tuple(self._catalog.record(stream).name for stream in news)
        return msgspec.structs.replace(self._done, streams=names)

    def is_news(self, stream: int, life: Life) -> bool:
        """Whether there is more to say of a stream than that."""
        return (
            self.freed(stream, life) > life.gone_bytes
            or self.until.get(stream, 0) != life.locked_until
            or (life.here and self._remote is not None)
        )

    def freed(self, stream: int, life: Life) -> int:
        """Before which own offset the bytes of a stream are gone now."""
        return ALL if life.deleted else max(self.reached.get(stream, 0), life.freed)

    def _rows(self, segment: Segment) -> set[int]:
        """The rows of a segment's index whose chunks are gone for readers."""
        index = segment.index
        if len(self.lives) < len(index.streams):
            rows = {row for stream in self.lives for row in index.rows(stream)}
        else:
            rows = {row for row, stream in enumerate(index.streams) if stream in self.lives}
        rows = {row for row in rows if index.stop(row) <= self.lives[index.streams[row]].gone}
        for row in rows:
            stream = index.streams[row]
            self.reached[stream] = max(self.reached.get(stream, 0), index.stop(row))
        return rows

    def _segment(self, segment: Segment, rows: set[int]) -> None:
        catalog, name = self._catalog, segment.ref.digest
        has_original = file_size(segment.path) is not None
        left = None if has_original else segment.redacted()
        is_here = has_original or file_size(segment.redacted_path) is not None
        made: Redaction | None = None
        if left is None or any(left.has(row) for row in rows):
            made = redact(segment, rows | self._gone_before(segment, rows), self._handle.settings)
            # What is about to take the segment's place holds every chunk that stays.
            place = segment.redacted_path
            check_left(MemoryBytes(place, made.data), segment.ref, catalog.store_id, catalog.keys)
            if is_here:
                make_folder(catalog.places.redacted)
                catalog.check_place()
                put(catalog.places.redacted, segment_name(bytes.fromhex(name)), made.data)
        data = b""
        if self._remote is not None:
            data = made.data if made is not None else _bytes_of(left)
            put_left(self._remote, name, data)
        if has_original:
            catalog.check_place()
            remove(segment.path)
            sync_folder(catalog.places.segments)
        freed = Freed()
        if self._remote is not None:
            freed = free_original(self._remote, name, bypass_governance=self._bypass)
        for replica in list(self._replicas):
            freed = freed.plus(self._in_replica(replica, name, data))
        segment.forget_redacted()
        self._count(segment, rows, made, freed)

    def _in_replica(self, replica: Remote, name: str, data: bytes) -> Freed:
        """The same in a replica; one that fails is left to itself: it frees when it follows."""
        try:
            put_left(replica, name, data)
            return free_original(replica, name, bypass_governance=self._bypass)
        except TransitError:
            self._replicas.remove(replica)
            return Freed()

    def _gone_before(self, segment: Segment, rows: set[int]) -> set[int]:
        """Rows of other streams whose bytes are gone by earlier records, where the original is
        looked at once more."""
        lives, index = self._catalog.known_lives().notable, segment.index
        return {
            row
            for row, stream in enumerate(index.streams)
            if row not in rows
            and (life := lives.get(stream)) is not None
            and index.stop(row) <= life.gone
        }

    def _count(
        self, segment: Segment, rows: set[int], made: Redaction | None, freed: Freed
    ) -> None:
        index, done = segment.index, self._done
        for row in rows if made is not None else ():
            stream = index.streams[row]
            size = row_bytes(segment.footer, index, row)
            self.sizes[stream] = self.sizes.get(stream, 0) + size
        for row in rows if freed.kept else ():
            stream = index.streams[row]
            self.until[stream] = later(self.until.get(stream, 0), freed.until)
        self._done = msgspec.structs.replace(
            done,
            records=done.records + (made.records if made is not None else 0),
            bytes=done.bytes + (made.bytes if made is not None else 0),
            segments=done.segments + (made is not None),
            versions=done.versions + freed.versions,
            kept=done.kept + freed.kept,
            until=later(done.until, freed.until),
        )

    # Copies

    def _copies(self) -> None:
        """Let everything in the folder go that was made of segments."""
        catalog, count = self._catalog, 0
        catalog.cache.clear()
        if isinstance(catalog.elsewhere, Fetcher):
            catalog.elsewhere.forget()
        folders: set[str] = set()
        for path in self._copied():
            catalog.check_place()
            remove(path)
            folders.add(os.path.dirname(path))
            count += 1
        if self._remote is not None:
            for remote in (self._remote, *self._replicas):
                drop_unfinished(remote)
        # A loss of power must not bring them back after it was said that they are gone.
        for folder in (*folders, *filter(leads_to_folder, [catalog.places.cache])):
            sync_folder(folder)
        for folder in (DIVERGED_DIR, REBASE_DIR):
            path = os.path.join(catalog.root, folder)
            count += is_folder(path)
            catalog.check_place()
            remove_tree(path)
        self._done = msgspec.structs.replace(self._done, copies=count)

    def _copied(self) -> Iterator[str]:
        places = self._catalog.places
        for name in list_folder(places.cache):
            yield os.path.join(places.cache, name)
        for room in list_folder(places.rooms):
            for name in list_folder(places.room(room)):
                yield os.path.join(places.room(room), name)
        named = {bytes.fromhex(segment.ref.digest) for segment in self._catalog.view.segments}
        for folder in (places.segments, places.redacted):
            for name in list_folder(folder):
                digest = parse_segment_name(name)
                # Of a history that was left, or of a sealing that never came to its commit.
                if digest is not None and digest not in named:
                    yield os.path.join(folder, name)


def _bytes_of(left: Redacted | None) -> bytes:
    return b"" if left is None else left.whole()


def _say(handle: Handle, work: _Work) -> None:
    """Record what is gone, in one frame."""

    def said(staging: Staging) -> None:
        for stream in work.lives:
            state = handle.catalog.state(stream)
            now = staging.life(state)
            if not work.is_news(stream, now):
                continue
            freed = work.freed(stream, now)
            changes: dict[str, object] = {"basis": now.basis}
            changes["freed_bytes"] = now.freed_bytes + work.sizes.get(stream, 0)
            changes["locked_until"] = work.until.get(stream, 0)
            changes["here"] = handle.remote is None and bool(freed)
            if now.deleted:
                changes["erased"] = True
            else:
                changes["freed"] = freed
            staging.change(state, now.reason, **changes)

    stage(handle, said)
