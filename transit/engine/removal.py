"""The side of a store that lets records go: what is asked of it, checked."""

from __future__ import annotations

from collections.abc import Callable

from transit.engine.collecting import Garbage, collect
from transit.engine.deleting import Deletion, delete, wish, would_delete
from transit.engine.erasing import Erased, erase
from transit.engine.finding import state_of
from transit.engine.retaining import Due, retain
from transit.engine.stream import Stream
from transit.handle.handle import Handle
from transit.opened import Opened
from transit.tier.progress import Progress


class Removal(Opened):
    """What `Log` has for records that are to go."""

    _handle: Handle

    def delete(
        self,
        stream: Stream | str,
        *,
        reason: str,
        basis: str = "owner",
        dry_run: bool = False,
        cascade: bool = False,
        expect: int | None = None,
        writer: str = "",
        durability: str | None = None,
    ) -> Deletion:
        """Delete a stream: its records are gone for readers, and nothing can be made from it.

        It is finished and hidden, and its name is free. With it go its cursors, and what rooms
        above keep about it alone. Its name and metadata stay, in the lineage. The bytes of the
        records go with `Log.erase`.
        reason: kept with it. basis: "owner", "gdpr-17", "retention" or "court"; "gdpr-17" and
        "court" go before how long it was to be kept (`Stream.retain`), nothing before a hold.
        dry_run: write nothing, and say what would go and what is in the way. cascade: delete what
        needs its records too, children first, in the same frame. expect: its next offset. writer:
        on whose behalf, as `Log.batch` takes it.
        Raises `DependentsError` while branches or merges that are not deleted need its records,
        hidden ones too, and `RetainedError`. Deleted already, nothing is written.
        """
        wanted, state = wish(reason, basis, writer), state_of(self._handle, stream)
        if dry_run:
            return would_delete(self._handle, state, wanted, cascade=cascade)
        return delete(self._handle, state, wanted, expect, durability, cascade=cascade)

    def retain(self, *, dry_run: bool = False, durability: str | None = None) -> tuple[Due, ...]:
        """Let go what the limits of streams (`Stream.retain`) let go, the oldest first.

        Records that have expired, or are over a limit, are trimmed; a stream that is finished and
        of which every record has expired is deleted. Times are those at which records were written.
        What somebody needs, holds or must keep stays: `Due.refused` says why. dry_run: write
        nothing. `erase` frees the bytes.
        """
        return retain(self._handle, dry_run=dry_run, durability=durability)

    def erase(
        self,
        progress: Callable[[Progress], None] | None = None,
        *,
        bypass_governance: bool = False,
    ) -> Erased:
        """Free the bytes of all that was deleted or trimmed, in the folder and in the remote.

        Seals and publishes first. Every version of an object in the remote goes, as far as its
        locks and the rights allow; what stays is hidden, and counted (`kept`, `until`). Caches,
        `rooms/`, `diverged/` and segments that no commit names go with it. Other copies of the
        store, and other machines' caches, are out of reach: erase them too.
        bypass_governance: also what is locked in governance mode, with the right to do so.
        Interrupted, it goes on when it is called again. Only in mode "exclusive". Raises
        `RetentionGapError` when segments are in a remote that is not attached, `FencedError`,
        `RemoteUnavailableError`, `StorePermissionError`, `CorruptError` when what is to be
        redacted is damaged: nothing of that segment is removed then.
        """
        return erase(self._handle, progress, bypass_governance=bypass_governance)

    def gc(self, *, dry_run: bool = True, bypass_governance: bool = False) -> tuple[Garbage, ...]:
        """What the store does not need, in the folder and in the remote; removed unless `dry_run`.

        "segment" and "redacted": files and objects that no commit names. "snapshot": those that no
        commit names, and, in the folder, those that newer ones replace, where a remote has them.
        "diverged": folders that `rebase_onto_remote` left, with segments that only they name.
        Publishes first. Only in mode "exclusive".
        """
        return collect(self._handle, dry_run=dry_run, bypass_governance=bypass_governance)
