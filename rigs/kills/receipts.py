"""What writers say while they write, and a judge of the store that is left when they were killed.

Each writer numbers its steps from 0 within each of its lives. The payload of every record names its
writer and step, and goes on with bytes that follow from that alone: a record proves itself.
Before a step a writer says nothing; after it, it adds one line to a file: which records were
acknowledged, how durably, and where. A line that was cut short was never said.

The judge reads the whole store, or what is new in it, and holds it to this:

    byte for byte   every record is one that a writer made, whole
    none twice      no record comes twice, in one stream or in two
    none torn       records of one step (a batch, `append_many`) are all there or none
    in order        of each life the first steps are there, without a gap but for steps that were
                    refused, each stream in the order they were made
    none lost       what was acknowledged at least at the level that survives is where it was said
    none invented   beyond the last line there are no more steps than a writer has under way at once
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import blake3

import transit
from rigs.kills.fates import keyed
from transit.config import DURABILITIES

# Steps that a writer has begun and not yet told of: a burst of submitted appends.
UNDER_WAY_MAX: Final = 4
_SIZES: Final = (0, 40, 120, 300, 700, 30, 90, 4000)


class Tag(NamedTuple):
    """Which record this is: part `part` of `parts` of step `number` in a life of a writer."""

    writer: str
    life: int
    number: int
    part: int
    parts: int


def payload(tag: Tag) -> bytes:
    """The record that this is: a line that says so, and bytes that follow from the line."""
    head = f"{tag.writer} {tag.life} {tag.number} {tag.part} {tag.parts}\n".encode()
    size = _SIZES[(tag.number + tag.part) % len(_SIZES)]
    return head + blake3.blake3(head).digest(length=size) if size else head


def parse(data: bytes) -> Tag:
    """The tag of a record; `ValueError` unless all of its bytes are as they were made."""
    writer, *numbers = data.partition(b"\n")[0].decode().split(" ")
    tag = Tag(writer, *map(int, numbers))
    if payload(tag) != data:
        raise ValueError(f"damaged: {data[:60]!r}")
    return tag


Life = tuple[str, int]
"""A writer's name, and which of its lives."""


class Line(NamedTuple):
    """What a writer said of one step.

    level: 0 "memory" to 4 "replicated" when it was acknowledged, -1 when it was refused.
    places: (stream, offset of the first record, count of records).
    """

    writer: str
    life: int
    number: int
    level: int
    places: tuple[tuple[str, int, int], ...]
    text: str


class Mouth:
    """Where one life of a writer says its lines; a line is one write(2), which outlives it."""

    def __init__(self, folder: Path, writer: str, life: int) -> None:
        name = folder / f"{writer}.{life}.said"
        self._fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def done(self, number: int, receipts: Iterable[transit.Receipt]) -> None:
        """Step `number` was acknowledged with these receipts."""
        found = list(receipts)
        level = DURABILITIES.index(found[0].durability)
        places = " ".join(f"{each.stream} {each.offset} {each.count}" for each in found)
        os.write(self._fd, f"{number} {level} {places}\n".encode())

    def refused(self, number: int, error: BaseException) -> None:
        """Step `number` ended with an error, and may be there or not."""
        text = f"{type(error).__name__}: {error}".replace("\n", " ")
        os.write(self._fd, f"{number} -1 {text}\n".encode())


def said(folder: Path, sizes: dict[Path, int] | None = None) -> list[Line]:
    """All lines that were said in `folder`; of each file only the first bytes in `sizes`."""
    lines = []
    for path in sorted(folder.glob("*.said")) if sizes is None else sorted(sizes):
        writer, life, _ = path.name.rsplit(".", 2)
        data = path.read_bytes()[: None if sizes is None else sizes[path]]
        for text in data.decode().split("\n")[:-1]:
            number, level, rest = text.split(" ", 2)
            lines.append(_line(writer, int(life), int(number), int(level), rest))
    return lines


def _line(writer: str, life: int, number: int, level: int, rest: str) -> Line:
    if level < 0:
        return Line(writer, life, number, level, (), rest)
    words = iter(rest.split(" "))
    places = tuple((stream, int(next(words)), int(next(words))) for stream in words)
    return Line(writer, life, number, level, places, "")


def sizes(folder: Path) -> dict[Path, int]:
    """How much has been said so far, in bytes of each file."""
    return {path: path.stat().st_size for path in folder.glob("*.said")}


class Judge:
    """Holds a store to what was said; keeps what it saw, so that only what is new is read.

    history: the payloads of each stream, as `rigs.kills.fates.keyed` names it, without what a
    branch inherits. problems: what is wrong.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[bytes]] = {}
        self.problems: list[str] = []
        self.records = 0
        self._starts: dict[str, int] = {}
        self._tags: set[Tag] = set()
        self._last: dict[tuple[str, Life], tuple[int, int]] = {}
        self._missing: dict[Life, dict[int, int]] = defaultdict(dict)
        self._held: set[Life] = set()

    def look(self, log: transit.Log) -> None:
        """Read what is new in every stream."""
        for key, stream in keyed(log):
            self._read(key, stream)

    def _read(self, key: str, stream: transit.Stream) -> None:
        fork = stream.fork_offset
        start = self._starts[key] = 0 if fork is None else fork + 1
        kept = self.history.setdefault(key, [])
        for record in stream.read(start + len(kept)):
            if record.offset != start + len(kept):
                self.problems.append(f"{key}: {record.offset}, not {start + len(kept)}")
            kept.append(record.payload)
            self._take(key, record.payload)

    def _take(self, stream: str, data: bytes) -> None:
        try:
            tag = parse(data)
        except (ValueError, TypeError) as error:
            self.problems.append(f"{stream}: no writer's record: {error}")
            return
        self.records += 1
        life = (tag.writer, tag.life)
        if tag in self._tags:
            self.problems.append(f"{stream}: twice: {tag}")
        if life in self._held:
            self.problems.append(f"{stream}: after the writer's death: {tag}")
        before = self._last.get((stream, life), (-1, -1))
        if before >= (tag.number, tag.part):
            self.problems.append(f"{stream}: {tag} after {before}")
        self._tags.add(tag)
        self._last[stream, life] = (tag.number, tag.part)
        missing = self._missing[life]
        missing[tag.number] = missing.get(tag.number, tag.parts) - 1

    def places(self) -> list[tuple[str, int]]:
        """Stream and offset of every record."""
        return [
            (name, self._starts[name] + at)
            for name, kept in self.history.items()
            for at in range(len(kept))
        ]

    def compare(self, log: transit.Log) -> None:
        """Read everything again: it must be what it was."""
        streams = dict(keyed(log))
        for name, kept in self.history.items():
            stream = streams.get(name)
            found = [] if stream is None else [record.payload for record in stream.read()]
            if found[self._starts[name] :] != kept:
                self.problems.append(f"{name}: {len(found)} records, and not those there were")

    def hold(self, lines: Sequence[Line], level: int, later: Sequence[Line] = ()) -> None:
        """Hold the store to all that was said in the lives since the last time; they are over.

        What was acknowledged at `level` or more must be there. later: what was said too, and may
        be there or not, because the store is one of a moment before.
        """
        lives: dict[Life, list[Line]] = {
            life: [] for life in self._missing if life not in self._held
        }
        for line in lines:
            lives.setdefault((line.writer, line.life), []).append(line)
        for line in later:
            lives.setdefault((line.writer, line.life), []).append(line)
        self.hold_places(lines, level)
        for life, told in lives.items():
            self._hold_life(life, told)
            self._held.add(life)

    def hold_places(self, lines: Sequence[Line], level: int) -> None:
        """Hold the store to the places of what was acknowledged, and to nothing else."""
        for line in lines:
            for place in line.places:
                self._hold_place(line, place, line.level >= level)

    def _hold_place(self, line: Line, place: tuple[str, int, int], certain: bool) -> None:
        stream, offset, count = place
        first = offset - self._starts.get(stream, 0)
        for at in range(first, first + count):
            found = self.history.get(stream, [])[at : at + 1]
            if found and not _is_of(found[0], line):
                self.problems.append(f"other bytes: {stream}@{offset + at - first} of {line}")
            if certain and not found:
                self.problems.append(f"lost: {stream}@{offset + at - first} of {line}")

    def _hold_life(self, life: Life, told: list[Line]) -> None:
        missing = self._missing.get(life, {})
        torn = sorted(number for number, parts in missing.items() if parts)
        if torn:
            self.problems.append(f"torn: steps {torn[:5]} of {life}")
        refused = {line.number for line in told if line.level < 0}
        reached = max((line.number for line in told), default=-1)
        last = max(missing, default=-1)
        gaps = sorted(set(range(last)) - missing.keys() - refused)
        if gaps:
            self.problems.append(f"not in order: {life} has step {last}, and not {gaps[:5]}")
        if last > reached + UNDER_WAY_MAX:
            self.problems.append(f"invented: {life} has step {last}, and told of {reached}")


def _is_of(data: bytes, line: Line) -> bool:
    try:
        return parse(data)[:3] == (line.writer, line.life, line.number)
    except (ValueError, TypeError):
        return False
