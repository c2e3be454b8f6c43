"""Whether a store and its remote are two places. A copy in the same place is no copy.

Owns the refusal. Places are told apart by device and inode, whatever their spelling: neither the
store's folder nor one in it may be the remote's, lie inside it, or hold it. A remote whose object
store names no folder of this machine (`folder`) is asked, before files are dropped, for a file that
only the store's own folder has.
"""

from __future__ import annotations

from collections.abc import Sequence

from transit.disk import is_within
from transit.errors import InvalidInputError, UnsuitableRemoteError
from transit.format.names import COMMIT_DIR, SEGMENT_DIR, WAL_DIR, Places, wal_name
from transit.store import ObjectStore, folder_of_store, server_of_store


def check_apart(root: str, store: ObjectStore) -> None:
    """`UnsuitableRemoteError` when the remote is the store's folder, in it, or around it."""
    folder = folder_of_store(store)
    if folder is None:
        return
    places = Places(root)
    # A mount may show one of the folders inside, away from the folder itself.
    own = (root, places.wal, places.segments, places.commits)
    if any(is_within(folder, each) for each in own) or is_within(root, folder):
        raise _same(root, store)
    for name in (WAL_DIR, SEGMENT_DIR, COMMIT_DIR):
        if is_within(root, f"{folder}/{name}"):
            raise _same(root, store)


def check_not_served(root: str, store: ObjectStore, first_lsn: int) -> None:
    """As `check_apart`, at the price of a request, for a remote that serves the store's folder.

    first_lsn: of a WAL file of the store. No remote has WAL files.
    """
    check_apart(root, store)
    if store.size(f"{WAL_DIR}/{wal_name(first_lsn)}") is not None:
        raise _same(root, store)


def check_distinct(stores: Sequence[ObjectStore]) -> None:
    """`InvalidInputError` when two of these remotes are one place, or one is inside another."""
    for number, second in enumerate(stores):
        for first in stores[:number]:
            if _overlap(first, second):
                raise InvalidInputError(
                    f"{second.url}: is where {first.url} is, or one is inside the other; "
                    "each needs a place of its own"
                )


def _overlap(first: ObjectStore, second: ObjectStore) -> bool:
    """Whether two remotes are one place, or one is below the other, as far as is known.

    Two servers may each have a bucket of that name.
    """
    folders = folder_of_store(first), folder_of_store(second)
    if folders[0] is not None and folders[1] is not None:
        return is_within(folders[0], folders[1]) or is_within(folders[1], folders[0])
    one, other = (f"{store.url.rstrip('/')}/" for store in (first, second))
    servers = server_of_store(first), server_of_store(second)
    is_apart = all(servers) and servers[0] != servers[1]
    return not is_apart and (one.startswith(other) or other.startswith(one))


def _same(root: str, store: ObjectStore) -> UnsuitableRemoteError:
    return UnsuitableRemoteError(
        f"{store.url}: is the folder of a store, {root}, or one is inside the other: what is "
        "published there would have no second copy; give remote= a place of its own"
    )
