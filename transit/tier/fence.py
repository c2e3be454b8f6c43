"""The commit of a takeover, put in the remote: from then on the writer before is fenced off.

Owns the order of its two objects, as publishing does: the segment is there, whole, before its
commit is created by put-if-absent. The number has one winner, so this either becomes the next
commit of the history that was brought, or nothing.
"""

from __future__ import annotations

from transit.disk import read_file
from transit.errors import CorruptError
from transit.log.catalog import Catalog
from transit.log.takeover import SealedTakeover
from transit.tier.remote import TRIES, Remote, commit_key, segment_key


def create_takeover(remote: Remote, catalog: Catalog, sealed: SealedTakeover) -> bytes | None:
    """Bring a takeover to the remote; None when it won its number, otherwise the bytes there.

    Won, its commit is taken up in the folder. Raises `OutcomeUnknownError` when it cannot be told
    who won, `RemoteUnavailableError`, `StorePermissionError`.
    """
    _bring(remote, catalog, sealed)
    found = remote.create_commit(sealed.number, sealed.data)
    if found is None:
        catalog.commits.adopt(sealed.data, remote.place(commit_key(sealed.number)))
        catalog.load_commits()
    return found


def _bring(remote: Remote, catalog: Catalog, sealed: SealedTakeover) -> None:
    """Put the segment, and read it back where the store takes damaged uploads."""
    ref, key = sealed.ref, segment_key(sealed.ref.digest)
    path = catalog.places.segment(ref.digest)
    data = read_file(path, ref.bytes)
    if data is None:
        raise CorruptError(path, expected=f"{ref.bytes} bytes", found="no file")
    for _ in range(TRIES):
        remote.store.put(key, data)
        if remote.store.refuses_damage or remote.store.get(key, ref.bytes) == data:
            return
    raise CorruptError(remote.place(key), expected=ref.digest, found="other bytes")
