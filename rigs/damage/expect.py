"""What a damaged file of a store's folder may do, and what it must not.

    class of file                       what is asked of a store with one damaged
    ----------------------------------  ----------------------------------------------------------
    FORMAT, commits, segments, a WAL    refused or found by `verify`, naming the file and, where it
    that ended                          has parts, the place; what is answered is right
    the WAL written last                as below
    index, cache, rooms, REMOTE,        nothing: every answer is right, `verify` finds nothing and
    LOCK*, diverged                     a writer goes on
    checkpoints                         the same, but `verify` may find it: what is signed of it

The WAL written last may end in a write that never finished (decision 0011, INTEGRITY.md, "Torn or
corrupt"). Here this is worked out again, from the frames as they were written and the bytes that
were changed, without the code that recovers: the first frame that is not what it was and all after
it may be cut, unless

    a later frame that is whole says that the first was durable: then it must be refused
    it is a single flipped bit: then the first was whole once, and must be refused too, but in the
    blind spots that INTEGRITY.md lists
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rigs.damage.answers import Answers
from rigs.damage.kinds import SECTOR_BYTES, Changes, Damage, first_difference
from rigs.damage.stores import Frame, Sample, WrittenWal, class_of
from transit.format.frame import ALIGNMENT, FRAME_BYTES, WAL_HEADER

HARMLESS: Final = frozenset(
    ("index", "cache", "rooms", "REMOTE", "LOCK", "LOCK.append", "LOCK.seal", "diverged")
)
SIGNED: Final = "checkpoints"


class Expected(NamedTuple):
    """What may come of one damage.

    answers: the right ones, where any are given. harmless: nothing may be refused or found.
    refused: opening must be refused. whole_from: the frame that says that what is damaged was
    durable, and up to which the damage must be reported; -1 for none. cut: bytes at the end of the
    WAL that may be dropped, from this place of the file on; -1 for none, and then what is damaged
    must be found.
    """

    answers: Answers
    harmless: bool = False
    refused: bool = False
    whole_from: int = -1
    cut: int = -1


def expected_of(sample: Sample, damage: Damage, changes: Changes) -> Expected:
    """What may come of `damage`, which makes `changes`, in a sample."""
    wal = sample.wal
    if wal is not None and wal.name in changes and damage.kind != "swapped":
        return _of_wal(wal, damage, sample.files[wal.name], changes[wal.name])
    kind = class_of(damage.name)
    # What is not in the folder is in the remote, whatever became of it here.
    elsewhere = bool(sample.remote) and kind == "segments" and damage.kind == "removed"
    harmless = kind in HARMLESS or kind == SIGNED or elsewhere
    return Expected(sample.expected, harmless=harmless)


def _of_wal(wal: WrittenWal, damage: Damage, before: bytes, after: bytes | None) -> Expected:
    if after is None or not any(after):
        # A file that was never made, or that never reached the disk, looks the same (INTEGRITY.md,
        # "What is not protected").
        return Expected(wal.answers[0], cut=0)
    first = first_difference(before, after)
    if first < WAL_HEADER.size:
        # Frames are written only after the header is durable.
        whole = len(after) > WAL_HEADER.size
        return Expected(wal.answers[0], refused=whole, cut=-1 if whole else 0)
    kept = sum(frame.span.stop <= first for frame in wal.frames)
    answers = wal.answers[kept]
    if kept == len(wal.frames):
        return Expected(answers, cut=max((f.span.stop for f in wal.frames), default=64))
    torn = wal.frames[kept]
    for frame in wal.frames[kept + 1 :]:
        whole = after[slice(*frame.span)] == before[slice(*frame.span)]
        if whole and frame.vouches > torn.span.start:
            return Expected(answers, refused=True, whole_from=frame.span.start)
    if damage.kind == "flip" and not _in_blind_spot(torn, before, after, damage.place):
        return Expected(answers, refused=True)
    return Expected(answers, cut=torn.span.start)


def _in_blind_spot(frame: Frame, before: bytes, after: bytes, place: int) -> bool:
    """Whether one changed byte makes a frame look torn, as INTEGRITY.md says that it may."""
    start, stop = frame.span
    body_bytes = int.from_bytes(before[start + 4 : start + 8], "little")
    if place >= start + FRAME_BYTES + body_bytes:
        # Its padding: this is what tells that its last bytes were written.
        assert stop - start - FRAME_BYTES - body_bytes <= ALIGNMENT
        return True
    if place < start + FRAME_BYTES:
        # A header in two sectors, the second of which was not written, ends in a zero.
        return after[start + FRAME_BYTES - 1] == 0
    zeros = bytes(SECTOR_BYTES)
    first = -start % SECTOR_BYTES + start
    return any(
        after[at : at + SECTOR_BYTES] == zeros
        for at in range(first, stop - SECTOR_BYTES + 1, SECTOR_BYTES)
    )
