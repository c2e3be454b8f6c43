"""Names: of reconcilers and schedules, and the streams that are theirs.

Owns where things are in layer `views`, and the stream `$views/names`: a note, in the frame that
makes them, of streams that were made. Which streams there are is what the store says; to ask it
takes as long as the store has streams. So a runner asks once, and reads notes from then on. Notes
are no authority, and marked as derived.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from transit import AlreadyExistsError, ConflictError, InvalidInputError, Log, NotFoundError, Stream

LAYER: Final = "views"
TRIES: Final = 16
"""How often something is said again when others said something at the same moment."""
_NOTES: Final = "names"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Labels = Mapping[str, str]


def check_name(name: object) -> str:
    """A name of a reconciler or schedule; `InvalidInputError` for anything else."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"a name is 1 to 100 of A-Z, a-z, 0-9, '.', '_' and '-', not {name!r}"
        )
    return name


def check_labels(labels: object) -> dict[str, str]:
    """Labels, or what is asked of them, as a dict of texts."""
    if labels is None:
        return {}
    if not isinstance(labels, Mapping) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in labels.items()
    ):
        raise InvalidInputError("labels are texts by name")
    return dict(sorted(labels.items()))


def matches(labels: Labels, select: Labels) -> bool:
    """Whether all that is asked for is there."""
    return all(labels.get(key) == value for key, value in select.items())


def find(log: Log, name: str) -> Stream | None:
    """A stream of layer `views`; None when there is none."""
    try:
        return log.layer(LAYER).stream(name)
    except NotFoundError:
        return None


def made(log: Log, *names: str) -> tuple[Stream, ...]:
    """Streams of layer `views`, made where they are not there, in one frame with a note of it."""
    layer = log.layer(LAYER)
    for _ in range(TRIES):
        missing = [name for name in names if name not in layer]
        if not missing:
            return tuple(layer.stream(name) for name in names)
        notes = notes_of(log)
        try:
            with log.batch() as batch:
                for name in missing:
                    batch.create(name, codec="json", layer=LAYER)
                batch.append(notes, msgspec.json.encode(missing))
        except AlreadyExistsError:
            # Another process made one of them.
            continue
    raise ConflictError(f"{names[0]}: others made it {TRIES} times", stream=names[0])


def notes_of(log: Log) -> Stream:
    """The stream of notes, made where there is none."""
    layer = log.layer(LAYER)
    found = find(log, _NOTES)
    if found is not None:
        return found
    try:
        return layer.create(_NOTES, derived=True)
    except AlreadyExistsError:
        return layer.stream(_NOTES)


def names_in(log: Log, kind: str) -> Iterator[tuple[str, Stream]]:
    """The names below `kind`, with their streams, in order of creation; asks the store."""
    layer = log.layer(LAYER)
    for stream in layer.streams(f"{kind}/"):
        name = layer.local_name(stream).removeprefix(f"{kind}/")
        # Branches that a rebase made are history.
        if _NAME.fullmatch(name):
            yield name, stream


class Notes:
    """Reads the notes, from the beginning or from where they end now."""

    def __init__(self, stream: Stream, start: int = 0) -> None:
        self._stream = stream
        self._next = start

    def names(self, kind: str) -> list[str]:
        """The names below `kind` that were noted since the last call."""
        found: list[str] = []
        for record in self._stream.read(self._next):
            self._next = record.offset + 1
            found += _decoded(record.payload)
        start = f"{kind}/"
        local = (name.removeprefix(start) for name in found if name.startswith(start))
        return [name for name in local if _NAME.fullmatch(name)]


def _decoded(payload: bytes) -> list[str]:
    try:
        return msgspec.json.decode(payload, type=list[str])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Not an authority: what it meant is found when a runner starts.
        return []
