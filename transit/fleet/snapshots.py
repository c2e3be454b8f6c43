"""Snapshots: the block tables of all stores in one object, so that a plan asks no store.

    snapshots/<number, 20 digits>.bin   zlib of msgpack: a `Snapshot`; made by put-if-absent

Derived: each says what stores said when it was made, and all can be deleted. The newest is the one
with the highest number that is listed; an older one is as right, of an earlier cut.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

import msgspec

from transit import (
    AlreadyExistsError,
    CorruptError,
    InvalidInputError,
    ObjectStore,
    RemoteUnavailableError,
    UnsupportedVersionError,
)
from transit.fleet.cuts import Cut
from transit.fleet.members import Member
from transit.fleet.tables import StoreTable

SNAPSHOTS: Final = "snapshots/"
SNAPSHOT_BYTES_MAX: Final = 1 << 30
KEPT: Final = 3
"""Snapshots that stay when another was made: readers may be at an older one."""
_NAME: Final = re.compile(r"snapshots/([0-9]{20})\.bin")
_VERSION: Final = 1


class Snapshot(msgspec.Struct, frozen=True):
    """What all stores of a fleet had published, and in which blocks.

    number: later ones have higher ones. at: when it was made, UTC nanoseconds. missing: stores that
    could not be read, and why.
    """

    number: int
    at: int
    members: tuple[Member, ...]
    tables: tuple[StoreTable, ...]
    missing: dict[str, str]
    version: int = _VERSION

    @property
    def cut(self) -> Cut:
        """Which root each store had."""
        return Cut({table.store: table.head for table in self.tables}, self.missing)


def newest(store: ObjectStore) -> Snapshot | None:
    """The newest snapshot that can be read; None where there is none."""
    for number in sorted(numbers(store), reverse=True):
        try:
            found = _read(store, number)
        except CorruptError:
            # All of it can be made again: an older one does.
            continue
        # One that another process removes meanwhile was followed by a newer one.
        if found is not None:
            return found
    return None


def numbers(store: ObjectStore) -> list[int]:
    """The numbers of the snapshots that are listed."""
    found = (_NAME.fullmatch(key) for key, _ in store.list(SNAPSHOTS))
    return [int(each[1]) for each in found if each is not None]


def write(store: ObjectStore, snapshot: Snapshot) -> bool:
    """Write a snapshot, and remove old ones; False where another has its number.

    `InvalidInputError` for one that is larger than readers take.
    """
    plain = msgspec.msgpack.encode(snapshot)
    if len(plain) > SNAPSHOT_BYTES_MAX:
        raise InvalidInputError(f"a snapshot of {len(plain)} bytes, which nobody would read")
    data = zlib.compress(plain, 1)
    key = _key(snapshot.number)
    try:
        store.create(key, data)
    except (AlreadyExistsError, RemoteUnavailableError) as error:
        # It may be this very write, whose answer was lost.
        if store.get(key, SNAPSHOT_BYTES_MAX) != data:
            if isinstance(error, AlreadyExistsError):
                return False
            raise
    for number in sorted(numbers(store))[:-KEPT]:
        store.delete(_key(number))
    return True


def _key(number: int) -> str:
    return f"{SNAPSHOTS}{number:020}.bin"


def _read(store: ObjectStore, number: int) -> Snapshot | None:
    key = _key(number)
    data = store.get(key, SNAPSHOT_BYTES_MAX)
    if data is None:
        return None
    place = f"{store.url}/{key}"
    try:
        # What it unpacks to is bounded before memory is taken for it.
        unpacked = zlib.decompressobj().decompress(data, SNAPSHOT_BYTES_MAX)
        found = msgspec.msgpack.decode(unpacked, type=Snapshot)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptError(place, expected="a snapshot of a fleet", found=str(error)) from None
    if found.version != _VERSION:
        raise UnsupportedVersionError(place, found=found.version, supported=_VERSION)
    if found.number != number:
        raise CorruptError(place, expected=f"snapshot {number}", found=f"snapshot {found.number}")
    return found
