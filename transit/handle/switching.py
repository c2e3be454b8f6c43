"""Putting a rebased store in the place of the one that was fenced off.

    state of the folder      what an opening for writing does
    -----------------------  ------------------------------------------------------------------
    rebase/ without READY    removes it: nothing has changed
    rebase/READY             moves what is not moved yet: commits/ and wal/ to diverged/<tag>/,
                             those of rebase/ in their place, its segments beside the others; then
                             removes rebase/

Owns these moves. Each is one rename, and what is done tells what is left to do, so that they can
be begun again after a crash at any point. READY holds the tag.
"""

from __future__ import annotations

import os
import re
from typing import Final

from transit.disk import is_folder, list_folder, make_folder, move, read_file, remove_tree
from transit.errors import CorruptError, StoreUnavailableError
from transit.format.names import COMMIT_DIR, INDEX_DIR, SEGMENT_DIR, WAL_DIR
from transit.log.guides import put_marker, read_marker

REBASE_DIR: Final = "rebase"
DIVERGED_DIR: Final = "diverged"
READY_FILE: Final = "READY"
# Of the last root of the store as it was; a store without commits has none.
_TAG: Final = re.compile(rb"rebased-([0-9a-f]{8})?")
_TAG_BYTES_MAX: Final = 64


def check_not_rebasing(root: str) -> None:
    """`StoreUnavailableError` while a rebase that was cut short waits to be finished."""
    if read_file(os.path.join(root, REBASE_DIR, READY_FILE), _TAG_BYTES_MAX) is not None:
        raise StoreUnavailableError(f"{root}: a rebase was cut short; open it for writing once")


def finish_rebase(root: str) -> None:
    """Finish a rebase that is ready, remove one that is not; for the one who may write."""
    place = os.path.join(root, REBASE_DIR)
    ready = read_file(os.path.join(place, READY_FILE), _TAG_BYTES_MAX)
    if ready is not None:
        if not _TAG.fullmatch(ready):
            raise CorruptError(
                os.path.join(place, READY_FILE), expected="a rebase's tag", found=repr(ready)
            )
        kept = os.path.join(root, DIVERGED_DIR, ready.decode())
        make_folder(kept)
        url = read_marker(place)
        if url is not None:
            put_marker(root, url)
        for name in (COMMIT_DIR, WAL_DIR):
            _swap(os.path.join(root, name), os.path.join(place, name), os.path.join(kept, name))
        for name in (SEGMENT_DIR, INDEX_DIR):
            make_folder(os.path.join(root, name))
            for file in list_folder(os.path.join(place, name)):
                move(os.path.join(place, name, file), os.path.join(root, name, file))
    remove_tree(place)


def _swap(path: str, new: str, kept: str) -> None:
    """`new` in the place of `path`, which becomes `kept`; done once, however often it is begun."""
    if is_folder(new):
        if not is_folder(kept):
            move(path, kept)
        move(new, path)
