"""Planted bugs of what is on this machine's disk (see `rigs.plants`)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from rigs.plants.replacing import replace, replace_in
from transit import disk
from transit.disk import File, NewFile
from transit.engine.staging import Staging
from transit.engine.stream import Receipt, Stream
from transit.errors import StorageFullError, SyncFailedError, TransitError
from transit.format import frame
from transit.format.commit import SegmentRef, encode_format
from transit.format.cursor import CURSORS_PREFIX
from transit.format.frame import FrameHeader
from transit.format.life import NAMES_ID, Life
from transit.format.lineage import LINEAGE_ID, Merge, decode_lineage
from transit.format.names import wal_name
from transit.handle import opening
from transit.handle.handle import Handle
from transit.locks import Mark
from transit.log import commits, recover, syncs
from transit.log import wal as wals
from transit.log.catalog import StreamState
from transit.log.frames import Group, Written
from transit.log.recover import Cut, ScannedFrame
from transit.log.seal import Sealer, SegmentWriter
from transit.log.syncs import GroupSync, SingleSync, Syncs
from transit.log.wal import Wal
from transit.log.writer import Writer
from transit.translation import translated

_SEGMENT: Final = ".seg"


def no_wal_sync() -> None:
    """A WAL is called durable without a sync."""

    def sync(wal: Wal) -> None:
        wal.durable = max(wal.durable, wal.tail)

    replace(Wal, "sync", sync)


def acknowledge_before_sync() -> None:
    """An append returns as "local" before the sync that makes it so."""
    replace(Handle, "acknowledge", lambda handle, written, level: "local")


def acknowledge_before_write() -> None:
    """An append returns as "os" although it only waits in memory."""
    append = Stream.append

    def early(stream: Stream, payload: bytes, **options: object) -> Receipt:
        os_only = options.get("durability") == "os"
        given = {**options, "durability": "memory"} if os_only else options
        receipt: Receipt = append(stream, payload, **given)  # type: ignore[arg-type]
        return msgspec.structs.replace(receipt, durability="os") if os_only else receipt

    replace(Stream, "append", early)


def no_folder_sync() -> None:
    """Names are never synced."""
    replace(disk, "sync_folder", lambda path: None)


def wal_name_not_synced() -> None:
    """The name of a new WAL file is not synced."""
    replace_in(wals, "sync_folder", lambda path: None)


def _publish_without_sync(suffix: str) -> None:
    publish, sync_data = NewFile.publish, File.sync_data

    def unsynced(file: NewFile, name: str) -> bool:
        if not name.endswith(suffix):
            return publish(file, name)
        setattr(File, _SYNC, lambda self: None)
        try:
            return publish(file, name)
        finally:
            setattr(File, _SYNC, sync_data)

    replace(NewFile, "publish", unsynced)


_SYNC: Final = "sync_data"


def segment_not_synced() -> None:
    """A segment is linked and its bytes are never synced."""
    _publish_without_sync(_SEGMENT)


def commit_not_synced() -> None:
    """A commit is linked and its bytes are never synced."""
    _publish_without_sync(".json")


def commit_before_segment_sync() -> None:
    """A commit is linked, and only then the segment it names is synced."""
    _publish_without_sync(_SEGMENT)
    commit = Sealer._commit

    def late(sealer: Sealer, ref: SegmentRef, *, encrypted: bool = False) -> None:
        commit(sealer, ref, encrypted=encrypted)
        for segment in sealer._catalog.view.segments[-1:]:
            file = File.open(segment.path)
            file.sync_data()
            file.close()

    replace(Sealer, "_commit", late)


def wal_dropped_before_commit() -> None:
    """A WAL file is removed once its segment is there, before the commit is."""
    write = SegmentWriter.write

    def early(writer: SegmentWriter, wal: Wal) -> SegmentRef:
        ref = write(writer, wal)
        disk.remove(wal.path)
        disk.sync_folder(os.path.dirname(wal.path))
        return ref

    replace(SegmentWriter, "write", early)


def one_wal_too_many_dropped() -> None:
    """Dropping sealed WAL files takes the one after them along."""

    def drop(sealer: Sealer) -> None:
        catalog = sealer._catalog
        folder = os.path.join(catalog.root, "wal")
        for name in disk.list_folder(folder):
            if name <= wal_name(catalog.commits.next_lsn):
                disk.remove(os.path.join(folder, name))

    replace(Sealer, "drop_covered", drop)


def durable_overstated() -> None:
    """Each frame says that everything before it is durable."""
    encode, encode_one = Wal.encode, frame.encode_one

    def more(
        wal: Wal, parts: list[bytes], records: int, written: int, kind: int = frame.DATA
    ) -> bytearray:
        with _overstated(wal):
            return encode(wal, parts, records, written, kind)

    def one_more(*fields: Any) -> bytes:
        # In the order of `encode_one`: where the frame stands, and where it says all is durable.
        position, durable = 5, 7
        said = [*fields]
        said[durable] = fields[position]
        return encode_one(*said)

    replace(Wal, "encode", more)
    replace(frame, "encode_one", one_more)


@contextlib.contextmanager
def _overstated(wal: Wal) -> Iterator[None]:
    durable, wal.durable = wal.durable, wal.tail
    try:
        yield
    finally:
        wal.durable = durable


def checksum_without_position() -> None:
    """A frame is valid wherever it lies."""
    decode = frame.decode_frame_header

    def anywhere(data: bytes, at: int, position: int, seed: int) -> FrameHeader | None:
        if len(data) - at < frame.FRAME_BYTES:
            return None
        stated = int.from_bytes(data[at + 8 : at + 16], "little")
        header = decode(data, at, stated, seed)
        return None if header is None else header._replace(position=position)

    replace(frame, "decode_frame_header", anywhere)


def checksum_ignored() -> None:
    """A frame's body is not checked."""
    replace(frame, "body_is_valid", lambda header, data, at, seed: True)


def recovery_cuts_good_frames() -> None:
    """Recovery takes the last good frame for torn as well when anything comes after it."""
    judge = recover.judge_tail

    def harsher(wal: Wal) -> Cut | None:
        cut = judge(wal)
        if cut is None or not wal.recent[1]:
            return cut
        wal.tail = wal.recent[0]
        return Cut(cut.path, wal.tail, cut.bytes + cut.position - wal.tail)

    replace(recover, "judge_tail", harsher)


def torn_taken_for_rotten() -> None:
    """A torn frame is called corrupt."""
    replace(recover, "_rotten", lambda wal, rest: "damaged bytes")


def recovery_leaves_the_tail() -> None:
    """A torn tail is seen and not cut, and the next frame goes behind it."""

    def behind(wal: Wal) -> None:
        size = wal.file.size
        wal.tail = size + -size % frame.ALIGNMENT

    replace(Wal, "cut", behind)


def batch_in_two_frames() -> None:
    """A batch of several streams is written stream by stream."""
    commit = Writer.commit

    def each(
        writer: Writer,
        groups: Sequence[Group],
        created: Sequence[StreamState] = (),
        lives: Sequence[Life] = (),
    ) -> Written:
        if created or lives or len(groups) < 2:
            return commit(writer, groups, created, lives)
        return [commit(writer, [group]) for group in groups][-1]

    replace(Writer, "commit", each)


def fates_not_written() -> None:
    """That a stream is finished or hidden is acknowledged, and in no frame."""
    replace(Staging, "_change", lambda staging, state, reason, **change: None)


def goes_on_by_the_path() -> None:
    """Where the path leads is never asked, so that a folder that went is missed as a file."""
    replace(Mark, "check", lambda mark: None)


def cursor_after_its_batch() -> None:
    """A cursor moves in a frame of its own, after that of its batch."""

    def apart(groups: Sequence[Group]) -> bool:
        return groups[-1].state.name.startswith(CURSORS_PREFIX)

    _in_two_frames(apart, lambda groups: (groups[:-1], groups[-1:]))


def merge_before_its_records() -> None:
    """A merge in a batch is written before the records it is made of."""
    _in_two_frames(_merges, lambda groups: (groups[:1], groups[1:]))


def merge_after_its_records() -> None:
    """A merge in a batch is written after the records it is made of, in a frame of its own."""
    _in_two_frames(_merges, lambda groups: (groups[1:], groups[:1]))


def _merges(groups: Sequence[Group]) -> bool:
    return groups[0].state.id == LINEAGE_ID and any(
        isinstance(decode_lineage(payload, NAMES_ID), Merge)
        for payload in groups[0].columns.payloads
    )


def _in_two_frames(
    is_cut: Callable[[Sequence[Group]], bool],
    cut: Callable[[Sequence[Group]], tuple[Sequence[Group], Sequence[Group]]],
) -> None:
    """Frames of several streams, of this kind, are written as two."""
    commit = Writer.commit

    def each(
        writer: Writer,
        groups: Sequence[Group],
        created: Sequence[StreamState] = (),
        lives: Sequence[Life] = (),
    ) -> Written:
        if lives or len(groups) < 2 or not is_cut(groups):
            return commit(writer, groups, created, lives)
        written = [
            commit(writer, part, created if part[0].state.id == LINEAGE_ID else ())
            for part in cut(groups)
        ]
        return written[-1]

    replace(Writer, "commit", each)


def retry_after_failed_sync() -> None:
    """A sync that failed is tried once more, and its second answer believed."""
    sync = File.sync_data

    def twice(file: File) -> None:
        try:
            sync(file)
        except SyncFailedError:
            sync(file)

    replace(File, _SYNC, twice)


def failed_sync_forgotten() -> None:
    """A writer goes on after a failed sync."""
    replace(Syncs, "_poison", lambda syncs, reason: None)
    replace(SingleSync, "_try", lambda single, step: step())
    replace(GroupSync, "_lead", lambda group, wal: group._sync(wal))
    replace(Writer, "fail", lambda writer, error: None)


def failed_write_believed() -> None:
    """A write refused for lack of space is taken for done."""
    write = File.write_at

    def hopeful(file: File, position: int, data: bytes | bytearray) -> None:
        try:
            write(file, position, data)
        except StorageFullError:
            return

    replace(File, "write_at", hopeful)


def short_write_believed() -> None:
    """A write that took a part of the bytes is taken for done."""

    def once(file: File, position: int, data: bytes | bytearray) -> None:
        with translated(file.path):
            os.pwrite(file._held.number, data, position)

    replace(File, "write_at", once)


def doubt_not_named() -> None:
    """After a failed sync no caller is told which records may be lost."""
    replace(syncs, "in_doubt", lambda catalog: ())


def failed_link_believed() -> None:
    """A segment that cannot be linked is committed all the same."""
    publish = NewFile.publish

    def hopeful(file: NewFile, name: str) -> bool:
        try:
            return publish(file, name)
        except TransitError:
            return True

    replace(NewFile, "publish", hopeful)


def commit_name_not_synced() -> None:
    """A commit's bytes are synced, its name is not."""

    def unnamed(folder: str, name: str, data: bytes, check_place: object) -> bool:
        file = NewFile(folder)
        file.write(data)
        file._file.sync_data()
        file.put_in_place(name)
        return True

    replace_in(commits, "put_if_absent", unnamed)


def format_before_folders() -> None:
    """FORMAT is there before it is whole: it is written under its own name."""

    def make(root: str, store_id: bytes | None = None) -> bytes:
        store_id = store_id or os.urandom(16)
        path = os.path.join(root, "FORMAT")
        file = File.create(path)
        file.write_at(0, encode_format(store_id))
        file.close()
        opening.make_folders(root)
        return store_id

    replace(opening, "make_store", make)


def scan_skips_damage() -> None:
    """A scan goes on behind a damaged frame, so that history has a hole."""
    scan = recover.scan

    def over(wal: Wal, ahead: bytes = b"") -> Iterator[ScannedFrame]:
        yield from scan(wal, ahead)
        rest = wal.file.read_at(wal.tail, wal.file.size - wal.tail)
        at = rest.find(frame.FRAME_MAGIC, 8)
        while at >= 0 and not wal.ended:
            position = wal.tail + at
            header = frame.decode_frame_header(rest, at, position, wal.seed)
            if header is not None and frame.body_is_valid(header, rest, at, wal.seed):
                wal.tail, wal.next_lsn = position, header.lsn
                yield from scan(wal)
                return
            at = rest.find(frame.FRAME_MAGIC, at + 1)

    replace(recover, "scan", over)


DISK: Final[Mapping[str, Callable[[], None]]] = {
    made.__name__: made
    for made in (
        no_wal_sync,
        acknowledge_before_sync,
        acknowledge_before_write,
        no_folder_sync,
        wal_name_not_synced,
        segment_not_synced,
        commit_not_synced,
        commit_before_segment_sync,
        wal_dropped_before_commit,
        one_wal_too_many_dropped,
        durable_overstated,
        checksum_without_position,
        checksum_ignored,
        recovery_cuts_good_frames,
        torn_taken_for_rotten,
        recovery_leaves_the_tail,
        batch_in_two_frames,
        cursor_after_its_batch,
        merge_before_its_records,
        merge_after_its_records,
        retry_after_failed_sync,
        failed_sync_forgotten,
        failed_write_believed,
        short_write_believed,
        doubt_not_named,
        failed_link_believed,
        commit_name_not_synced,
        format_before_folders,
        scan_skips_damage,
        fates_not_written,
        goes_on_by_the_path,
    )
}
