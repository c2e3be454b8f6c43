"""What an ordered map costs whose versions share nodes, beside ordered stores without versions.

Entries are 16-byte keys with values of 68 bytes. Each contender is built of the same entries, makes
a second version with a few values changed, says what the two differ in, and looks up keys. SQLite
(one table WITHOUT ROWID) and LMDB have no versions: their second one is a copy of the file, made
before the clock runs, and what two files differ in is found by joining or reading both. Times are
CPU milliseconds of the process, per look-up microseconds; the contenders take turns, so that each
figure stands beside others of the same moments. Bytes are those that the second version adds.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import shutil
import sqlite3
import statistics
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from time import process_time
from typing import Any, Final

import msgspec

from benchmarks.commandline import working_folder
from benchmarks.report import Machine, aligned, number, to_json
from transit.views.maps.map import Map, Shelf, merge

ENTRIES: Final = 1_000_000
TURNS: Final = 3
CHANGED: Final = 100
LOOKS: Final = 1_000

Pairs = Sequence[tuple[bytes, bytes]]
Work = Callable[[], object]


class Row(msgspec.Struct, frozen=True):
    """One figure of one contender, the median of its turns, and its ratio to SQLite's."""

    step: str
    contender: str
    unit: str
    value: float
    ratio: float | None


class Maps(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    entries: int
    turns: int
    rows: list[Row]


class MemoryNodes:
    """Nodes in a dictionary, and how many were asked for."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.loaded = 0
        self.bytes = 0

    def load(self, digest: bytes) -> bytes:
        self.loaded += 1
        return self.data[digest]

    def save(self, digest: bytes, data: bytes) -> None:
        self.data[digest] = data
        self.bytes += len(data)


class Contender(ABC):
    """An ordered map that is built once; `again` makes the next turn's second version possible."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @abstractmethod
    def build(self, pairs: Pairs) -> None: ...

    @abstractmethod
    def again(self) -> None: ...

    @abstractmethod
    def update(self, pairs: Pairs) -> None: ...

    @abstractmethod
    def differences(self) -> int: ...

    @abstractmethod
    def get(self, keys: Sequence[bytes]) -> None: ...

    @abstractmethod
    def scan(self) -> int: ...

    def counts(self) -> Iterator[tuple[str, str, float]]:
        """What else the last second version came to: what, unit, figure."""
        return iter(())


class Transit(Contender):
    """A map of transit's; nothing of it is decoded when a version is made or compared."""

    def build(self, pairs: Pairs) -> None:
        self.nodes = MemoryNodes()
        self.first = Map.build(self.nodes, pairs)
        self.bytes, self.count = self.nodes.bytes, len(self.nodes.data)

    def again(self) -> None:
        self.first = Map(self.nodes, self.first.root)
        self.nodes.bytes = 0

    def update(self, pairs: Pairs) -> None:
        self.second = self.first.edit(dict(pairs))

    def differences(self) -> int:
        self.nodes.loaded = 0
        sides = [Map(self.nodes, each.root) for each in (self.first, self.second)]
        return sum(1 for _ in sides[0].diff(sides[1]))

    def get(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self.first.get(key)

    def scan(self) -> int:
        return sum(1 for _ in Map(Shelf(self.nodes), self.first.root).items())

    def counts(self) -> Iterator[tuple[str, str, float]]:
        yield "new bytes", "%", 100 * self.nodes.bytes / self.bytes
        yield "new bytes", "KB", self.nodes.bytes / 1000
        yield "nodes loaded", "%", 100 * self.nodes.loaded / self.count


class Sqlite(Contender):
    """One table in one file; the second version is in a copy of it."""

    def build(self, pairs: Pairs) -> None:
        self.db = sqlite3.connect(os.path.join(self.folder, "first.db"))
        self.db.execute("DROP TABLE IF EXISTS map")
        self.db.execute("CREATE TABLE map (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        with self.db:
            self.db.executemany("INSERT INTO map VALUES (?, ?)", pairs)

    def again(self) -> None:
        second = os.path.join(self.folder, "second.db")
        shutil.copyfile(os.path.join(self.folder, "first.db"), second)
        self.other = sqlite3.connect(second)
        self.other.execute("ATTACH ? AS first", [os.path.join(self.folder, "first.db")])

    def update(self, pairs: Pairs) -> None:
        with self.other:
            self.other.executemany(
                "UPDATE map SET value = ? WHERE key = ?", [(value, key) for key, value in pairs]
            )

    def differences(self) -> int:
        found = self.other.execute(
            "SELECT one.key, one.value, two.value FROM first.map one JOIN main.map two"
            " ON one.key = two.key WHERE one.value <> two.value"
        ).fetchall()
        return len(found)

    def get(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self.db.execute("SELECT value FROM map WHERE key = ?", (key,)).fetchone()

    def scan(self) -> int:
        return sum(1 for _ in self.db.execute("SELECT key, value FROM map ORDER BY key"))


class Lmdb(Contender):
    """One database in one file; the second version is in a copy of it."""

    def build(self, pairs: Pairs) -> None:
        # Loaded here: it is installed where peers are.
        import lmdb

        self._open: Any = lambda name: lmdb.open(
            os.path.join(self.folder, name), map_size=1 << 33, sync=False
        )
        shutil.rmtree(os.path.join(self.folder, "first.lmdb"), ignore_errors=True)
        self.db: Any = self._open("first.lmdb")
        with self.db.begin(write=True) as change:
            for key, value in pairs:
                change.put(key, value, append=True)

    def again(self) -> None:
        second = os.path.join(self.folder, "second.lmdb")
        shutil.rmtree(second, ignore_errors=True)
        os.mkdir(second)
        self.db.copy(second, compact=True)
        self.other = self._open("second.lmdb")

    def update(self, pairs: Pairs) -> None:
        with self.other.begin(write=True) as change:
            for key, value in pairs:
                change.put(key, value)

    def differences(self) -> int:
        with self.db.begin() as one, self.other.begin() as two:
            sides = zip(one.cursor(), two.cursor(), strict=True)
            return sum(1 for left, right in sides if left != right)

    def get(self, keys: Sequence[bytes]) -> None:
        with self.db.begin() as reading:
            for key in keys:
                reading.get(key)

    def scan(self) -> int:
        with self.db.begin() as reading:
            return sum(1 for _ in reading.cursor())


class Prolly(Contender):
    """A prolly tree in Rust, which is changed in place and whose `diff` is not asked for."""

    def build(self, pairs: Pairs) -> None:
        # Loaded here: it is installed where peers are.
        self.tree: Any = import_module("prollytree").ProllyTree()
        self.tree.insert_batch(list(pairs))

    def again(self) -> None: ...

    def update(self, pairs: Pairs) -> None:
        # Its `update` of one key after another takes a hundred times as long.
        self.tree.insert_batch(list(pairs))

    def differences(self) -> int:
        return CHANGED

    def get(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self.tree.find(key)

    def scan(self) -> int:
        return 0


CONTENDERS: Final[dict[str, type[Contender]]] = {
    "transit": Transit, "sqlite": Sqlite, "lmdb": Lmdb, "prollytree": Prolly,
}  # fmt: skip
# What a contender cannot do, or what its answer is wrong of.
LEFT_OUT: Final = {("prollytree", "differences"), ("prollytree", "scan")}


def entries(count: int) -> list[tuple[bytes, bytes]]:
    """Keys in order, with values as large and all different."""
    chance = random.Random("maps")
    numbers = sorted(chance.sample(range(10**14), count))
    return [(b"k%015d" % each, chance.randbytes(68)) for each in numbers]


def milliseconds(work: Work) -> float:
    """CPU time of the process."""
    gc.collect()
    start = process_time()
    work()
    return 1000 * (process_time() - start)


class Figures:
    """What was measured, by step and contender."""

    def __init__(self) -> None:
        self.taken: dict[tuple[str, str, str], list[float]] = {}

    def add(self, step: str, contender: str, unit: str, value: float) -> None:
        self.taken.setdefault((step, unit, contender), []).append(value)

    def rows(self) -> list[Row]:
        medians = {place: statistics.median(taken) for place, taken in self.taken.items()}
        return [
            Row(step, contender, unit, value, value / medians[step, unit, "sqlite"])
            if (step, unit, "sqlite") in medians
            else Row(step, contender, unit, value, None)
            for (step, unit, contender), value in medians.items()
        ]


def turn(figures: Figures, contenders: dict[str, Contender], pairs: Pairs, seed: int) -> None:
    """Every step once, each by all contenders."""
    chance = random.Random(seed)
    start = chance.randrange(len(pairs) - CHANGED)
    changes = {
        "random": [(key, chance.randbytes(68)) for key, _ in chance.sample(pairs, CHANGED)],
        "clustered": [(key, chance.randbytes(68)) for key, _ in pairs[start : start + CHANGED]],
        "one": [(pairs[start][0], chance.randbytes(68))],
    }
    for name, one in contenders.items():
        figures.add("build", name, "ms", milliseconds(partial(one.build, pairs)))
    for kind, given in changes.items():
        for name, one in contenders.items():
            _version(figures, name, one, kind, given)
    keys = [key for key, _ in chance.sample(pairs, LOOKS)]
    for how in ("cold", "warm", "warm"):
        for name, one in contenders.items():
            taken = milliseconds(partial(one.get, keys))
            figures.add(f"get, {how}", name, "µs", 1000 * taken / LOOKS)
    for name, one in contenders.items():
        if (name, "scan") not in LEFT_OUT:
            figures.add("scan", name, "ms", milliseconds(one.scan))
    own = contenders["transit"]
    assert isinstance(own, Transit)
    figures.add("merge of 100 and 100", "transit", "ms", _merge(own, pairs, chance))


def _version(figures: Figures, name: str, one: Contender, kind: str, given: Pairs) -> None:
    one.again()
    figures.add(f"update, {kind}", name, "ms", milliseconds(lambda: one.update(given)))
    if (name, "differences") in LEFT_OUT:
        return
    found: list[int] = []
    taken = milliseconds(lambda: found.append(one.differences()))
    assert found == [len(given)], f"{name}: {found} differences"
    figures.add(f"diff, {kind}", name, "ms", taken)
    for what, unit, value in one.counts():
        figures.add(f"{what}, {kind}", name, unit, value)


def _merge(own: Transit, pairs: Pairs, chance: random.Random) -> float:
    """A merge of two hundred changes, ten of them on both sides, with nothing decoded."""
    both = [key for key, _ in chance.sample(pairs, 2 * CHANGED - 10)]
    ours = own.first.edit({key: chance.randbytes(68) for key in both[:CHANGED]})
    theirs = own.first.edit({key: chance.randbytes(68) for key in both[-CHANGED:]})
    shelf = Shelf(own.nodes)
    base, a, b = (Map(shelf, each.root) for each in (own.first, ours, theirs))
    return milliseconds(lambda: merge(base, a, b, lambda key, was, one, two: two))


def measured(folder: str, count: int, turns: int) -> list[Row]:
    """All contenders that are installed, in turns."""
    pairs, figures = entries(count), Figures()
    contenders: dict[str, Contender] = {}
    for name, kind in CONTENDERS.items():
        one = kind(folder)
        try:
            one.build(pairs[:1])
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        contenders[name] = one
    # What stays is not looked through again and again.
    gc.freeze()
    try:
        for seed in range(turns):
            turn(figures, contenders, pairs, seed)
    finally:
        gc.unfreeze()
    return figures.rows()


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m benchmarks.maps")
    made.add_argument("--entries", type=int, default=ENTRIES, help=f"of the map ({ENTRIES})")
    made.add_argument("--runs", type=int, default=TURNS, help=f"turns of each ({TURNS})")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    made.add_argument("--path", default=".", metavar="FOLDER", help="work below it (.)")
    arguments = made.parse_args()
    with working_folder(arguments.path) as (folder, here):
        rows = measured(folder, arguments.entries, arguments.runs)
    if arguments.json is not None:
        arguments.json.write_bytes(to_json(Maps(here, arguments.entries, arguments.runs, rows)))
    head = ("step", "contender", "median", "unit", "× sqlite")
    print(aligned([head, *map(_shown, rows)]))
    return 0


def _shown(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else number(row.ratio)
    return (row.step, row.contender, number(row.value), row.unit, ratio)


if __name__ == "__main__":
    sys.exit(main())
