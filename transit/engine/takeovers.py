"""Takeovers: what a store's history says of each, and what each was found to have missed.

A takeover is a stream of layer `takeovers` (`transit.format.takeover`). A writer that was fenced by
it, and brings along what it had not published, counts that and says so in the same stream: the
number of the commit by which it was fenced leads to the takeover.
"""

from __future__ import annotations

import msgspec

from transit.engine.layer import Layer
from transit.engine.log import Log
from transit.format.takeover import (
    TAKEOVERS,
    RebasedRecord,
    TakeoverRecord,
    decode_takeover,
)


class Missed(msgspec.Struct, frozen=True):
    """What one fenced writer had that a takeover missed; it has brought it along as branches.

    streams, records: with those records, and how many there are. tag: what the branches are named
    with, behind `@`. by: which machine said so; at: when, UTC nanoseconds.
    """

    streams: int
    records: int
    tag: str
    by: str
    at: int


class Takeover(msgspec.Struct, frozen=True):
    """One takeover: what it went on from, stated when it was made, and what it missed, counted.

    takeover_id: the name of its stream in layer `takeovers`. commit: its number, at which the
    writer before is fenced off. epoch: of that writer's last commit, -1 where there was none.
    root, records: of all commits before. written: when the last of these records was written; what
    the writer wrote later and did not publish may be missed. at: when it took over. Both in UTC
    nanoseconds; `written` is 0 where there was none. by, reason: who took over, and why.
    lost: how often the writer published while this was tried.
    missed: one for each writer that was fenced here and was rebased since; empty until then.
    """

    takeover_id: str
    commit: int
    epoch: int
    root: str
    records: int
    written: int
    at: int
    by: str
    reason: str
    lost: int = 0
    missed: tuple[Missed, ...] = ()

    @property
    def missed_records(self) -> int | None:
        """How many records it was found to have missed; None before a fenced writer came back."""
        return sum(each.records for each in self.missed) if self.missed else None


def takeovers(log: Log) -> tuple[Takeover, ...]:
    """The takeovers in a store's history, oldest first, each with what was counted after it.

    Raises `CorruptError` for records of that layer that no takeover wrote, `SealedError` for an
    encrypted store without its keyring.
    """
    return known_takeovers(log.layer(TAKEOVERS))


def known_takeovers(layer: Layer) -> tuple[Takeover, ...]:
    """As `takeovers`, of the layer `takeovers` of a store."""
    found: dict[str, Takeover] = {}
    owners: dict[str, str] = {}
    for stream in layer.streams():
        owner = stream.name.partition("/")[2]
        if stream.kind == "branch":
            # A rebase made it of what its own folder had counted before it was fenced again.
            owner = owners.get(stream.parents[0].stream, owner)
        owners[stream.name] = owner
        for record in stream.read(stream.own_start):
            said = decode_takeover(record.payload, f"{stream.name}@{record.offset}")
            if isinstance(said, TakeoverRecord):
                found[owner] = takeover_of(owner, said)
            elif owner in found:
                missed = (*found[owner].missed, _missed(said))
                found[owner] = msgspec.structs.replace(found[owner], missed=missed)
    return tuple(sorted(found.values(), key=lambda each: each.commit))


def takeover_of(takeover_id: str, said: TakeoverRecord) -> Takeover:
    """A takeover as its first record says it."""
    return Takeover(
        takeover_id=takeover_id,
        commit=said.commit,
        epoch=said.epoch,
        root=said.root,
        records=said.records,
        written=said.written,
        at=said.at,
        by=said.by,
        reason=said.reason,
        lost=said.lost,
    )


def _missed(said: RebasedRecord) -> Missed:
    return Missed(said.streams, said.records, said.tag, said.by, said.at)
