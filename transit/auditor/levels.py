"""How deep an audit goes: "roots", "bodies", "sample:p"."""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from transit.errors import InvalidInputError

_SAMPLE: Final = re.compile(r"sample:([0-9]*\.?[0-9]+)", re.ASCII)
_SEEDS: Final = 2**63


class Level(NamedTuple):
    """What to read of segments: `share` of them, 0 for none; 1 and `whole`: all, and lineage."""

    name: str
    share: float
    whole: bool


def parse_level(level: object) -> Level:
    """The level with this name; `InvalidInputError` when there is none."""
    if level == "roots":
        return Level("roots", 0.0, False)
    if level == "bodies":
        return Level("bodies", 1.0, True)
    found = _SAMPLE.fullmatch(level) if isinstance(level, str) and len(level) < 40 else None
    share = float(found[1]) if found else 0.0
    if not 0 < share <= 1:
        raise InvalidInputError(
            f'level must be "roots", "bodies" or "sample:p" with 0 < p <= 1, not {level!r:.100}'
        )
    return Level(str(level), share, False)


def check_seed(seed: object) -> int:
    """The given seed, or one that could not be foreseen."""
    if seed is None:
        return int.from_bytes(os.urandom(8), "little") % _SEEDS
    if type(seed) is not int or not 0 <= seed < _SEEDS:
        raise InvalidInputError(
            f"seed must be a whole number from 0 to 2^63 - 1, not {seed!r:.100}"
        )
    return seed


def choose(count: int, share: float, seed: int) -> list[int]:
    """Which of `count` segments a sample reads, in order: about `share` of them, at least one."""
    # Loaded here: it brings OpenSSL along, and only a sample needs it.
    import random

    size = min(count, max(1, round(count * share)))
    return sorted(random.Random(seed).sample(range(count), size))
