"""Two machines, one remote: whoever is killed and takes over, nothing acknowledged is lost.

A model beside them knows what each machine acknowledged, and how. A machine is a folder; its writer
dies without a word, by leaving its handle, and the folder is as the disk has it.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

import transit
from rigs.seeds import run_seed
from transit.engine.log import Log

from .conftest import Place
from .standing import standby

STEPS = 24
MACHINES = ("a", "b")


class Machines:
    """Two folders, and what is known of the records in them."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self.place = Place(path)
        self.chance = chance
        self.number = 0
        self.logs: dict[str, Log | None] = dict.fromkeys(MACHINES)
        # Acknowledged as "tiered", wherever; by machine, what only its folder has.
        self.tiered: set[bytes] = set()
        self.local: dict[str, set[bytes]] = {name: set() for name in MACHINES}
        # By machine: what it has counted at which takeover, and not published.
        self.noted: dict[str, Counter[str]] = {name: Counter() for name in MACHINES}
        log = self.logs["a"] = self.place.open("a")
        log.create("s").append(b"first", durability="tiered")
        self.tiered.add(b"first")

    def step(self) -> None:
        """Something happens to one of the machines."""
        name = self.chance.choice(MACHINES)
        if self.logs[name] is None:
            self.chance.choice([self.take_over, self.take_over, self.follow, self.start])(name)
        else:
            self.chance.choice([self.append, self.append, self.publish, self.kill])(name)

    def append(self, name: str) -> None:
        log = self.logs[name]
        assert log is not None
        for _ in range(self.chance.randint(1, 3)):
            self.number += 1
            data = b"%s %d" % (name.encode(), self.number)
            level = self.chance.choice(["os", "local", "tiered"])
            self.local[name].add(data)
            try:
                log.stream("s").append(data, durability=level)
            except transit.FencedError:
                # "tiered" was refused before anything was written, or after it was here.
                if data not in contents(log, "s"):
                    self.local[name].discard(data)
                self.rebase(name)
                return
            if level == "tiered":
                # With everything before it.
                self.are_published(name)

    def are_published(self, name: str) -> None:
        self.tiered |= self.local[name]
        self.local[name].clear()
        self.noted[name].clear()

    def publish(self, name: str) -> None:
        log = self.logs[name]
        assert log is not None
        try:
            log.publish()
        except transit.FencedError:
            self.rebase(name)
            return
        self.are_published(name)

    def kill(self, name: str) -> None:
        """The writer dies: another process would find the folder as it is now."""
        log = self.logs[name]
        assert log is not None
        folder, dead = self.place.path / name, self.place.path / "dead"
        shutil.copytree(folder, dead)
        log.close()
        shutil.rmtree(folder)
        dead.rename(folder)
        self.logs[name] = None

    def follow(self, name: str) -> None:
        try:
            with standby(self.place, name) as standing:
                assert standing.follow().is_current
        except transit.ConflictError:
            assert self.local[name]

    def take_over(self, name: str) -> None:
        try:
            with standby(self.place, name) as standing:
                if self.chance.random() < 0.5:
                    standing.follow()
                self.logs[name], said = standing.take_over()
        except transit.ConflictError:
            # It has records that were never published: it comes back as a writer.
            assert self.local[name]
            self.start(name)
            return
        except transit.FencedError:
            # The other one took over since it looked.
            return
        assert said.lost == 0

    def start(self, name: str) -> None:
        """The folder is opened as its writer's, which may have been taken over from."""
        if not (self.place.path / name / "FORMAT").exists():
            return
        try:
            self.logs[name] = self.place.open(name)
        except transit.FencedError:
            # All of it was published, and another is the writer.
            assert not self.local[name]

    def rebase(self, name: str) -> None:
        log = self.logs[name]
        assert log is not None
        with pytest.raises(transit.FencedError) as caught:
            log.publish()
        own = self.local[name]
        done = log.rebase_onto_remote()
        log = self.logs[name] = self.place.open(name)
        assert own <= set().union(*(contents(log, branch) for branch in done.streams.values()))
        with transit.open(self.place.store.url, mode="read") as published:
            wanted = missed(published)
        # One that was fenced off by a writer who came back is counted at no takeover.
        for each in transit.takeovers(log):
            if each.commit == caught.value.number:
                self.noted[name][each.takeover_id] += len(own)
        wanted.update(self.noted[name])
        assert missed(log) == wanted

    def check(self) -> None:
        """Whatever happened, the remote has all that was acknowledged as there, once a stream."""
        with transit.open(self.place.store.url, mode="read") as log:
            everything = set()
            for stream in log.streams():
                found = [record.payload for record in stream.read()]
                assert len(found) == len(set(found))
                everything |= set(found)
            assert self.tiered <= everything

    def end(self) -> None:
        """Everything that is only local comes to the remote, from one machine after the other."""
        for name in MACHINES:
            if self.logs[name] is None:
                self.start(name)
            log = self.logs[name]
            if log is None:
                continue
            try:
                log.publish()
            except transit.FencedError:
                self.rebase(name)
            log = self.logs[name]
            assert log is not None
            log.release()
            self.are_published(name)
            self.logs[name] = None
        self.check()
        for name in MACHINES:
            assert not self.local[name]
        assert transit.audit(self.place.store.url).findings == ()


def missed(log: Log) -> Counter[str]:
    """By takeover: how many records it was found to have missed."""
    return Counter({each.takeover_id: each.missed_records or 0 for each in transit.takeovers(log)})


def contents(log: Log, name: str) -> set[bytes]:
    return {record.payload for record in log.stream(name).read()}


@pytest.mark.parametrize(
    "run", [*range(3), *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 40))]
)
def test_two_machines_that_take_over_from_each_other_lose_nothing(tmp_path: Path, run: int) -> None:
    seed = run_seed() + run
    print(f"TRANSIT_SEED={seed - run}, run {run}")
    machines = Machines(tmp_path, random.Random(seed))
    for _ in range(STEPS):
        machines.step()
        machines.check()
    machines.end()
