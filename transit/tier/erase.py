"""What is left of segments, brought to the remote, and the originals freed there.

Owns the order of one segment: what is left is there, verified, before the first version of the
original goes. So whatever a crash leaves, every chunk that stays is in the remote.
"""

from __future__ import annotations

from transit.disk import leads_to_folder, remove_temporary, sync_folder
from transit.errors import CorruptError
from transit.format.digest import digest
from transit.format.names import REDACTED_DIR, SEGMENT_DIR
from transit.store import folder_of_store
from transit.store.versions import Freed, free
from transit.tier.remote import TRIES, Remote, redacted_key, segment_key


def put_left(remote: Remote, name: str, data: bytes) -> None:
    """Bring what is left of segment `name`, in place of what may be there."""
    key = redacted_key(name)
    if _has(remote, key, data):
        return
    for _ in range(TRIES):
        remote.store.put(key, data)
        if _has(remote, key, data):
            return
    raise CorruptError(remote.place(key), expected=digest(data).hex(), found="other bytes")


def _has(remote: Remote, key: str, data: bytes) -> bool:
    if remote.store.size(key) != len(data):
        return False
    return remote.store.get(key, len(data)) == data


def free_original(remote: Remote, name: str, *, bypass_governance: bool) -> Freed:
    """Free the original of segment `name`, and what was left of it before, in all versions."""
    store = remote.store
    gone = free(store, segment_key(name), bypass_governance=bypass_governance)
    older = free(store, redacted_key(name), bypass_governance=bypass_governance, all_of_it=False)
    return gone.plus(older)


def drop_unfinished(remote: Remote) -> None:
    """Of a remote in a folder: drop what a publisher that was killed left half made.

    Only for the one writer of the store: of others nothing may be in the making there.
    """
    folder = folder_of_store(remote.store)
    for name in (SEGMENT_DIR, REDACTED_DIR) if folder is not None else ():
        path = f"{folder}/{name}"
        if leads_to_folder(path):
            remove_temporary(path)
            sync_folder(path)
