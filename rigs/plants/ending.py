"""Planted bugs of WAL files that end before they are synced (see `rigs.plants`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rigs.plants.replacing import replace
from transit.disk import remove
from transit.log.files import WalFiles
from transit.log.recover import Cut
from transit.log.rotation import Rotation
from transit.log.syncs import Syncs
from transit.log.wal import Wal


def rotation_without_sync() -> None:
    """A file that has ended is called durable, and the next sync passes it over."""
    end = Rotation._end

    def early(rotation: Rotation) -> None:
        end(rotation)
        rotation.wal.durable = rotation.wal.tail

    replace(Rotation, "_end", early)


def newest_synced_alone() -> None:
    """A sync makes its own file durable, and not those before it."""
    replace(Syncs, "_in_order", lambda syncs, step, wal: step(wal))


def header_overstated() -> None:
    """The header of each file says that all before it was durable when it was made."""
    _begin_with(lambda wal: wal._take_unsynced_from(wal.first_lsn), stated=True)


def durable_at_birth() -> None:
    """The frames of a new file say at once that it, and all files before it, are durable."""

    def begin(wal: Wal) -> None:
        wal.durable = wal.tail

    _begin_with(begin, stated=False)


def _begin_with(begin: Callable[[Wal], None], *, stated: bool) -> None:
    create = WalFiles.create

    def wrong(files: WalFiles, first_lsn: int, unsynced_from: int) -> Wal:
        wal = create(files, first_lsn, first_lsn if stated else unsynced_from)
        begin(wal)
        return wal

    replace(WalFiles, "create", wrong)


def torn_files_left() -> None:
    """Files behind the end of the log are left, where a later file that ends may meet them."""
    replace(WalFiles, "remove", lambda files, numbers: [])


def torn_files_removed_late() -> None:
    """Files behind the end of the log are removed, and nothing sees to it that they stay away."""

    def unsynced(files: WalFiles, numbers: Sequence[int]) -> list[Cut]:
        for number in numbers:
            remove(files._path(number))
        return []

    replace(WalFiles, "remove", unsynced)


def only_the_next_file_removed() -> None:
    """Of the files behind the end of the log only the first is removed."""
    remove_all = WalFiles.remove
    replace(WalFiles, "remove", lambda files, numbers: remove_all(files, numbers[:1]))


def later_file_taken_for_damage() -> None:
    """A file that did not end is called corrupt whenever there is a later one, as it was once."""
    replace(WalFiles, "vouching", lambda files, first_lsn, later: "another" if later else "")


ENDING: Final[Mapping[str, Callable[[], None]]] = {
    made.__name__: made
    for made in (
        rotation_without_sync,
        newest_synced_alone,
        header_overstated,
        durable_at_birth,
        torn_files_left,
        torn_files_removed_late,
        only_the_next_file_removed,
        later_file_taken_for_damage,
    )
}

BY_RECOVERIES: Final = ("torn_files_left", "torn_files_removed_late", "only_the_next_file_removed")
"""Those that show where power is lost once more in a recovery (`rigs.crash.test_unended`)."""
