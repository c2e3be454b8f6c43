"""Patterns over paths: `*` is one segment, `**` any number of them, none too."""

from __future__ import annotations

import re
from functools import lru_cache

SEGMENTS_MAX = 32


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression over whole paths.

    Each run of `**` becomes one part that backtracks over segments only, at most once a segment.
    """
    parts: list[str] = []
    for segment in pattern.strip("/").split("/"):
        if segment == "**":
            if not parts or parts[-1] != "(?:[^/]+/)*":
                parts.append("(?:[^/]+/)*")
        elif segment == "*":
            parts.append("[^/]+/")
        else:
            literal = re.escape(segment.replace("%2A", "*").replace("%2a", "*"))
            parts.append(literal + "/")
    return re.compile("".join(parts))


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern means a path."""
    return compiled(pattern).fullmatch(path + "/") is not None


def fixed_part(pattern: str) -> str:
    """What all paths that a pattern means begin with."""
    return pattern.strip("/").partition("*")[0]
