"""Finding, making and locking a store's folder.

FORMAT        what this folder is; written last when a store is made
LOCK          held by every writing process: alone in mode "exclusive", together in "shared"
LOCK.append   in mode "shared": held for each write
LOCK.seal     in mode "shared": held while sealing
"""

from __future__ import annotations

import contextlib
import os
from typing import Final
from weakref import WeakSet

from transit.config import MODES, Mode, Settings
from transit.disk import (
    check_platform,
    is_folder,
    leads_to_folder,
    list_folder,
    make_folder,
    put_if_absent,
    read_file,
    remove_temporary,
    sync_folder,
)
from transit.errors import InvalidInputError, LockedError, NotFoundError, StoreMovedError
from transit.format.commit import FORMAT_BYTES_MAX, decode_format, encode_format
from transit.format.names import (
    APPEND_LOCK_FILE,
    CACHE_DIR,
    COMMIT_DIR,
    FORMAT_FILE,
    INDEX_DIR,
    LOCK_FILE,
    REMOTE_FILE,
    SEAL_LOCK_FILE,
    SEGMENT_DIR,
    WAL_DIR,
    Places,
)
from transit.locks import Lock
from transit.store.addresses import absolute, address_folder

# What an interrupted creation may leave.
_OURS: Final = (WAL_DIR, SEGMENT_DIR, COMMIT_DIR, LOCK_FILE, APPEND_LOCK_FILE, SEAL_LOCK_FILE)
# Folders that were put in the place of one another while they were opened, before we give up.
_TRIES: Final = 20
# Of the longest name below the folder, also of the one a rebase makes; its temporary name too.
_ROOM_BYTES: Final = 128
# And what an interrupted restore may.
_RESTORED: Final = {
    LOCK_FILE, COMMIT_DIR, SEGMENT_DIR, WAL_DIR, INDEX_DIR, CACHE_DIR, REMOTE_FILE,
}  # fmt: skip
# What this process holds, to tell its own handles from those of others.
_taken: WeakSet[Lock] = WeakSet()


class Locks:
    """The locks a writing process holds or takes; `append` and `seal` only in mode "shared"."""

    def __init__(self, root: str, mode: Mode, settings: Settings) -> None:
        self.append: Lock | None = None
        self.seal: Lock | None = None
        self._presence = _take(root, mode, settings)
        try:
            if mode == "shared":
                self.append = Lock(Places(root).append_lock, self._presence)
                self.seal = Lock(Places(root).seal_lock, self._presence)
            self._presence.sign()
        except BaseException:
            self.close()
            raise

    def check_place(self) -> None:
        """`StoreMovedError` when the folder these locks are in is not at its path any more."""
        self._presence.check()

    def close(self) -> None:
        """Let go of all of them."""
        for lock in (self.append, self.seal, self._presence):
            if lock is not None:
                lock.close()

    def __del__(self) -> None:
        # An opening that is interrupted may never get hold of these.
        with contextlib.suppress(AttributeError):
            self.close()


def _take(root: str, mode: Mode, settings: Settings) -> Lock:
    """LOCK, held: alone, or in mode "shared" together with others."""
    for _ in range(_TRIES):
        lock = Lock(Places(root).lock)
        try:
            _acquire(lock, root, mode, settings)
            lock.check()
        except StoreMovedError:
            # Meanwhile another file has taken the place of the one that was waited for.
            lock.close()
            continue
        except BaseException:
            lock.close()
            raise
        _taken.add(lock)
        return lock
    raise StoreMovedError(f"{root}: its {LOCK_FILE} is replaced again and again; try again")


def _acquire(lock: Lock, root: str, mode: Mode, settings: Settings) -> None:
    shared = mode == "shared"
    if lock.try_acquire(shared=shared):
        return
    if any(other.is_held_with(lock) for other in list(_taken)):
        # Only this process itself can end the wait.
        raise LockedError(
            f"{root}: this process has it open already: use that Log, or close it first (one that "
            "was forgotten is closed when it is collected). Several "
            'handles at once need mode="shared"; to read, mode="read" is enough',
            pid=os.getpid(),
        )
    timeout_s = max(settings.open_timeout_s, settings.lock_timeout_s if shared else 0.0)
    try:
        lock.acquire(shared=shared, timeout_s=timeout_s)
    except LockedError as error:
        raise LockedError(
            f"{root}: held by {lock.holder_described()}: wait until it has closed the store, or "
            'end it. To write together, all open it in mode="shared"; to read, mode="read" is '
            "enough. Removing LOCK helps nobody: it is not the file that keeps others out",
            pid=error.pid,
        ) from None


def check_mode(mode: str) -> Mode:
    """`mode` when it is one; otherwise `InvalidInputError`."""
    if mode not in MODES:
        raise InvalidInputError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    return mode


def folder_of(path: str | os.PathLike[str]) -> str:
    """The absolute path of a store's folder."""
    check_platform()
    folder = address_folder(path)
    if folder is None:
        raise InvalidInputError(f"{path}: is an address; a folder is wanted here")
    found = absolute(folder)
    room = os.pathconf("/", "PC_PATH_MAX") - _ROOM_BYTES
    if len(os.fsencode(found)) > room:
        # What can be made here could not be sealed: names of segments are longer.
        raise InvalidInputError(
            f"{found[:40]}…: too long for a store's folder, which has at most {room} bytes"
        )
    return found


def read_store_id(root: str) -> bytes | None:
    """The id of the store at `root`; None when there is no store, but one could be made.

    `InvalidInputError` when something else is there, `UnsupportedVersionError` for a newer format.
    """
    if not is_folder(root):
        return None
    path = Places(root).format
    data = read_file(path, FORMAT_BYTES_MAX)
    if data is not None:
        return decode_format(data, path)
    # FORMAT is linked last, so an interrupted creation leaves empty folders and locks at most.
    strangers = [name for name in list_folder(root) if name not in _OURS and not _is_left(name)]
    for folder in Places(root).needed:
        strangers += [name for name in list_folder(folder) if not _is_left(name)]
    if strangers and _is_cut_restore(root):
        raise InvalidInputError(
            f"{root}: a restore was cut short here; run it again with the same remote and path, and"
            " it goes on where it stopped"
        )
    if strangers:
        raise InvalidInputError(f"{root}: not a store: no FORMAT file, but {strangers[0]!r}")
    return None


def _is_cut_restore(root: str) -> bool:
    """Whether a folder without FORMAT has what a restore makes before it, and nothing else."""
    names = {name for name in list_folder(root) if not _is_left(name)}
    places = Places(root)
    return LOCK_FILE in names and names <= _RESTORED and not list_folder(places.wal)


def existing_store_id(root: str) -> bytes:
    """The id of the store at `root`; `NotFoundError` when there is none."""
    store_id = read_store_id(root)
    if store_id is None:
        raise NotFoundError(f"{root}: there is no store here")
    return store_id


def make_store(root: str, store_id: bytes | None = None) -> bytes:
    """Make folder `root` a store, unless another process just did; its id.

    store_id: None for a new one.
    """
    make_folders(root)
    store_id = store_id or os.urandom(16)
    if put_if_absent(root, FORMAT_FILE, encode_format(store_id)):
        return store_id
    return existing_store_id(root)


def make_folders(root: str) -> None:
    """Make the folders a store has."""
    for folder in Places(root).needed:
        make_folder(folder)


def tidy_up(root: str) -> None:
    """Drop what interrupted writers left; only while no other process writes."""
    places = Places(root)
    rooms = map(places.room, list_folder(places.rooms))
    more = filter(leads_to_folder, (places.redacted, *rooms))
    for folder in (root, *places.needed, *places.derived, *more):
        remove_temporary(folder)


def sync_names(root: str) -> None:
    """Make the names that are seen durable: a killed writer may have linked and not yet synced."""
    for folder in (os.path.dirname(root), root, *Places(root).needed):
        sync_folder(folder)


def _is_left(name: str) -> bool:
    return name.endswith(".temporary")
