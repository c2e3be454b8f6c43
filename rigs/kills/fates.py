"""What becomes of streams while processes are killed: finished, hidden, made again, passed.

A writer says a line of each such step once it was acknowledged, in a file of its own, as it does of
records (`rigs.kills.receipts`). The judge holds the store to them, and to this: a stream that was
once finished stays so at the same length, and the streams of layers are in no list of the user's.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import transit

LAYER: Final = "rig"
"""The layer whose streams hold a copy of what the writers note."""


class Fate(NamedTuple):
    """What happened: "finished" at `offset` records, "hidden", or the "cursor" `c` was moved there.

    key: the stream, as `keyed` names it.
    """

    kind: str
    key: str
    offset: int


def keyed(log: transit.Log) -> list[tuple[str, transit.Stream]]:
    """All streams, hidden and layers' too; a name's second stream has one `'`, its third two."""
    found = [*log.streams(), *log.streams("$"), *log.hidden()]
    taken: Counter[str] = Counter()
    named = []
    for stream in sorted(found, key=lambda stream: stream.id):
        named.append((stream.name + "'" * taken[stream.name], stream))
        taken[stream.name] += 1
    return named


class FateMouth:
    """Where one life of a writer says what became of streams."""

    def __init__(self, folder: Path, writer: str, life: int) -> None:
        name = folder / f"{writer}.{life}.fates"
        self._fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def say(self, fate: Fate) -> None:
        """This was acknowledged."""
        os.write(self._fd, f"{fate.kind} {fate.key} {fate.offset}\n".encode())


def told(folder: Path) -> list[Fate]:
    """All that was said in `folder`."""
    return [
        Fate(kind, key, int(offset))
        for path in sorted(folder.glob("*.fates"))
        for kind, key, offset in map(str.split, path.read_text().split("\n")[:-1])
    ]


class FateJudge:
    """Holds a store to what was said of its streams, in this round and in those before."""

    def __init__(self) -> None:
        self._finished: dict[str, int] = {}
        self._hidden: set[str] = set()
        self._cursors: Counter[str] = Counter()

    def hold(self, log: transit.Log, fates: list[Fate]) -> list[str]:
        """What is wrong with the streams of `log`, after `fates` too were acknowledged."""
        for fate in fates:
            if fate.kind == "finished":
                self._finished[fate.key] = fate.offset
            elif fate.kind == "hidden":
                self._hidden.add(fate.key)
            else:
                self._cursors[fate.key] = max(self._cursors[fate.key], fate.offset)
        streams = dict(keyed(log))
        problems = [
            f"in the user's list: {stream.name}"
            for stream in log.streams()
            if stream.name.startswith("$") or stream.hidden
        ]
        for key, length in self._finished.items():
            stream = streams.get(key)
            if stream is None or not stream.finished or len(stream) != length:
                problems.append(f"finished at {length}, and is not: {key}: {stream!r}")
        for key in self._hidden:
            if key not in streams or not streams[key].hidden:
                problems.append(f"hidden, and is not: {key}")
        for key, offset in self._cursors.items():
            at = streams[key].cursor("c").position if key in streams else -1
            if at < offset:
                problems.append(f"the cursor of {key} is at {at}, and was at {offset}")
        # What was not said before it died counts from here on.
        self._finished.update((key, len(s)) for key, s in streams.items() if s.finished)
        self._hidden.update(key for key, stream in streams.items() if stream.hidden)
        return problems
