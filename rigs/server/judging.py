"""What a served store is held to, after each round of a soak.

Owns the judgement: what was acknowledged is there once, whole, where it was said to be, in the
order in which its client sent it; nothing is there that nobody sent; what was refused is not there;
what followers saw is what the log holds; forks begin where they were asked to. Records of earlier
rounds stay as they were.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from rigs.server.clients import STREAMS, Line, digest, event_of, parse, payload
from transit import Log, Stream

_LINES: Final = msgspec.json.Decoder(Line)
_PROBLEMS_MAX: Final = 50


class Place(NamedTuple):
    """Where a record is."""

    stream: str
    offset: int


def said_by(folder: Path) -> dict[str, list[Line]]:
    """What each client said, by its life; a line that it could not end was not said."""
    return {
        path.stem: [_LINES.decode(text) for text in path.read_bytes().split(b"\n")[:-1]]
        for path in sorted(folder.glob("*.said"))
    }


class Judge:
    """Holds one store to what its clients say, round after round.

    records, lines: how many were judged. seen: where each stream stood after the last round.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.records = self.lines = 0
        self.seen: Counter[str] = Counter()
        self._digests = {name: blake2b() for name in STREAMS}
        # What this round added: payloads by stream, and where each life's numbers are.
        self._new: dict[str, list[bytes]] = {}
        self._places: dict[str, dict[int, list[Place]]] = {}
        self._forks: dict[str, Stream] = {}
        # How many streams a record is in, where that is more than one.
        self._copies: dict[tuple[str, int], int] = {}

    def _wrong(self, text: str) -> None:
        if len(self.problems) < _PROBLEMS_MAX:
            self.problems.append(text)

    def hold(self, log: Log, said: Mapping[str, list[Line]]) -> None:
        """Look at what came since the last round, once all clients have ended."""
        self._new, self._copies = {}, {}
        self._places = defaultdict(lambda: defaultdict(list))
        for name in STREAMS:
            self._read(log, name)
        self._find_forks(log, said)
        for life in self._places.keys() - said.keys():
            self._wrong(f"{life} sent nothing in this round, and has {len(self._places[life])}")
        for life, lines in said.items():
            self.lines += len(lines)
            self._hold_order(life, lines)
            for line in lines:
                self._hold_line(log, life, line)
        for name in STREAMS:
            self.seen[name] += len(self._new[name])

    def _read(self, log: Log, name: str) -> None:
        start = self.seen[name]
        new = self._new[name] = [each.payload for each in log.stream(name).read(start)]
        self.records += len(new)
        for offset, data in enumerate(new, start):
            self._digests[name].update(data)
            parsed = parse(data)
            if parsed is None:
                self._wrong(f"damaged: {name}@{offset} {data[:80]!r}")
            else:
                self._places[parsed.life][parsed.number].append(Place(name, offset))
                if parsed.copies > 1:
                    self._copies[parsed.life, parsed.number] = parsed.copies

    def _find_forks(self, log: Log, said: Mapping[str, list[Line]]) -> None:
        """The forks that were said to be made, those that were deleted again too."""
        names = {each.stream for lines in said.values() for each in lines if each.what == "forked"}
        self._forks = {name: log.stream(name) for name in names if name in log}
        self._forks |= {each.name: each for each in log.hidden() if each.name in names}

    # Of one client

    def _hold_order(self, life: str, lines: list[Line]) -> None:
        """Each record once, in all of its streams, one number after the other."""
        found = self._places.get(life, {})
        doubtful = {line.number for line in lines if line.what in ("unknown", "refused")}
        last: dict[str, Place] = {}
        for number in range(max(found, default=-1) + 1):
            places = found.get(number, ())
            if not places and number not in doubtful:
                self._wrong(f"not in order: {life}:{number} is missing, {max(found)} is there")
            copies = self._copies.get((life, number), 1)
            if places and len(places) != copies:
                kind = "twice" if len(places) > copies else "torn"
                self._wrong(f"{kind}: {life}:{number} is at {places}")
            for place in places if number not in doubtful else ():
                before = last.get(place.stream)
                if before is not None and before.offset > place.offset:
                    self._wrong(f"not in order: {life}:{number} is at {place}, {before} is before")
                last[place.stream] = place

    def _hold_line(self, log: Log, life: str, line: Line) -> None:
        match line.what:
            case "held":
                self._hold_held(life, line)
            case "refused":
                if line.number in self._places.get(life, ()):
                    self._wrong(f"refused, and there: {life}:{line.number}")
            case "saw":
                self._hold_seen(line)
            case "forked":
                self._hold_fork(log, life, line)
            case "gone":
                if line.stream in log:
                    self._wrong(f"deleted, and there: {line.stream}")
            case "wrong":
                self._wrong(f"{life}: {line.text}")

    def _hold_held(self, life: str, line: Line) -> None:
        if line.stream not in STREAMS:
            fork = self._forks.get(line.stream)
            held = b"" if fork is None or len(fork) <= line.offset else fork[line.offset].payload
            if held != payload(life, line.number):
                self._wrong(f"lost: {life}:{line.number} of fork {line.stream}")
            return
        places = self._places.get(life, {}).get(line.number, [])
        at = [each for each in places if each.stream == line.stream]
        if not at:
            self._wrong(f"lost: {life}:{line.number}, acknowledged at {line.stream}@{line.offset}")
        elif line.offset >= 0 and at != [Place(line.stream, line.offset)]:
            self._wrong(f"elsewhere: {life}:{line.number} is at {at}, not at {line.offset}")

    def _hold_seen(self, line: Line) -> None:
        begin = line.offset - self.seen[line.stream]
        end = line.stop - self.seen[line.stream]
        new = self._new[line.stream]
        if not 0 <= begin < end <= len(new):
            self._wrong(f"a follower of {line.stream} saw {line.offset} to {line.stop}: not there")
        elif digest(event_of(line.stream, new[begin:end])) != line.text:
            self._wrong(f"a follower of {line.stream} saw others from {line.offset} to {line.stop}")

    def _hold_fork(self, log: Log, life: str, line: Line) -> None:
        source, before = log.stream(line.source), line.offset - 1
        stream = self._forks.get(line.stream)
        if stream is None:
            self._wrong(f"lost: fork {line.stream} of {life}")
        elif stream.own_start != line.offset or stream.parents[0].stream != source.name:
            self._wrong(f"fork {line.stream} is of {stream.parents} at {stream.own_start}")
        elif before >= 0 and stream[before].payload != source[before].payload:
            self._wrong(f"fork {line.stream} has another history than {line.source}")

    # In the end

    def hold_all(self, log: Log) -> None:
        """Every record is still what it was when it was judged; the store is whole."""
        for name in STREAMS:
            again = blake2b()
            count = 0
            for record in log.stream(name).read():
                again.update(record.payload)
                count += 1
            if (count, again.digest()) != (self.seen[name], self._digests[name].digest()):
                self._wrong(f"{name} has {count} records, {self.seen[name]} were judged, or others")
        self.problems.extend([str(finding) for finding in log.verify().findings])
