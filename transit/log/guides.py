"""Segments that are not in the store's folder: where their guides are, and why not their blocks.

Owns the file REMOTE, which says that some segments may live only in a remote, and the guides found
in the folder's index snapshots.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from transit.disk import list_folder, put_if_absent, read_file
from transit.errors import CorruptError, FormatError, RetentionGapError, TransitError
from transit.format.commit import SegmentRef
from transit.format.digest import digest
from transit.format.names import REMOTE_FILE, Places, parse_index_name
from transit.format.segment import Footer
from transit.format.snapshot import SNAPSHOT_BYTES_MAX, Snapshot, decode_snapshot
from transit.guards import leaf
from transit.log.commits import nowhere_else
from transit.log.segments import Guide

_URL_BYTES_MAX: Final = 4096


class GuideShelf:
    """The guides in the snapshots of one folder, looked for once. Safe for threads."""

    def __init__(self, root: str, store_id: bytes) -> None:
        self._folder = Places(root).index
        self._store_id = store_id
        self._guides: dict[str, Guide] = {}
        self._loaded = False
        self._lock = threading.Lock()

    def find(self, ref: SegmentRef) -> Guide | None:
        """The guide of a segment, if a snapshot has it."""
        return leaf(self._lock, partial(self._find, ref))

    def _find(self, ref: SegmentRef) -> Guide | None:
        if not self._loaded:
            self._load()
            self._loaded = True
        return self._guides.get(ref.digest)

    def add(self, snapshot: Snapshot) -> None:
        """Take up the guides in a snapshot that came from elsewhere."""
        leaf(self._lock, partial(self._take, snapshot))

    def _take(self, snapshot: Snapshot) -> None:
        for entry in snapshot.segments:
            self._guides[entry.ref.digest] = Guide(entry.footer, entry.index)

    def _load(self) -> None:
        for name in list_folder(self._folder):
            found = parse_index_name(name)
            place = os.path.join(self._folder, name)
            data = read_file(place, SNAPSHOT_BYTES_MAX) if found else None
            if data is not None and digest(data) == found:
                # Nothing depends on a snapshot: a damaged one is left out.
                with contextlib.suppress(FormatError):
                    self._take(decode_snapshot(data, self._store_id, place))


class NotHere:
    """What a store without a remote knows of segments that are not in its folder.

    Where the file REMOTE says that some live in a remote, their guides may be here; their blocks
    are out of reach. Without that file a segment that is not here is missing.
    """

    def __init__(
        self, root: str, store_id: bytes, check_place: Callable[[], None] = nowhere_else
    ) -> None:
        self._root = root
        self._check_place = check_place
        self._shelf = GuideShelf(root, store_id)

    def _gone(self, ref: SegmentRef) -> TransitError:
        path = Places(self._root).segment(ref.digest)
        self._check_place()
        url = read_marker(self._root)
        if url is None:
            return CorruptError(path, expected=f"{ref.bytes} bytes", found="no file")
        return RetentionGapError(f"{path}: only in the remote; open with remote={url!r}")

    def check(self, ref: SegmentRef) -> None:
        """See `Elsewhere.check`."""
        if read_marker(self._root) is None:
            raise self._gone(ref)

    def guide(self, ref: SegmentRef) -> Guide:
        """See `Elsewhere.guide`."""
        self.check(ref)
        guide = self._shelf.find(ref)
        if guide is None:
            raise self._gone(ref)
        return guide

    def stored(self, ref: SegmentRef, footer: Footer, number: int) -> bytes:
        """See `Elsewhere.stored`."""
        raise self._gone(ref)

    def read(self, ref: SegmentRef, position: int, size: int) -> bytes:
        """See `Elsewhere.read`."""
        raise self._gone(ref)

    def redacted(self, ref: SegmentRef) -> None:
        """See `Elsewhere.redacted`."""


def read_marker(root: str) -> str | None:
    """The address of the remote in which some segments live; None while all are in the folder."""
    data = read_file(Places(root).marker, _URL_BYTES_MAX)
    return None if data is None else data.decode(errors="replace")


def put_marker(root: str, url: str) -> None:
    """Note, durably, that segments of the store may live only in the remote at `url`.

    The note is for people and error messages: nothing is read from an address found there.
    """
    put_if_absent(root, REMOTE_FILE, url.encode())
