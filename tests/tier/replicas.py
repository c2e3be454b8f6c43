"""Replicas behind doors, and stores that are opened with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transit
from transit.store import ObjectStore
from transit.testing.doors import Fault, FaultDoor

from .conftest import Place

Fill = Callable[[transit.Log], None]
SOON_S = 20.0


def until(is_so: Callable[[], bool]) -> None:
    """Wait for what a thread of the store's does; fails after a long time."""
    deadline = time.monotonic() + SOON_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Away:
    """A replica behind a door that can be shut: each of its requests is lost then."""

    def __init__(self, store: ObjectStore, fault: Fault = "lost_before") -> None:
        self.store = store
        self.is_away = False
        self.door = FaultDoor(store, lambda *_: fault if self.is_away else None)


def open_with(place: Place, *replicas: Away, name: str = "a", **options: Any) -> transit.Log:
    return place.open(name, remote=[place.door(), *(each.door for each in replicas)], **options)


def empty(folder: Path) -> None:
    """Remove the objects of a remote, as somebody does who empties a bucket."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()
