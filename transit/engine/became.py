"""What became of a stream after it was made: each change that `$names` has of it, with its writer.

Owns how records of `$names`, of which each says all that is so, are told as what changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from transit.format.life import ALL, NO_LIMITS, Keep, Life
from transit.log.catalog import Catalog
from transit.log.gone import Told, told_of

What = Literal[
    "finished", "hidden", "shown", "trimmed", "deleted", "erased", "limited", "held", "released"
]


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long the records of a stream are kept; what is None has no limit.

    keep_for: seconds after it was written before which no record is deleted. expire_after: seconds
    after which `Log.retain` deletes it. bytes_max: of payloads, count_max: of records; what is
    over is trimmed by `Log.retain`, the oldest first.
    """

    keep_for: int | None = None
    expire_after: int | None = None
    bytes_max: int | None = None
    count_max: int | None = None


class Became(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of a stream (`Stream.became`).

    what: "finished"; "hidden", "shown"; "trimmed" before an offset, "deleted": gone for readers;
    "erased": the bytes of what was gone are; "limited": `retention` holds from then on; "held",
    "released": a hold with the reason `hold`.
    when: UTC nanoseconds. by: the writer, "" for a program that is none's. reason: as it was given.
    basis: of what takes records away, "owner", "gdpr-17", "retention" or "court".
    before: of a trim, the first offset that stays; of an erasure, before which own offset bytes are
    gone, None for all. bytes: that were freed in all until then, unfolded. locked_until: a remote
    keeps versions until then, UTC nanoseconds, -1 where it does not say until when, 0 for none.
    here: it was erased in the folder alone, since no remote was attached.
    """

    what: What
    when: int
    by: str = ""
    reason: str = ""
    basis: str = ""
    before: int | None = None
    bytes: int = 0
    locked_until: int = 0
    here: bool = False
    hold: str = ""
    retention: Retention | None = None


def retention_of(keep: Keep | None) -> Retention:
    """Limits as `$names` has them, for a user."""
    return Retention(**msgspec.structs.asdict(keep or NO_LIMITS))


def became(catalog: Catalog, stream: int) -> tuple[Became, ...]:
    """What became of a stream, in order; of one of which nothing was said, nothing."""
    found: list[Became] = []
    before = Life(stream=1, streams=2)
    for told in told_of(catalog, stream):
        found += _changes(before, told)
        before = told.life
    return tuple(found)


def _changes(before: Life, told: Told) -> Iterator[Became]:
    now = told.life

    def say(what: What, **more: object) -> Became:
        return msgspec.structs.replace(
            Became(what=what, when=told.when, by=told.by, reason=now.reason), **more
        )

    if now.deleted and not before.deleted:
        # It is finished and hidden with that.
        yield say("deleted", basis=now.basis or "owner")
    else:
        yield from (say(what) for what in _standing(before, now))
    if now.trimmed > before.trimmed:
        yield say("trimmed", basis=now.basis or "owner", before=now.trimmed)
    if _freed(now) != _freed(before):
        place = None if now.gone_bytes == ALL else now.freed
        yield say(
            "erased", basis=now.basis or "owner", before=place, bytes=now.freed_bytes,
            locked_until=now.locked_until, here=now.here,
        )  # fmt: skip
    if now.keep != before.keep:
        yield say("limited", retention=retention_of(now.keep))
    yield from (say("held", hold=hold) for hold in now.holds if hold not in before.holds)
    yield from (say("released", hold=hold) for hold in before.holds if hold not in now.holds)


def _standing(before: Life, now: Life) -> Iterator[What]:
    if before.finished is None and now.finished is not None:
        yield "finished"
    if now.hidden != before.hidden:
        yield "hidden" if now.hidden else "shown"


def _freed(life: Life) -> tuple[object, ...]:
    return life.gone_bytes, life.freed_bytes, life.locked_until, life.here
