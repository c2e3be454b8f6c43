"""The commits of a long chain, up to 256 in one request.

Owns reading commits out of the bundles that stand behind a remote's checkpoint. A bundle is never
believed. Its commits must follow one another from the commit before, each with the root of the last
one in it, and the last of them must be, byte for byte, the one at its own key: then they are those
that the chain there was made of. Whatever does not fit, is damaged or is gone ends it, and commits
are asked for one by one, as without bundles.
"""

from __future__ import annotations

from typing import Final

from transit.errors import CorruptError, FormatError, ProofError, SplitViewError
from transit.format.commit import Commit, decode_commit, root_of
from transit.log.commits import CommitChain
from transit.log.remembered import Remembered
from transit.proof.checkpoint import Checkpoint
from transit.proof.notes import parse_note
from transit.proof.tiles import TILE_WIDTH
from transit.tier.checkpoints import RemoteCheckpoints
from transit.tier.pools import at_once
from transit.tier.remote import Remote, commit_key

# Bundles in memory at once: 64 MiB if every commit had the largest size, and 1 MiB as they are.
_BUNDLES: Final = 4
# Fewer commits than these are not worth asking for the checkpoint.
FEW: Final = 3
# A chain of fewer is read commit by commit: then damage to each object is met.
LONG: Final = 64


def check_ahead(remote: Remote, chain: CommitChain, kept: Remembered) -> None:
    """`SplitViewError` unless `chain`, with what the remote has after its end, extends `kept`.

    Nothing is written, and the chain stays where it is.
    """
    if chain.count >= kept.size:
        kept.check_chain(chain, remote.url)
        return
    chain, bundles = chain.copy(), BundledCommits(remote)
    while chain.count < kept.size:
        found = bundles.after(chain.count, chain.root, kept.size)
        if not found:
            single = remote.checked_commit(chain.count)
            found = [] if single is None else [single]
        if not found:
            break
        try:
            for data, commit in found:
                chain.follow(data, remote.place(commit_key(commit.number)))
        except CorruptError as error:
            raise SplitViewError(
                f"{remote.url}: the remembered checkpoint covers {kept.size} commits, and commit "
                f"{chain.count} there does not follow from those before it"
            ) from error
    kept.check_count(chain.count, remote.url)
    kept.check_root(chain.tree.root(), chain.count, remote.url)


class BundledCommits:
    """The bundles of one remote, for one walk along its chain. Not safe for threads."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._checkpoints = RemoteCheckpoints(remote)
        # How many commits are in bundles; None before it was asked.
        self._size: int | None = None

    def after(self, count: int, root: str, stop: int | None = None) -> list[tuple[bytes, Commit]]:
        """Commits from `count` on, as many as are read at once; [] where they come one by one.

        root: of commit `count - 1`, which they follow. stop: none from this number on.
        """
        if count < FEW:
            return []
        if self._size is None:
            self._size = self._covered()
        if self._size < LONG:
            return []
        end = self._size if stop is None else min(self._size, stop)
        end = min(end, (count // TILE_WIDTH + _BUNDLES) * TILE_WIDTH)
        if end - count < FEW:
            return []
        found = self._linked(count, root, end)
        if not found:
            self._size = 0
        return found

    def _covered(self) -> int:
        """The size of the newest checkpoint; nothing of it is believed but where bundles may be."""
        try:
            note = self._checkpoints.newest()
            return 0 if note is None else Checkpoint.parse(parse_note(note).text).size
        except (ProofError, FormatError):
            return 0

    def _linked(self, count: int, root: str, end: int) -> list[tuple[bytes, Commit]]:
        starts = [count, *range((count // TILE_WIDTH + 1) * TILE_WIDTH, end, TILE_WIDTH)]
        parts = at_once(
            self._entries,
            list(zip(starts, [*starts[1:], end], strict=True)),
            self._remote.settings.transfers_max,
        )
        found: list[tuple[bytes, Commit]] = []
        for number, data in enumerate((each for part in parts for each in part), count):
            try:
                commit = decode_commit(data, self._remote.place(commit_key(number)))
            except FormatError:
                return []
            if (commit.number, commit.previous) != (number, root):
                return []
            root = root_of(data)
            found.append((data, commit))
        if len(found) != end - count or not self._remote.has_commit(end - 1, found[-1][0]):
            return []
        return found

    def _entries(self, part: tuple[int, int]) -> list[bytes]:
        first, stop = part
        try:
            return list(self._checkpoints.commits(first, stop, self._size or 0))
        except FormatError:
            return []
