"""Audit: a store in a remote that is not trusted, checked from its bytes alone.

    roots      FORMAT; every commit: shape, checksum, number, link, root, tree state derived again,
               epochs, LSNs; the size of each object that a commit names
    bodies     and every byte of every segment and index snapshot, every stream, every merge
    sample:p   roots, and the bytes of a share p of the segments, each by itself

At each level the checkpoints that are there are held against the chain, with the tiles and bundles
of the newest; at `bodies` every other tile too. A chain that has a checkpoint is read from bundles
at the lower levels (`commits_bundled`), and commit by commit at `bodies`.

Findings stop nothing; only a remote that does not answer does. Nothing is written and nothing that
was read is believed: sizes, counts and names are bounded before memory is taken or a request made.
What only a listing shows is counted (`unnamed_objects`), a HEAD hint that does not fit too
(`head_hint_stale`): neither decides anything.

levels     which level was asked for
chain      FORMAT, commits, HEAD
checkpoints signed notes and tiles, and the checkpoint that the auditor kept
snapshots  index snapshots against the chain
bodies     segments, downloaded ahead
reruns     merges run again within bounds
run        all of it in order
"""

from transit.auditor.levels import check_seed, parse_level
from transit.auditor.run import Audit

__all__ = ["Audit", "check_seed", "parse_level"]
