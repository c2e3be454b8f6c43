"""Patterns over paths: `*` is one segment, `**` any number of them, none too.

All places in the pattern at which a path may be are followed at once, so that the cost is bounded
by segments times segments whatever a client asks for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

SEGMENTS_MAX: Final = 32
# What stands for segments; whatever else there is, a text, is the segment itself.
ONE: Final = 1
MANY: Final = 2

Parts = tuple[int | str, ...]


@lru_cache(maxsize=1024)
def parts_of(pattern: str) -> Parts:
    """The parts of a pattern; `%2A` in a segment is an asterisk that is meant."""
    kinds = {"*": ONE, "**": MANY}
    segments = pattern.strip("/").split("/")
    return tuple(
        kinds.get(each) or each.replace("%2A", "*").replace("%2a", "*") for each in segments
    )


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern means a path."""
    parts = parts_of(pattern)
    places = _past_many(parts, {0})
    for segment in path.split("/"):
        reached: set[int] = set()
        for place in places - {len(parts)}:
            if parts[place] == MANY:
                reached.add(place)
            elif parts[place] in (ONE, segment):
                reached.add(place + 1)
        places = _past_many(parts, reached)
    return len(parts) in places


def _past_many(parts: Parts, places: set[int]) -> set[int]:
    """These places, and those behind a `**` that stands for no segment."""
    found = set(places)
    for place in places:
        at = place
        while at < len(parts) and parts[at] == MANY:
            at += 1
            found.add(at)
    return found


def fixed_part(pattern: str) -> str:
    """What all paths that a pattern means begin with."""
    return pattern.strip("/").partition("*")[0]
