"""Stores to be copied, and what is compared of a copy."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import transit
from transit import SigningKey
from transit.store import ObjectStore, open_store
from transit.testing.doors import Fault, FaultDoor, Rule

from ..engine.canary import CANARY, has
from .conftest import Contents, Place, contents, write_history

IN_TURN = transit.Settings(remote_timeout_s=0.01, transfers_max=1)
QUIET: dict[str, Any] = {"level": None, "settings": IN_TURN}
OWN = ("HEAD", "probes/")


def state(store: ObjectStore) -> dict[str, bytes]:
    """All objects of a store, but for what each remote has of its own."""
    return {
        key: store.get(key, size) or b"" for key, size in store.list("") if not key.startswith(OWN)
    }


def read(store: ObjectStore, **options: Any) -> Contents:
    with transit.open(store.url, mode="read", **options) as log:
        return contents(log)


def same(place: Place, target: ObjectStore, **options: Any) -> None:
    """The target is what the source is, to its last byte and for every reader."""
    assert state(target) == state(place.store)
    assert read(target, **options) == read(place.store, **options)
    report = transit.audit(target)
    assert report.findings == ()
    assert (report.counts["head_hint_stale"], report.counts["unnamed_objects"]) == (0, 0)


def kinds(requests: list[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """How many requests there were, by what was asked and for which kind of object."""
    return Counter((kind, key.partition("/")[0]) for kind, key in requests)


class Both:
    """Doors before a source and a target, whose requests are counted together."""

    def __init__(self, place: Place, target: ObjectStore, rule: Rule | None = None) -> None:
        self.rule = rule
        self.requests: list[tuple[str, str]] = []
        self.source = FaultDoor(place.store, self._decide)
        self.target = FaultDoor(target, self._decide)

    def _decide(self, _: int, kind: str, key: str) -> Fault | None:
        self.requests.append((kind, key))
        return None if self.rule is None else self.rule(len(self.requests) - 1, kind, key)

    def clear(self) -> None:
        for each in (self, self.source, self.target):
            each.requests.clear()

    def copy(self, **options: Any) -> transit.Copied:
        return transit.copy(self.source, self.target, **{**QUIET, **options})


def grow(place: Place, count: int = 1, name: str = "more", **options: Any) -> None:
    """More commits, published."""
    with place.open(**options) as log:
        stream = log.stream(name) if name in log else log.create(name)
        for number in range(count):
            stream.append(b"%d" % number * 30)
            log.seal()
        log.publish()


def published(place: Place, rounds: int = 3) -> None:
    with place.open() as log:
        write_history(log, rounds)
        log.publish()


def write_secrets(log: transit.Log) -> None:
    """Four commits, the canary in the first and the third."""
    for number in range(3):
        log.create(f"s{number}").append_many([b"plain %d %d" % (number, n) for n in range(20)])
    secret = log.create("secret")
    secret.append_many([CANARY + b" %d" % n for n in range(20)])
    log.seal()
    log.create("late").append(b"late")
    log.seal()
    secret.append(CANARY)
    log.stream("s0").append(b"more")
    log.seal()
    log.stream("s1").append(b"more")
    log.publish()


def erase(place: Place, name: str = "secret") -> None:
    with place.open() as log:
        log.delete(name, reason="asked", basis="gdpr-17")
        log.erase()


def with_canary(store: ObjectStore) -> list[str]:
    return [key for key, data in state(store).items() if has(data)]


@functools.cache
def key_of(store_id: str) -> SigningKey:
    return SigningKey.generate(f"example.com/copies/{store_id}")


def sign(place: Place) -> None:
    """A checkpoint over all that is published."""
    with place.open() as log:
        log.checkpoint(key_of(log.store_id))


def other_history(place: Place, at: int) -> ObjectStore:
    """A remote of the same store that parts from the source after commit `at`."""
    transit.restore(place.store, place.path / "other", at=at)
    store = open_store(place.path / "elsewhere")
    with transit.open(place.path / "other", remote=store, durability="os") as log:
        for number in range(4):
            log.create(f"other-{number}").append(b"x")
            log.seal()
        log.publish()
    return store


def damage(store: ObjectStore, key: str) -> None:
    data = store.get(key, 10**6) or b""
    store.put(key, data[:40] + bytes([data[40] ^ 1]) + data[41:])


def is_beginning(target: ObjectStore, wanted: Contents, level: str) -> int:
    """What a copy or a replica that was cut short has is a store; how many commits it has."""
    if target.size("FORMAT") is None:
        assert state(target) == {}
        return 0
    report = transit.audit(target, level)
    assert report.findings == ()
    for name, rows in read(target).items() if level == "bodies" else ():
        assert rows == wanted[name][: len(rows)]
    return report.counts.get("commits", 0)
