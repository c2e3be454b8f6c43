"""Planted bugs: wrong engines, made at run time, that a rig of tests must find.

Each plant replaces functions of the real engine in the process that calls `plant(name)`; the
engine's own code has no switch. A rig that has not found them proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from rigs.plants.disk import DISK
from rigs.plants.ending import ENDING
from rigs.plants.tier import TIER

PLANTS: Final[Mapping[str, Callable[[], None]]] = {**DISK, **ENDING, **TIER}


def plant(name: str) -> None:
    """Plant the bug of that name in this process."""
    PLANTS[name]()
