"""Plans: the records of many stores as parts of about one size, which any engine maps over.

A part is a small value that names what to read: some blocks that follow one another in the log of
one store, or some streams, as of a head of the store. Whatever is published meanwhile, however
often a part is read, and in which order: each record of the plan is in one part, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from transit import Head, InvalidInputError, Log
from transit.fleet.cuts import Cut
from transit.fleet.tables import StoreTable

PART_BYTES: Final = 64 << 20
By = Literal["blocks", "stream"]


class Asked(msgspec.Struct, frozen=True):
    """Which records a plan is of.

    prefix: of the names of streams. since, until: written at `since` or later, and before `until`,
    UTC nanoseconds by the clock of the engine that wrote them.
    """

    prefix: str = ""
    since: int | None = None
    until: int | None = None

    def may_hold(self, first: int, last: int) -> bool:
        """Whether what was written from `first` to `last` may be of the time asked for."""
        return (self.since is None or last >= self.since) and (
            self.until is None or first < self.until
        )

    def holds(self, first: int, last: int) -> bool:
        """Whether all that was written from `first` to `last` is of the time asked for."""
        return (self.since is None or first >= self.since) and (
            self.until is None or last < self.until
        )


class Part(msgspec.Struct, frozen=True):
    """Some records of one store, to be read by `transit.fleet.read`.

    It takes about 300 bytes when pickled, and what the address and the prefix take: 1 KB at most
    where these have 500 bytes together. It has no credentials.
    remote: the address of the store's remote. store: its id. head: as of which they are.
    start, stop: from which block to before which one: (number of the segment in the store, number
    of the block in it); or, of a plan by streams, from which stream's id to before which one's.
    records, bytes: how many there are about, and how large they are as they are stored: of whole
    blocks, whatever part of these was asked for.
    """

    remote: str
    store: str
    head: Head
    by: By
    start: tuple[int, int]
    stop: tuple[int, int]
    asked: Asked
    records: int
    bytes: int

    def __repr__(self) -> str:
        return (
            f"<transit.fleet.Part of store {self.store[:8]}, {self.by} {self.start} to "
            f"{self.stop}: about {self.records} records>"
        )


class Plan(msgspec.Struct, frozen=True):
    """The parts of a fleet's records, and the cut that they are of.

    cut.missing: stores that could not be read, and are not in it.
    """

    parts: tuple[Part, ...]
    cut: Cut

    def __len__(self) -> int:
        """Count of parts."""
        return len(self.parts)

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)

    def __getitem__(self, number: int) -> Part:
        return self.parts[number]


class Item(msgspec.Struct, frozen=True):
    """What is not cut: a block, or a stream. place: of it; after: of what follows it."""

    place: tuple[int, int]
    after: tuple[int, int]
    records: int
    size: int


def block_items(table: StoreTable, asked: Asked, first_commit: int = 0) -> list[Item]:
    """The blocks of a store, in the order of its log, from commit number `first_commit` on."""
    return [
        Item((number, block), (number, block + 1), segment.records[block], size)
        for number, segment in enumerate(table.segments)
        if segment.commit >= first_commit and asked.may_hold(segment.first, segment.last)
        for block, size in enumerate(segment.sizes)
    ]


def stream_items(log: Log, table: StoreTable, asked: Asked) -> list[Item]:
    """The streams of an open store, in order of creation, with what they inherit.

    Their sizes are told by their records: those of the store are taken to be of one size.
    """
    sealed = log.sealed(table.head)
    stored = sum(sum(segment.sizes) for segment in table.segments)
    records = sum(sum(segment.records) for segment in table.segments)
    items = []
    for stream in sealed.streams():
        if stream.name.startswith(asked.prefix) and (count := sealed.count(stream)):
            size = stored * count // max(records, 1)
            items.append(Item((stream.id, 0), (stream.id + 1, 0), count, size))
    return items


def cut(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Runs of items of about one size, at most about `size` bytes where no item is larger."""
    total = sum(item.size for item in items)
    count = max(1, -(-total // size))
    start = taken = done = 0
    for number, item in enumerate(items):
        taken += item.size
        # Up to here, so many of the parts should be full.
        if done + 1 < count and taken * count >= total * (done + 1) and number + 1 < len(items):
            yield items[start : number + 1]
            start, done = number + 1, taken * count // max(total, 1)
    if start < len(items):
        yield items[start:]


def parts_of(
    stores: Iterable[tuple[str, StoreTable, list[Item]]], size: int, by: By, asked: Asked
) -> Iterator[Part]:
    """The parts of stores, each given with the address of its remote and its items."""
    for remote, table, items in stores:
        for run in cut(items, size):
            yield Part(
                remote,
                table.store,
                table.head,
                by,
                run[0].place,
                run[-1].after,
                asked,
                sum(item.records for item in run),
                sum(item.size for item in run),
            )


def part_bytes(bytes_per_part: int | None, n: int | None, total: int) -> int:
    """How large a part is to be, of `total` bytes; `InvalidInputError` for what cannot be."""
    if bytes_per_part is not None and n is not None:
        raise InvalidInputError("bytes_per_part and n do not go together")
    for value, what in ((bytes_per_part, "bytes_per_part"), (n, "n")):
        if value is not None and (type(value) is not int or value < 1):
            raise InvalidInputError(f"{what} must be a positive int, not {value!r}")
    return -(-total // n) or 1 if n is not None else bytes_per_part or PART_BYTES
