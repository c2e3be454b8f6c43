"""Fifty stores of real files, each recorded on its own and published below one prefix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import transit
from rigs.fleet.saying import digest
from rigs.fleet.sources import is_chat, run_of
from transit import chat, fleet, trace

STORES: Final = 50
EACH: Final = 2
"""So many files are imported into each store."""
_AT_ONCE: Final = 8
SETTINGS: Final = transit.Settings(block_bytes=65536, seal_bytes=1 << 20)


class Filled(NamedTuple):
    """A fleet, and which files are in which store, by its id."""

    url: str
    storage_options: dict[str, object]
    dealt: list[tuple[str, Path]]


def deal(files: Sequence[Path], stores: int = STORES) -> Iterator[list[Path]]:
    """Which files each store gets: all of them in turn, again from the first after the last."""
    for number in range(stores):
        yield [files[(number * EACH + each) % len(files)] for each in range(EACH)]


def fill(
    url: str, storage_options: dict[str, object], folder: Path, files: Sequence[Path]
) -> Filled:
    """Import the files into stores of a new fleet, and publish these, some at a time."""
    with (
        fleet.create(url, storage_options=storage_options, settings=SETTINGS) as agents,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        filled = list(pool.map(partial(_fill_one, agents, folder), enumerate(deal(files))))
    return Filled(url, storage_options, [each for one in filled for each in one])


def _fill_one(
    agents: fleet.Fleet, folder: Path, numbered: tuple[int, list[Path]]
) -> list[tuple[str, Path]]:
    number, own = numbered
    name = f"host-{number:02}"
    labels = {"zone": "eu" if number % 2 else "us"}
    with agents.record(folder / name, name=name, labels=labels, durability="os") as log:
        for file in own:
            put(log, file)
        log.publish()
        return [(log.store_id, file) for file in own]


def put(log: transit.Log, file: Path) -> None:
    """Import one file; its runs are called as `run_of` says."""
    prefix = f"{file.parent.name}/"
    if is_chat(file):
        chat.import_chat(log, file, channel=run_of(file).removeprefix(prefix), prefix=prefix)
    else:
        # The one whose name says so has lines that are no JSON.
        trace.import_file(log, file, prefix=prefix, skip_bad=file.name == "edge.jsonl")


def digests(agents: fleet.Fleet) -> int:
    """The digests of all records added up, each stream read by the engine."""
    total = 0
    for member in agents.members():
        with agents.open(member) as log:
            for stream in log.streams():
                total += sum(
                    digest(member.store, stream.name, record.offset, record.payload)
                    for record in stream.read(stream.own_start)
                )
    return total
