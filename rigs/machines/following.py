"""Rules about a replica: it follows the first remote, is away at times, and comes back.

Whatever becomes of it, it is a store whose history is a beginning of the first's.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition

import transit
from rigs.machines.compare import compare_all, outcome
from rigs.machines.machine import step
from rigs.machines.tiers import Tiers
from rigs.machines.values import SMALL, Row, rows, spots
from transit.store import ObjectStore, open_store
from transit.testing.doors import Fault, FaultDoor
from transit.tier.remote import commit_key


class Following(Tiers):
    """A store with two remotes, of which the second follows the first."""

    def __init__(self) -> None:
        self.away: Fault | None = None
        # From now on every so many requests fail; 1: all of them.
        self.stride = 1
        super().__init__()

    @property
    def replica(self) -> ObjectStore:
        """The second remote itself."""
        return open_store(self.root / "replica")

    def open(self, mode: str = "exclusive", settings: transit.Settings = SMALL) -> transit.Log:
        """As every machine does, with the replica behind a door."""
        door = FaultDoor(self.replica, lambda at, *_: self.away if at % self.stride == 0 else None)
        remotes = [self.store, door]
        return transit.open(
            self.folder, durability="os", mode=mode, settings=settings, remote=remotes
        )

    @step(fault=st.sampled_from(["lost_before", "lost_after"]), stride=st.integers(1, 4))
    def replica_fails(self, fault: Fault, stride: int) -> None:
        """From now on some requests to it fail, or all of them."""
        self.away, self.stride = fault, stride

    @step()
    def replica_comes_back(self) -> None:
        """From now on none does; it has everything once it was asked to."""
        self.away = None
        if self.rival is not None:
            return
        told = self.log.publish().replicas
        self.was_published()
        assert [(each.error, each.behind) for each in told] == [("", 0)]
        self.look_closely()

    @precondition(lambda self: self.rival is None)
    @step(spot=spots, row=rows)
    def append_replicated(self, spot: int, row: Row) -> None:
        """It is in both, or the caller is told; it is in the log and in the first in any case."""
        name = self.pick(spot)
        payload, timestamp, header = row
        stream = self.stream(name)
        found = outcome(
            lambda: stream.append(
                payload, headers=header, timestamp=timestamp, durability="replicated"
            )
        )
        self.model.append(name, payload, timestamp, header)
        self.was_published()
        if isinstance(found, type):
            assert self.away is not None
            assert found in (transit.RemoteUnavailableError, transit.OutcomeUnknownError)
            return
        status = self.log.status()
        assert self.replica.size(commit_key(status.commits - 1)) is not None

    @step()
    def look_at_the_replica(self) -> None:
        """Its commits are the first ones of the first remote, and what they name is there."""
        if self.replica.size("FORMAT") is None:
            return
        # Asked first: its thread goes on meanwhile.
        (told,) = self.log.status().replicas
        number = 0
        while (data := self.replica.get(commit_key(number), 10**6)) is not None:
            assert data == self.store.get(commit_key(number), 10**6)
            number += 1
        report = transit.audit(self.replica, settings=SMALL)
        assert report.ok, report.findings
        assert told.published is None or told.published <= number

    def look_closely(self) -> None:
        """What a reader of the replica sees is what a reader of the first sees."""
        self.look_at_the_replica()
        if self.published.streams:
            with transit.open(self.replica.url, mode="read", settings=SMALL) as log:
                compare_all(log, self.published)
