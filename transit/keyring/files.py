"""A keyring's file on disk, the lock beside it, and key files.

Owns that the file is replaced whole: whoever reads it, and whatever a crash leaves, it is the old
one or the new one. Writers hold `<path>.lock`, so `<path>.temporary` is theirs alone. Nobody but
the owner may read what is made here.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from secrets import token_bytes
from typing import Final

from transit import disk
from transit.errors import AlreadyExistsError, KeyringError, NotFoundError, StoreUnavailableError
from transit.locks import Lock, Version

PRIVATE: Final = 0o600
LOCK_SUFFIX: Final = ".lock"
TEMPORARY_SUFFIX: Final = ".temporary"
LOCK_TIMEOUT_S: Final = 60.0
_KEY_FILE_BYTES: Final = 32
_KEY_FILE_BYTES_MAX: Final = 4096
_DIGITS: Final = re.compile(rb"[0-9a-fA-F]{64}")
_TRIES: Final = 1000


def real_path(path: str | os.PathLike[str]) -> str:
    """The file that a path leads to: a link to a keyring stays a link when that is replaced."""
    return os.path.realpath(os.fspath(path))


@contextmanager
def locked(path: str, note: Callable[[Lock | None], None]) -> Iterator[None]:
    """Hold the lock of the keyring at `path` for a block. Raises `LockedError`.

    note: told the lock while it is held: a child made by fork must close its copy.
    """
    beside = path + LOCK_SUFFIX
    with contextlib.suppress(AlreadyExistsError):
        disk.File.create(beside, PRIVATE).close()
    lock = Lock(beside)
    try:
        note(lock)
        lock.acquire(timeout_s=LOCK_TIMEOUT_S)
        lock.sign()
        yield
    finally:
        lock.close()
        note(None)


def read(path: str, bytes_max: int) -> tuple[Version, bytes]:
    """The file's bytes, up to one more than `bytes_max`, and what tells when it is another.

    `NotFoundError` when there is none.
    """
    for _ in range(_TRIES):
        disk.check_regular(path)
        seen = Version(path)
        data = disk.read_file(path, bytes_max)
        if data is not None and seen.is_there():
            return seen, data
        # It was replaced meanwhile.
    raise StoreUnavailableError(f"{path}: is replaced faster than it can be read")


def replace(path: str, data: bytes) -> None:
    """Put `data` in place of the file, whole and synced; only for who holds the lock."""
    with _new_file(path, data) as (file, name):
        file.replace(name)


def put_new(path: str, data: bytes) -> None:
    """Make the file, whole and synced; `AlreadyExistsError`. Only for who holds the lock."""
    with _new_file(path, data) as (file, name):
        if not file.publish(name):
            raise AlreadyExistsError(f"{path}: it is there already, and stays as it is")


def make_durable(path: str) -> None:
    """Make the name of a file survive a loss of power; its bytes are synced before it has it."""
    disk.sync_folder(os.path.dirname(path))


@contextmanager
def _new_file(path: str, data: bytes) -> Iterator[tuple[disk.NewFile, str]]:
    folder, name = os.path.split(path)
    # What a writer left that was killed.
    disk.remove(path + TEMPORARY_SUFFIX)
    file = disk.NewFile(folder, temporary=name, mode=PRIVATE)
    try:
        file.write(data)
        yield file, name
    finally:
        file.discard()


def new_key_file(path: str | os.PathLike[str]) -> str:
    """Make a key file, synced, that only its owner reads; its path. `AlreadyExistsError`."""
    place = os.path.abspath(os.fspath(path))
    file = disk.File.create(place, PRIVATE)
    try:
        with file:
            file.write_at(0, token_bytes(_KEY_FILE_BYTES).hex().encode() + b"\n")
            file.sync_data()
        make_durable(place)
    except BaseException:
        disk.remove(place)
        raise
    return place


def read_key_file(path: str) -> bytes:
    """The 32 bytes of a key file; `KeyringError` when others may read it, or it is none."""
    try:
        mode = disk.check_regular(path)
        data = disk.read_file(path, _KEY_FILE_BYTES_MAX) or b""
    except NotFoundError:
        raise NotFoundError(f"{path}: there is no such key file") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyringError(
            f"{path}: others may read this key file (mode {mode:04o}): `chmod 600 {path}`"
        )
    if len(data) == _KEY_FILE_BYTES:
        return data
    digits = data.strip()
    if _DIGITS.fullmatch(digits):
        return bytes.fromhex(digits.decode("ascii"))
    raise KeyringError(f"{path}: a key file has 32 bytes, or 64 hex digits; this has neither")
