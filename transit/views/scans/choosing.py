"""Which streams, and up to where: what `streams=`, `at=`, `since=` and `until=` mean.

Owns the choice alone; where records lie is in `layout`. What was chosen is settled once: records
that are appended afterwards are not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final, NamedTuple, TypeAlias

from transit import InvalidInputError, Log, NotFoundError, Stream

Streams: TypeAlias = str | Stream | Iterable[str | Stream] | None
Time: TypeAlias = datetime | int
At: TypeAlias = int | datetime | str | Mapping[str, int] | None

COMMIT_PREFIX: Final = "commit:"
_COMMIT: Final = re.compile(rf"{COMMIT_PREFIX}([0-9]{{1,18}})")
_SPECIAL: Final = re.compile(r"[*?\[]")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Chosen(NamedTuple):
    """The records of a stream from offset `start` to before `stop`."""

    stream: Stream
    start: int
    stop: int


class Bounds(NamedTuple):
    """Of every stream: what `at` and the times say. commit: -1 for none."""

    at: int | datetime | Mapping[str, int] | None
    since: int | None
    until: int | None
    commit: int = -1


def bounds_of(at: At, since: Time | None, until: Time | None) -> Bounds:
    """The arguments, checked."""
    low = None if since is None else nanoseconds(since, "since")
    high = None if until is None else nanoseconds(until, "until")
    if isinstance(at, str):
        match = _COMMIT.fullmatch(at)
        if match is None:
            raise InvalidInputError(f"at: a commit is given as '{COMMIT_PREFIX}12', not {at!r}")
        return Bounds(None, low, high, int(match[1]))
    if isinstance(at, datetime):
        nanoseconds(at, "at")
    elif isinstance(at, Mapping):
        for name, offset in at.items():
            if not isinstance(name, str):
                raise InvalidInputError(f"at: the name of a stream, not {name!r}")
            _check_offset(offset)
    elif at is not None:
        _check_offset(at)
    return Bounds(at, low, high)


def _check_offset(offset: object) -> None:
    if type(offset) is not int or offset < 0:
        raise InvalidInputError(
            f"at: the offset before which to stop, a time, '{COMMIT_PREFIX}12', or offsets by"
            f" stream; not {offset!r}"
        )


def nanoseconds(time: Time, what: str) -> int:
    """A time as UTC nanoseconds."""
    if isinstance(time, int) and not isinstance(time, bool):
        return time
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise InvalidInputError(
            f"{what}: a datetime with a time zone, or UTC nanoseconds; not {time!r}"
        )
    passed = time - _EPOCH
    whole = passed.days * 86_400 + passed.seconds
    return whole * 1_000_000_000 + passed.microseconds * 1_000


def choose(log: Log, streams: Streams, bounds: Bounds) -> list[Chosen]:
    """What of which streams; `NotFoundError` for a name that is no stream's."""
    found = streams_of(log, streams)
    if isinstance(bounds.at, Mapping):
        names = {stream.name for stream in found}
        for name in bounds.at:
            if name not in names:
                raise NotFoundError(f"at: {name!r} is none of the streams that are read")
    return [_bounded(stream, bounds) for stream in found]


def streams_of(log: Log, streams: Streams) -> list[Stream]:
    """The streams: all of the user's, or those that are named or match a pattern, each once."""
    if streams is None:
        return list(log.streams())
    given = [streams] if isinstance(streams, str | Stream) else streams
    if not isinstance(given, Iterable):
        raise InvalidInputError(f"streams: names, patterns or streams; not {streams!r}")
    found: dict[int, Stream] = {}
    for each in given:
        for stream in [each] if isinstance(each, Stream) else _matching(log, each):
            found.setdefault(stream.id, stream)
    return list(found.values())


def _matching(log: Log, text: object) -> Iterable[Stream]:
    if not isinstance(text, str):
        raise InvalidInputError(f"streams: names, patterns or streams; not {text!r}")
    special = _SPECIAL.search(text)
    # A name may hold what a pattern is told by: a stream of that very name comes first.
    if special is None or text in log:
        return [log.stream(text)]
    # Those of layers only where the pattern begins as their names do.
    return (
        stream for stream in log.streams(text[: special.start()]) if fnmatchcase(stream.name, text)
    )


def _bounded(stream: Stream, bounds: Bounds) -> Chosen:
    stop = len(stream)
    at = bounds.at
    if isinstance(at, Mapping):
        at = at.get(stream.name)
    if isinstance(at, datetime):
        stop = min(stop, stream.offset_at(nanoseconds(at, "at")))
    elif at is not None:
        stop = min(stop, at)
    start = 0
    if bounds.until is not None:
        stop = min(stop, stream.offset_at(bounds.until))
    if bounds.since is not None:
        start = min(stop, stream.offset_at(bounds.since))
    return Chosen(stream, start, stop)
