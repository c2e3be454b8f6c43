"""Search on the page: where something was said, in runs from the newest on, a little at a time.

Owns how far one request looks: so many places, or so long. It says where to go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from transit import Log, NotFoundError, Stream
from transit.server.page.lists import is_run
from transit.trace.finding import Found, Wanted, found_in

PLACES: Final = 100
SECONDS: Final = 4.0


class Searched(msgspec.Struct, frozen=True):
    """What was found. looked, of: runs that were looked through, and all of them. after: the run
    to go on behind; "" where nothing is left. left_out: whether the last run says more.
    """

    found: list[Found]
    looked: int
    of: int
    after: str
    left_out: bool


def search(log: Log, allows: Callable[[str], bool], wanted: Wanted, asked: Asked) -> Searched:
    """Look through the runs after `asked.after`, the newest first."""
    runs = [each for each in log.streams(asked.prefix) if is_run(each) and allows(each.name)]
    runs.reverse()
    begin = _place(runs, asked.after) if asked.after else 0
    ends = time.monotonic() + SECONDS
    found: list[Found] = []
    for number in range(begin, len(runs)):
        run = runs[number]
        for place in found_in(log, run, wanted):
            if len(found) == PLACES:
                return Searched(found, number + 1, len(runs), _after(runs, number), True)
            found.append(place)
        if time.monotonic() > ends or len(found) == PLACES:
            return Searched(found, number + 1, len(runs), _after(runs, number), False)
    return Searched(found, len(runs), len(runs), "", False)


class Asked(msgspec.Struct, frozen=True):
    """Where is looked: runs whose names begin with `prefix`, those behind the run `after`."""

    prefix: str = ""
    after: str = ""


def _place(runs: list[Stream], name: str) -> int:
    """The number of the run behind this one."""
    place = next((n for n, each in enumerate(runs) if each.name == name), None)
    if place is None:
        raise NotFoundError(f"there is no run {name!r} to go on behind")
    return place + 1


def _after(runs: list[Stream], number: int) -> str:
    return "" if number + 1 == len(runs) else runs[number].name
