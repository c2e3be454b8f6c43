"""How long records are kept: limits and holds of a stream, and its side that lets records go.

Owns what may be said of one stream. That it is kept to, when records are deleted, is for
`transit.engine.deleting`; what is due by it, for `transit.engine.retaining`.
"""

from __future__ import annotations

import msgspec

from transit.engine.became import Became, Retention, became, retention_of
from transit.engine.checks import check_numbers, check_writer
from transit.engine.creation import change_life
from transit.engine.deleting import Deletion, trim, wish, would_trim
from transit.engine.reading import Readable
from transit.engine.staging import Staging
from transit.errors import InvalidInputError, NotFoundError
from transit.format.life import HOLDS_MAX, NO_LIMITS, Keep, Life, check_reason
from transit.log.gone import first_offset


def keep_of(retention: Retention) -> Keep | None:
    """Limits as `$names` has them; None where there are none."""
    if not isinstance(retention, Retention):
        raise InvalidInputError(f"not a transit.Retention: {retention!r}")
    limits = msgspec.structs.asdict(retention)
    for name, value in limits.items():
        if value is not None and (type(value) is not int or not 1 <= value < 2**63):
            raise InvalidInputError(f"{name} must be an int from 1 on, or None, not {value!r}")
    keep = Keep(**limits)
    return None if keep == NO_LIMITS else keep


class Kept(Readable):
    """The side of a stream that says how long its records are there, and lets them go."""

    __slots__ = ()

    @property
    def first_offset(self) -> int:
        """The first offset that is still there: 0, or where the stream was trimmed to.

        Of a deleted stream, and where all records were trimmed, `next_offset`.
        """
        self._handle.refresh()
        return first_offset(self._state)

    @property
    def deleted(self) -> bool:
        """Whether the stream was deleted: it has no records for anybody any more."""
        self._handle.refresh()
        return self._life().deleted

    @property
    def retention(self) -> Retention:
        """The limits that `retain` set."""
        self._handle.refresh()
        return retention_of(self._life().keep)

    @property
    def holds(self) -> tuple[str, ...]:
        """The reasons of the holds on it."""
        self._handle.refresh()
        return self._life().holds

    def became(self) -> tuple[Became, ...]:
        """What became of the stream after it was made, in order: when, by whom, and why.

        What happened to it before it was deleted is told too; of a stream that was neither
        finished, hidden, kept nor let go, nothing.
        """
        self._handle.refresh()
        return became(self._handle.catalog, self._state.id)

    def _life(self) -> Life:
        return self._state.life or Life(stream=1, streams=2)

    def trim(
        self,
        *,
        before: int,
        reason: str = "",
        basis: str = "owner",
        dry_run: bool = False,
        expect: int | None = None,
        writer: str = "",
        durability: str | None = None,
    ) -> Deletion:
        """Let the stream begin at offset `before`: what is before it is gone for readers.

        Offsets stay what they are. Reading below `first_offset` raises `ErasedError`; `read()`
        without a start begins there. `Log.erase` frees the bytes, of whole chunks only.
        reason, basis, dry_run, writer: as `Log.delete`. expect: the stream's next offset.
        Raises `DependentsError`, `RetainedError`, `OffsetError`. Trimmed as far already, nothing is
        written.
        """
        wanted = wish(reason, basis, writer)
        if dry_run:
            return would_trim(self._handle, self._state, before, wanted)
        return trim(self._handle, self._state, before, wanted, expect, durability)

    def retain(
        self,
        retention: Retention,
        *,
        expect: int | None = None,
        reason: str = "",
        writer: str = "",
        durability: str | None = None,
    ) -> None:
        """Keep records as `retention` says, in place of what was said before.

        expect: the stream's next offset. reason: kept with it. writer: as `Log.delete`.
        """
        keep, why, state = keep_of(retention), check_reason(reason), self._state
        check_numbers(None, expect)
        by = check_writer(writer)

        def work(staging: Staging) -> None:
            staging.writer = by
            staging.check(state, expect)
            if staging.life(state).keep != keep:
                staging.change(state, why, keep=keep)

        change_life(self._handle, work, durability)

    def hold(self, reason: str, *, writer: str = "", durability: str | None = None) -> None:
        """Let nobody delete or trim anything of the stream until `release_hold(reason)`.

        There may be several holds, each with a reason of its own. Bytes may still leave this
        folder by `Log.evict`: the remote has them. writer: as `Log.delete`.
        """
        why, state, by = _check_hold(reason), self._state, check_writer(writer)

        def work(staging: Staging) -> None:
            staging.writer = by
            staging.check(state, None)
            found = staging.life(state).holds
            if len(found) == HOLDS_MAX:
                raise InvalidInputError(f"{state.name}: has {HOLDS_MAX} holds")
            if why not in found:
                staging.change(state, why, holds=tuple(sorted((*found, why))))

        change_life(self._handle, work, durability)

    def release_hold(self, reason: str, *, writer: str = "", durability: str | None = None) -> None:
        """End the hold with this reason; `NotFoundError` when there is none.

        writer: as `Log.delete`.
        """
        why, state, by = _check_hold(reason), self._state, check_writer(writer)

        def work(staging: Staging) -> None:
            staging.writer = by
            found = staging.life(state).holds
            if why not in found:
                raise NotFoundError(f"{state.name}: no hold {why!r}; it has {list(found)}")
            staging.change(state, why, holds=tuple(each for each in found if each != why))

        change_life(self._handle, work, durability)


def _check_hold(reason: object) -> str:
    why = check_reason(reason)
    if not why:
        raise InvalidInputError("a hold needs a reason")
    return why
