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
from transit.format.names import Places
from transit.log.guides import put_marker, read_marker

# Of the last root of the store as it was; a store without commits has none.
_TAG: Final = re.compile(rb"rebased-([0-9a-f]{8})?")
_TAG_BYTES_MAX: Final = 64


def check_not_rebasing(root: str) -> None:
    """`StoreUnavailableError` while a rebase that was cut short waits to be finished."""
    if read_file(Places(Places(root).rebase).ready, _TAG_BYTES_MAX) is not None:
        raise StoreUnavailableError(f"{root}: a rebase was cut short; open it for writing once")


def finish_rebase(root: str) -> None:
    """Finish a rebase that is ready, remove one that is not; the caller holds LOCK alone."""
    old = Places(root)
    new = Places(old.rebase)
    ready = read_file(new.ready, _TAG_BYTES_MAX)
    if ready is not None:
        if not _TAG.fullmatch(ready):
            raise CorruptError(new.ready, expected="a rebase's tag", found=repr(ready))
        kept = Places(old.diverged(ready.decode()))
        make_folder(kept.root)
        url = read_marker(new.root)
        if url is not None:
            put_marker(root, url)
        _swap(old.commits, new.commits, kept.commits)
        _swap(old.wal, new.wal, kept.wal)
        for source, target in ((new.segments, old.segments), (new.index, old.index)):
            make_folder(target)
            for name in list_folder(source):
                move(os.path.join(source, name), os.path.join(target, name))
    remove_tree(new.root)


def _swap(path: str, new: str, kept: str) -> None:
    """`new` in the place of `path`, which becomes `kept`; done once, however often it is begun."""
    if is_folder(new):
        if not is_folder(kept):
            move(path, kept)
        move(new, path)
