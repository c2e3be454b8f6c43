"""Folders that several sessions of a process use at once: one open store for all of them.

A program makes a session for each conversation, and gives each the same folder.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from transit import Log
from transit.adapters.opening import Place, open_store


class SharedPlace:
    """One of the users of a folder; the store is open as long as there is one."""

    def __init__(self, where: str | os.PathLike[str]) -> None:
        self._key = os.fspath(where)
        if "://" not in self._key:
            self._key = os.path.abspath(self._key)
        self._taken = False
        self._place = _take(self._key)
        self._taken = True

    @property
    def log(self) -> Log:
        """The store, open."""
        return self._place.log

    def again(self) -> SharedPlace:
        """One more user of the same folder."""
        return SharedPlace(self._key)

    def close(self) -> None:
        """Be no user any more; the last one closes the store. Twice is once."""
        if self._taken:
            self._taken = False
            _release(self._key)


_lock = threading.Lock()
_places: Final[dict[str, tuple[Place, int]]] = {}


def _take(key: str) -> Place:
    with _lock:
        place, users = _places.get(key) or (Place(lambda: open_store(key)), 0)
        _places[key] = (place, users + 1)
        return place


def _release(key: str) -> None:
    with _lock:
        place, users = _places.pop(key)
        if users > 1:
            _places[key] = (place, users - 1)
            return
    place.close()


def _forget() -> None:
    # Another thread of the parent may have held it.
    global _lock  # noqa: PLW0603 - a lock cannot be made free
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)
