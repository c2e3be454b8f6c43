"""What a view costs: its fold beside a bare loop over the same records, and what it saves.

    python -m benchmarks.views [--records N] [--turns N] [--json FILE]

Rows that are loops take turns, and each is a ratio to the bare loop of its turn: read the records,
decode each into the same type, and keep the sums in a dict. The others are CPU time of one step in
milliseconds, with how much history it has behind it, so that a cost that grows with history shows.
The peer is the `eventsourcing` library, where it is installed: an aggregate rebuilt from SQLite in
memory.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Annotated, Any, Final, Literal

import msgspec

import transit
from benchmarks.report import Machine, aligned, machine, to_json
from transit import views
from transit.views.maps.map import Map
from transit.views.overlay import writable

STATES: Final = ("open", "ok", "error")
KEYS: Final = 1_000


class Run(msgspec.Struct, frozen=True):
    """A row."""

    name: str
    status: str = "open"
    tokens: int = 0


class Weighed(Run, frozen=True):
    """A row with a float."""

    weight: float = 0.5


class Chosen(msgspec.Struct, frozen=True):
    """A row with a text of some, and a number with a bound."""

    name: str
    status: Literal["open", "ok", "error"] = "open"
    tokens: Annotated[int, msgspec.Meta(ge=0)] = 0


class Parted(Run, frozen=True):
    """A row with values in one of its values."""

    parts: tuple[str, ...] = ("a", "b")


class Event(msgspec.Struct):
    """What is read of a record."""

    run: str
    status: str
    tokens: int


plain = views.table("runs", Run, key="name")
indexed = views.table("runs", Run, key="name", index=["status"])


@views.reducer(plain, reads=Event)
def nothing(runs: Any, event: Event, at: views.At) -> None:
    """Read events only."""


@views.reducer(plain, reads=Event)
def tally(runs: Any, event: Event, at: views.At) -> None:
    """Add up tokens by run."""
    row = runs.get(event.run) or Run(event.run)
    runs.put(Run(row.name, event.status, row.tokens + event.tokens))


@views.reducer(indexed, reads=Event)
def tally_indexed(runs: Any, event: Event, at: views.At) -> None:
    """The same into a table with an index."""
    row = runs.get(event.run) or Run(event.run)
    runs.put(Run(row.name, event.status, row.tokens + event.tokens))


class Row(msgspec.Struct, frozen=True):
    """One measurement. value: a ratio, or CPU time in milli- or microseconds, as `unit` says."""

    name: str
    value: float
    unit: str


class Views(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    records: int
    rows: list[Row]


def payloads(count: int, rng: random.Random) -> Iterator[bytes]:
    """Events of about 600 bytes, as an agent's are."""
    words = ["".join(rng.choices("abcdefghij ", k=8)) for _ in range(500)]
    for _ in range(count):
        event = {
            "event": "tool_result",
            "run": f"run-{rng.randrange(KEYS):04}",
            "status": rng.choice(STATES),
            "tokens": rng.randrange(1_000),
            "result": " ".join(rng.choices(words, k=55)),
        }
        yield msgspec.json.encode(event)


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of one call, of all threads."""
    begun = process_time()
    work()
    return process_time() - begun


def bare(stream: transit.Stream) -> None:
    """The loop that a fold cannot do less than."""
    decode = msgspec.json.Decoder(Event).decode
    found: dict[str, Run] = {}
    for batch in stream.batches():
        for payload, _, _ in zip(batch.payloads, batch.offsets, batch.timestamps, strict=True):
            event = decode(payload)
            row = found.get(event.run) or Run(event.run)
            found[event.run] = Run(row.name, event.status, row.tokens + event.tokens)


def fold(
    log: transit.Log,
    stream: transit.Stream,
    program: views.Program,
    persist: str = "ephemeral",
    every: int = 10_000,
) -> None:
    """A view from nothing to the head, with a savepoint every so many records."""
    views.open(log, program, persist=persist, savepoint_records=every).of(stream)


def loops(log: transit.Log, stream: transit.Stream, turns: int) -> list[Row]:
    """Rates of folds, as ratios to that of the bare loop."""
    never = len(stream) + 1
    contenders: dict[str, Callable[[], object]] = {
        "reducer that only reads": lambda: fold(log, stream, nothing),
        "table": lambda: fold(log, stream, tally),
        "table with an index": lambda: fold(log, stream, tally_indexed),
        "table, no savepoints": lambda: fold(log, stream, tally, every=never),
        "table with an index, no savepoints": lambda: fold(log, stream, tally_indexed, every=never),
    }
    ratios: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(turns):
        base = cpu_s(lambda: bare(stream))
        for name, work in contenders.items():
            ratios[name].append(base / cpu_s(work))
    rows = [Row(name, statistics.median(each), "x rate") for name, each in ratios.items()]
    peer = _peer(stream)
    return rows if peer is None else [*rows, Row("eventsourcing, rebuild", peer, "x rate")]


def _peer(stream: transit.Stream) -> float | None:
    """The rate of the library's rebuild, as a ratio to the bare loop; None without the library."""
    try:
        from benchmarks.views_peer import rebuild_s
    except ImportError:
        return None
    count = min(len(stream), 5_000)
    per_record = rebuild_s(stream, count) / count
    return cpu_s(lambda: bare(stream)) / len(stream) / per_record


def savepoints(log: transit.Log, stream: transit.Stream, turns: int) -> list[Row]:
    """What keeping states takes: of the fold's time, and of the bytes of the records."""
    never = len(stream) + 1
    shares: dict[str, list[float]] = {"table": [], "table with an index": []}
    for _ in range(turns):
        for name, program in zip(shares, (tally, tally_indexed), strict=True):
            without = cpu_s(partial(fold, log, stream, program, every=never))
            shares[name].append(cpu_s(partial(fold, log, stream, program)) / without - 1)
    fold(log, stream, tally, "logged")
    kept = sum(
        len(record.payload)
        for each in log.streams("$views/")
        if "/packs/" in each.name
        for record in each.read()
    )
    size = sum(len(record.payload) for record in stream.read())
    return [
        *(
            Row(f"savepoints of a {name}, of its fold", 100 * statistics.median(each), "%")
            for name, each in shares.items()
        ),
        Row("packs before compression, of the records", 100 * kept / size, "%"),
    ]


def steps(log: transit.Log, stream: transit.Stream, turns: int) -> list[Row]:
    """Steps whose cost must not grow with history; a cold view each time."""
    count = len(stream)
    branch = stream.branch(f"{stream.name}/retry", at=count // 2)
    last = views.open(log, tally).savepoints(stream)[-1]

    def least(work: Callable[[], object]) -> float:
        return 1_000 * min(cpu_s(work) for _ in range(turns))

    return [
        Row("begin at the last savepoint, one row", least(
            lambda: views.open(log, tally).of(stream, last).runs.get("run-0001")), "ms"),
        Row("any offset, 5,000 records after a savepoint", least(
            lambda: views.open(log, tally).of(stream, last // 2 // 10_000 * 10_000 + 5_000)), "ms"),
        Row("fork, first look", least(lambda: views.open(log, tally).of(branch)), "ms"),
    ]  # fmt: skip


class _NoNodes:
    """Where the nodes of a map without entries are."""

    def load(self, digest: bytes) -> bytes:
        """There are none."""
        raise KeyError(digest)

    def save(self, digest: bytes, data: bytes) -> None:
        """None are made."""


def puts(turns: int) -> list[Row]:
    """One write of a row, by what is in its fields, over 1,000 keys."""
    return [
        Row("put, three fields", _put_us(turns, plain, Run), "us"),
        Row("put, the same with an index", _put_us(turns, indexed, Run), "us"),
        *(
            Row(name, _put_us(turns, views.table("rows", kind, key="name"), kind), "us")
            for name, kind in (
                ("put, a float more", Weighed),
                ("put, a Literal and a bound", Chosen),
                ("put, a tuple more", Parted),
            )
        ),
    ]


def _put_us(turns: int, table: views.Table, kind: Callable[..., Any]) -> float:
    rows = [kind(f"run-{at % KEYS:04}", STATES[at % 3], at) for at in range(20 * KEYS)]
    found = []
    for _ in range(turns):
        (written,) = writable((table,), Map(_NoNodes()))

        def write(put: Callable[[Any], None] = written.put) -> None:
            for row in rows:
                put(row)

        found.append(1e6 * cpu_s(write) / len(rows))
    return min(found)


def measure(records: int, turns: int, folder: Path) -> list[Row]:
    """All rows on a store in `folder`."""
    with transit.open(folder / "store", durability="os") as log:
        stream = log.create("task")
        rng = random.Random(records)
        made = payloads(records, rng)
        while part := list(islice(made, 1_000)):
            stream.append_many(part)
        log.seal()
        return [
            *loops(log, stream, turns),
            *savepoints(log, stream, turns),
            *steps(log, stream, turns),
            *puts(turns),
        ]


def main() -> None:
    """Measure and print; keep the figures where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.records < 20_000:
        sys.exit("20,000 records or more: savepoints are 10,000 apart")
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options.records, options.turns, Path(folder))
    print(f"{options.records:,} records")
    print(aligned([("row", "value", "")] + [(r.name, f"{r.value:.3g}", r.unit) for r in rows]))
    if options.json:
        options.json.write_bytes(
            to_json(Views(machine(tempfile.gettempdir()), options.records, rows))
        )


if __name__ == "__main__":
    main()
