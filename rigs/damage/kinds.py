"""Damage to the files of a store: every way a byte, a sector or a file can go wrong, as values.

Owns what is done to bytes, and to which of them. A store's folder is a mapping from names to bytes
here; `Damage.changes` says which of its files are other ones then. What a store must make of it is
for `rigs.damage.judge` and `rigs.damage.remote`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

SECTOR_BYTES: Final = 512
_GARBAGE_SIZES: Final = (1, 8, 600)
_SEED: Final = 20_261_121

Files = Mapping[str, bytes]
Changes = dict[str, bytes | None]
Kind = Literal[
    "flip", "sector", "cut", "grown", "zeroed", "parts", "copied", "swapped", "older", "removed"
]
KINDS: Final[tuple[Kind, ...]] = (
    "flip", "sector", "cut", "grown", "zeroed", "parts", "copied", "swapped", "older", "removed",
)  # fmt: skip


class Span(NamedTuple):
    """Some bytes of a file, from `start` to before `stop`."""

    start: int
    stop: int


class Damage(NamedTuple):
    """One way in which one file, or two, are not what they were.

    flip     bit `bit` of the byte at `place`
    sector   the 512 bytes from `place` on are zeros
    cut      the file ends at `place`
    grown    `bit` bytes of garbage follow
    zeroed   all of it is zeros
    parts    the bytes at `spans[0]` and `spans[1]` have changed places
    copied   the bytes at `spans[1]` are at `spans[0]` too
    swapped  it and file `other` have each other's bytes
    older    it is what it was when version `bit` was taken
    removed  it is not there
    """

    name: str
    kind: Kind
    place: int = 0
    bit: int = 0
    spans: tuple[Span, ...] = ()
    other: str = ""
    older: bytes = b""

    def __str__(self) -> str:
        where = f" at byte {self.place}" if self.kind in ("flip", "sector", "cut") else ""
        which = f", {self.bit}" if self.kind in ("flip", "grown", "older") else ""
        spans = "".join(f" {span.start}-{span.stop}" for span in self.spans)
        return f"{self.name}: {self.kind}{where}{which}{spans} {self.other}".rstrip()

    def changes(self, files: Files) -> Changes:
        """The files that are other ones then, with their bytes; None: the file is not there."""
        data = files[self.name]
        if self.kind == "removed":
            return {self.name: None}
        if self.kind == "swapped":
            return {self.name: files[self.other], self.other: data}
        return {self.name: self._damaged(data)}

    def _damaged(self, data: bytes) -> bytes:
        if self.kind in ("zeroed", "older", "grown"):
            garbage = random.Random(_SEED + self.bit).randbytes(self.bit)
            whole = {"zeroed": bytes(len(data)), "older": self.older, "grown": data + garbage}
            return whole[self.kind]
        if self.spans:
            (start, stop), (other, end) = self.spans
            if self.kind == "copied":
                return data[:start] + data[other:end] + data[stop:]
            return data[:start] + data[other:end] + data[stop:other] + data[start:stop] + data[end:]
        if self.kind == "cut":
            return data[: self.place]
        changed = bytearray(data)
        if self.kind == "flip":
            changed[self.place] ^= 1 << self.bit
        else:
            part = slice(self.place, self.place + SECTOR_BYTES)
            changed[part] = bytes(len(data[part]))
        return bytes(changed)


# Lists


def flips(name: str, data: bytes) -> Iterator[Damage]:
    """One flipped bit in every byte; which one goes round."""
    for place in range(len(data)):
        # 3 and 8 have no common divisor, so neighbours differ and every bit comes up.
        yield Damage(name, "flip", place, 3 * place % 8)


def all_bits(name: str, spans: Iterable[Span]) -> Iterator[Damage]:
    """Every bit of the bytes in `spans`, but for those that `flips` takes."""
    for span in spans:
        for place in range(*span):
            for bit in set(range(8)) - {3 * place % 8}:
                yield Damage(name, "flip", place, bit)


def sectors(name: str, data: bytes) -> Iterator[Damage]:
    """Each sector of 512 bytes as zeros, unless it was zeros before."""
    for place in range(0, len(data), SECTOR_BYTES):
        if any(data[place : place + SECTOR_BYTES]):
            yield Damage(name, "sector", place)


def cuts(name: str, data: bytes) -> Iterator[Damage]:
    """Every size that is less, 0 among them."""
    for place in range(len(data)):
        yield Damage(name, "cut", place)


def grown(name: str) -> Iterator[Damage]:
    """A little garbage at the end, and a lot."""
    for size in _GARBAGE_SIZES:
        yield Damage(name, "grown", bit=size)


def misplaced(name: str, data: bytes, parts: Sequence[Span]) -> Iterator[Damage]:
    """Any two of `parts` in each other's place; one of a size in the place of another, too."""
    for number, one in enumerate(parts):
        for other in parts[number + 1 :]:
            if data[slice(*one)] == data[slice(*other)]:
                continue
            yield Damage(name, "parts", one.start, spans=(one, other))
            if one.stop - one.start == other.stop - other.start:
                yield Damage(name, "copied", one.start, spans=(one, other))
                yield Damage(name, "copied", other.start, spans=(other, one))


def swapped(names: Sequence[str], files: Files) -> Iterator[Damage]:
    """Any two of these files with each other's bytes."""
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            if files[one] != files[other]:
                yield Damage(one, "swapped", other=other)


def older(name: str, data: bytes, versions: Iterable[bytes]) -> Iterator[Damage]:
    """Each older version of the file put back."""
    for number, version in enumerate(versions):
        if version != data:
            yield Damage(name, "older", bit=number, older=version)


def gone(name: str) -> Iterator[Damage]:
    """The file full of zeros, and no file."""
    yield Damage(name, "zeroed")
    yield Damage(name, "removed")


# Choice


def spread(damages: Sequence[Damage], count: int, rng: random.Random) -> list[Damage]:
    """`count` of `damages` at even distances, beginning at a random one; all when fewer."""
    if len(damages) <= count:
        return list(damages)
    start = rng.random()
    return [damages[int((number + start) * len(damages) / count)] for number in range(count)]


def first_difference(before: bytes, after: bytes) -> int:
    """The first byte that is not what it was; the size of the shorter where the rest is gone."""
    if before[: len(after)] == after[: len(before)]:
        return min(len(before), len(after))
    low, high = 0, min(len(before), len(after))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if before[low:middle] != after[low:middle] else (middle, high)
    return low
