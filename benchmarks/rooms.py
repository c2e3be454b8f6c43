"""What channels cost beside the engine: posts, folds of decisions, counts, frozen threads.

Contenders take turns, and each is divided by the one beside it in the same turn: a post by
`Stream.append` of the same payload and headers; the fold of decisions by reading the same records
as columns. CPU time of the process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import process_time_ns
from typing import Final

import msgspec

import transit
from benchmarks.commandline import working_folder
from benchmarks.report import Machine, aligned, number, to_json
from transit import chat
from transit.chat.folding import Folding
from transit.chat.records import DecisionBody, MessageBody, encode

TURNS: Final = 5
POSTS: Final = 10_000
DECISIONS: Final = 100_000
THREADS: Final = 1_000
FROZEN: Final = 40
TEXT: Final = "why does the wheel not build on this machine?"
HEAD: Final = ("what", "µs each, median", "lowest", "× beside it", "beside it")
_TOLD: Final = {"kind": "channel-message", "author_id": "ada"}
_EVIDENCE: Final = {"kind": "classifier-evidence", "author_id": "linear"}
_BODY: Final = encode(MessageBody(TEXT))


class Row(msgspec.Struct, frozen=True):
    """CPU microseconds of one, and the median ratio to what is beside it, "" for nothing."""

    name: str
    median: float
    lowest: float
    ratio: float | None
    beside: str


class Rooms(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    turns: int
    rows: list[Row]


def timed(call: Callable[[], object], count: int) -> float:
    """CPU microseconds of one of `count`."""
    begun = process_time_ns()
    call()
    return (process_time_ns() - begun) / 1e3 / count


def posts(where: str, mode: str) -> dict[str, float]:
    """A plain append, a post, and posts with ids, in one store."""
    with (
        tempfile.TemporaryDirectory(dir=where) as folder,
        transit.open(folder, mode=mode, durability="os") as log,
    ):
        plain, dev, named = log.create("plain"), chat.channel(log, "a"), chat.channel(log, "b")
        dev.post("ada", TEXT)
        named.post("ada", TEXT, id="first")

        def append() -> None:
            for _ in range(POSTS):
                plain.append(_BODY, headers=_TOLD)

        def append_named() -> None:
            for number_ in range(POSTS):
                plain.append(_BODY, headers={**_TOLD, "message_id": f"m{number_}"})

        def post() -> None:
            for _ in range(POSTS):
                dev.post("ada", TEXT)

        def post_named() -> None:
            for number_ in range(POSTS):
                named.post("ada", TEXT, id=f"m{number_}")

        calls = {
            "append": append,
            "append with an id": append_named,
            "post": post,
            "post with an id": post_named,
        }
        return {name: timed(call, POSTS) for name, call in calls.items()}


def decisions(count: int, threads: int) -> list[bytes]:
    """Decisions of so many messages: the first `threads` start one, others answer into them."""
    return [
        encode(
            DecisionBody(
                message=message,
                parent=None if message < threads else message - 1 - message % 7,
                score=0.93,
                decided=True,
                threshold=0.8,
                alternatives=[(message - 2, 0.04), (None, 0.01)] if message > 2 else [],
                classifier="linear",
                version="1",
                digest="ab" * 32,
                decided_at=1_700_000_000_000_000_000,
            )
        )
        for message in range(count)
    ]


def folds(where: str) -> dict[str, float]:
    """The fold of many decisions beside reading them, and what one more costs."""
    with (
        tempfile.TemporaryDirectory(dir=where) as folder,
        transit.open(folder, durability="os") as log,
    ):
        dev = chat.channel(log, "dev")
        payloads = decisions(DECISIONS, THREADS)
        stream = dev.threads().writable()
        for start in range(0, DECISIONS, 1000):
            dev.stream.append_many([_BODY] * 1000, headers=_TOLD)
            stream.append_many(payloads[start : start + 1000], headers=_EVIDENCE)
        log.seal()

        def read() -> None:
            for batch in stream.batches():
                list(zip(batch.headers, batch.payloads, strict=True))

        def fold() -> None:
            made = Folding()
            for batch in stream.batches():
                made.take(DECISIONS, batch.headers, batch.payloads)
            made.root(0)

        fresh = chat.channel(log, "dev")
        found = {
            "read decisions": timed(read, DECISIONS),
            "fold decisions": timed(fold, DECISIONS),
            "index of a channel": timed(lambda: fresh.index, DECISIONS),
        }
        fresh.threads()
        stream.append(payloads[-1], headers=_EVIDENCE)
        found["one more decision"] = timed(lambda: fresh.threads().of(DECISIONS - 1), 1)
        return found


def counts(where: str) -> dict[str, float]:
    """Unread counts of all threads, and frozen threads made and checked."""
    with (
        tempfile.TemporaryDirectory(dir=where) as folder,
        transit.open(folder, durability="os") as log,
    ):
        dev = chat.channel(log, "dev")
        size = 10 * THREADS
        dev.stream.append_many([_BODY] * size, headers=_TOLD)
        dev.threads().writable().append_many(decisions(size, THREADS), headers=_EVIDENCE)
        bob = dev.reader("bob")
        threads = list(dev.threads())
        for thread in threads[::2]:
            bob.seen(thread)
        found = {f"unread counts of {len(threads)} threads": timed(bob.counts, 1)}

        def freeze() -> None:
            for thread in threads[:FROZEN]:
                thread.freeze()

        found["freeze a thread"] = timed(freeze, FROZEN)
        found["verify with frozen threads"] = timed(log.verify, FROZEN)
        return found


BESIDE: Final[Mapping[str, str]] = {
    "post": "append",
    "post with an id": "append with an id",
    "fold decisions": "read decisions",
}


def measured(where: str, turns: int) -> list[Row]:
    """All, in turns."""
    found: dict[str, list[float]] = {}
    for _ in range(turns + 1):
        for mode in ("shared", "exclusive"):
            for name, each in posts(where, mode).items():
                found.setdefault(f"{name}, {mode}", []).append(each)
        for name, each in {**folds(where), **counts(where)}.items():
            found.setdefault(name, []).append(each)
    rows = []
    for name, times in found.items():
        # The first turns warm up.
        kept = times[1:]
        what, comma, mode = name.partition(",")
        beside = BESIDE.get(what, "") + (comma + mode if what in BESIDE else "")
        ratio = None
        if beside:
            pairs = zip(kept, found[beside][1:], strict=True)
            ratio = statistics.median(own / other for own, other in pairs)
        rows.append(Row(name, statistics.median(kept), min(kept), ratio, beside))
    return rows


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m benchmarks.rooms")
    made.add_argument("--runs", type=int, default=TURNS, help=f"turns of each ({TURNS})")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    made.add_argument("--path", default=".", metavar="FOLDER", help="work below it (.)")
    arguments = made.parse_args()
    with working_folder(arguments.path) as (folder, here):
        rows = measured(folder, arguments.runs)
    if arguments.json is not None:
        arguments.json.write_bytes(to_json(Rooms(here, arguments.runs, rows)))
    lines = [
        (r.name, number(r.median), number(r.lowest), number(r.ratio) if r.ratio else "", r.beside)
        for r in rows
    ]
    print(aligned([HEAD, *lines]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
