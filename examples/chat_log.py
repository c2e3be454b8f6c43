"""Follow a chat while it is written: one stream a conversation, one atomic frame a moment.

    python examples/chat_log.py [FILE]

Each line of FILE is "conversation<TAB>text"; without FILE there are a few lines of its own. Lines
are written ten at a time, whatever their conversations: each ten are there as a whole or not.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import transit

MADE_UP = [f"{('kitchen', 'garden', 'workshop')[n % 7 % 3]}\tline {n}" for n in range(40)]


def write(log: transit.Log, lines: Iterator[tuple[str, str]]) -> int:
    frames = 0
    while moment := list(islice(lines, 10)):
        with log.batch() as batch:
            new = sorted({name for name, _ in moment if name not in log})
            made = {name: batch.create(name) for name in new}
            for name, text in moment:
                batch.append(made.get(name) or log.stream(name), text.encode())
        frames += 1
    return frames


def follow(stream: transit.Stream, heard: list[str]) -> None:
    for record in stream.tail(start=0, timeout=30):  # waits for what is not written yet
        if record.headers.get("kind") == "end":
            return
        heard.append(record.payload.decode())


def conversations(source: list[str]) -> Iterator[tuple[str, str]]:
    for line in source:
        name, found, text = line.partition("\t")
        yield (name, text) if found else ("everyone", line)


def main() -> None:
    source = Path(sys.argv[1]).read_text("utf-8").splitlines() if sys.argv[1:] else MADE_UP
    lines = [(name, text) for name, text in conversations(source) if text]
    if not lines:
        sys.exit("no lines to write")
    with (
        tempfile.TemporaryDirectory() as folder,
        transit.open(Path(folder, "store"), durability="os") as log,
    ):
        heard: list[str] = []
        first = lines[0][0]
        listener = threading.Thread(target=follow, args=(log.create(first), heard))
        listener.start()
        frames = write(log, iter(lines))
        log.stream(first).append(b"", headers={"kind": "end"})
        listener.join()

        for stream in log.streams():
            texts = [record.payload.decode() for record in stream if record.payload]
            print(f"{stream.name}: {len(texts)} lines, the last is {texts[-1]!r}")
        print(f"{len(lines)} lines in {frames} frames")
        print(f"heard {len(heard)} lines of {first} as they came")


if __name__ == "__main__":
    main()
