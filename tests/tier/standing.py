"""Standbys and takeovers of a place's stores, and what is looked at afterwards."""

from __future__ import annotations

from typing import Any

import transit
from transit.store import ObjectStore
from transit.testing.doors import Rule

from .conftest import Place

QUICK = transit.Settings(remote_timeout_s=0.05, transfers_max=1)


def standby(
    place: Place, name: str = "b", store: ObjectStore | None = None, **options: Any
) -> transit.Standby:
    """A standby in folder `name`, of the place's remote or of a door before it."""
    options.setdefault("settings", QUICK)
    return transit.standby(place.path / name, store or place.store, **options)


def follow(place: Place, name: str = "b", **options: Any) -> transit.StandbyStatus:
    """One round of a standby in folder `name`."""
    with standby(place, name, **options) as standing:
        return standing.follow()


def take_over(place: Place, name: str = "b", **options: Any) -> transit.Takeover:
    """A takeover by folder `name`, closed again."""
    rule: Rule | None = options.pop("rule", None)
    store = place.store if rule is None else place.door(rule)
    with standby(place, name, store) as standing:
        log, takeover = standing.take_over(**options)
    log.close()
    return takeover


def takeovers(place: Place) -> tuple[transit.Takeover, ...]:
    """Those that the remote shows."""
    with transit.open(place.store.url, mode="read") as log:
        return transit.takeovers(log)


def payloads(log: transit.Log, name: str) -> list[bytes]:
    """A stream's records."""
    return [record.payload for record in log.stream(name).read()]
