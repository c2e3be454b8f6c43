"""What a fleet costs: plans of many stores, parts read beside streams, two processes beside one,
columns decoded and from columns files.

Contenders take turns, and each is divided by the one beside it in the same turn. Reading is wall
time, as processes are compared, and what two processes do is CPU time too, which a busy machine
changes less; plans and columns are CPU time, plans with the requests that they made.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter, process_time
from typing import Final

import msgspec

import transit
from benchmarks.commandline import working_folder
from benchmarks.report import Machine, aligned, number, to_json
from transit import fleet
from transit.fleet.places import store_url
from transit.fleet.snapshots import Snapshot, write
from transit.fleet.tables import StoreTable
from transit.views.scans.runs import runs_columns

TURNS: Final = 5
STORES: Final = 1_000
STREAMS: Final = 20
RECORDS: Final = 100_000
"""Of the one store that is read; those of the plan have a few each."""
HEAD: Final = ("what", "median", "lowest", "× beside it", "beside it")
_COLUMNS: Final = ("offset", "timestamp", "headers", "payload")
_PAYLOAD: Final = (
    b'{"event":"model_call","gen_ai.usage.input_tokens":1234,"text":"' + b"words of an answer " * 12
)


class Row(msgspec.Struct, frozen=True):
    """Seconds, or how many, and the median ratio to what is beside it."""

    name: str
    median: float
    lowest: float
    ratio: float | None = None
    beside: str = ""


class Fleets(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    turns: int
    rows: list[Row]


def filled(folder: Path, records: int) -> fleet.Fleet:
    """A fleet with one store of so many records, in some streams."""
    agents = fleet.create(str(folder / "fleet"))
    with agents.record(folder / "store", durability="os") as log:
        for number_ in range(STREAMS):
            stream = log.create(f"run-{number_}")
            for start in range(0, records // STREAMS, 1000):
                count = min(1000, records // STREAMS - start)
                stream.append_many(
                    [_PAYLOAD + b'%d"}' % n for n in range(start, start + count)],
                    headers={"kind": "model_call"},
                )
        log.publish()
    return agents


def few(folder: Path) -> fleet.Fleet:
    """A fleet of one small store."""
    agents = fleet.create(str(folder / "many"))
    with agents.record(folder / "first", durability="os") as log:
        for number_ in range(STREAMS):
            log.create(f"run-{number_}").append_many([_PAYLOAD] * 200)
        log.publish()
    return agents


def snapshot_of(agents: fleet.Fleet, stores: int) -> Snapshot:
    """A snapshot of so many stores, each with twenty segments as the one that there is has.

    A plan as of a snapshot asks no store, so that none of them need be there.
    """
    found = agents.snapshot()
    (member,), (table,) = found.members, found.tables
    ids = [f"{number_:032x}" for number_ in range(stores)]
    made = Snapshot(
        found.number + 1,
        found.at,
        tuple(msgspec.structs.replace(member, store=each) for each in ids),
        tuple(StoreTable(each, table.head, table.names, table.segments * 20) for each in ids),
        {},
    )
    assert write(transit.open_store(agents.url), made)
    return made


def timed(call: Callable[[], object], clock: Callable[[], float] = perf_counter) -> float:
    """Seconds that a call takes."""
    begun = clock()
    call()
    return clock() - begun


def batches(log: transit.Log) -> int:
    """The records of all streams of a store, as Arrow, one after another."""
    return sum(
        len(batch.to_arrow(_COLUMNS)) for stream in log.streams() for batch in stream.batches()
    )


def part_rows(part: fleet.Part) -> int:
    """The records of a part."""
    return len(fleet.read(part, _COLUMNS))


def part_cpu(part: fleet.Part) -> float:
    """Seconds of CPU that the records of a part take."""
    return timed(lambda: part_rows(part), process_time)


def reading(agents: fleet.Fleet, remote: str, turns: int) -> list[Row]:
    """A part beside the same records stream by stream, and two processes beside one."""
    (whole,) = agents.plan(n=1)
    parts = list(agents.plan(n=8))
    times: dict[str, list[float]] = {}
    with ProcessPoolExecutor(2) as pool, transit.open(remote, mode="read") as log:
        # Both workers have loaded what they need.
        list(pool.map(part_rows, parts))
        contenders: dict[str, Callable[[], object]] = {
            "streams, batch by batch": lambda: batches(log),
            "one part": lambda: part_rows(whole),
            "eight parts, one process": lambda: [part_rows(part) for part in parts],
            "eight parts, two processes": lambda: list(pool.map(part_rows, parts)),
        }
        for _ in range(turns + 1):
            for name, call in contenders.items():
                times.setdefault(name, []).append(timed(call))
    beside = {
        "one part": "streams, batch by batch",
        "eight parts, two processes": "eight parts, one process",
    }
    rows = []
    for name, all_times in times.items():
        kept, ratio = all_times[1:], None
        if name in beside:
            pairs = zip(times[beside[name]][1:], kept, strict=True)
            ratio = statistics.median(other / own for other, own in pairs)
        rows.append(
            Row(f"{name}, s", statistics.median(kept), min(kept), ratio, beside.get(name, ""))
        )
    return rows


def shared(agents: fleet.Fleet, turns: int) -> list[Row]:
    """The CPU time of one process beside that of the busier half of two: what two free cores give
    at best, where each process has half of the parts.
    """
    parts = list(agents.plan(n=8))
    times: dict[str, list[float]] = {}
    with ProcessPoolExecutor(2) as pool:
        # Both workers have loaded what they need, and this process too.
        list(pool.map(part_rows, parts))
        sum(map(part_cpu, parts))
        for _ in range(turns):
            times.setdefault("one", []).append(sum(map(part_cpu, parts)))
            begun = process_time()
            spent = sum(pool.map(part_cpu, parts))
            times.setdefault("two", []).append(spent / 2 + process_time() - begun)
    one, two = times["one"], times["two"]
    ratio = statistics.median(a / b for a, b in zip(one, two, strict=True))
    return [
        Row("eight parts, one process, CPU s", statistics.median(one), min(one)),
        Row(
            "eight parts, each of two processes, CPU s", statistics.median(two), min(two), ratio,
            "eight parts, one process, CPU s",
        ),
    ]  # fmt: skip


def typed(folder: Path, turns: int) -> list[Row]:
    """Declared columns of a store in a folder: decoded, and from columns files."""
    declared, some = runs_columns(), ["_stream", "_offset", "event", "tokens_in"]
    (part,) = fleet.of_store(folder).plan(n=1)
    reads: dict[str, Callable[[], object]] = {
        "all columns of runs": lambda: fleet.read(part, declared),
        "two of them": lambda: fleet.read(part, declared, select=some),
        "the records": lambda: fleet.read(part, _COLUMNS),
    }
    times = {f"{name}, decoded, CPU s": laps(call, turns) for name, call in reads.items()}
    with transit.open(folder, mode="read") as log:
        declared.scan(log).to_parquet_paths()
    for name in ("all columns of runs", "two of them"):
        times[f"{name}, from columns files, CPU s"] = laps(reads[name], turns)
    rows = []
    for name, kept in times.items():
        what, way, _ = name.split(", ")
        beside = f"{what}, decoded, CPU s" if way.startswith("from") else ""
        ratio = statistics.median(times[beside]) / statistics.median(kept) if beside else None
        rows.append(Row(name, statistics.median(kept), min(kept), ratio, beside))
    return rows


def laps(call: Callable[[], object], turns: int) -> list[float]:
    """CPU seconds of some calls, after one that loads what they need."""
    call()
    return [timed(call, process_time) for _ in range(turns)]


def planning(agents: fleet.Fleet, stores: int, turns: int) -> list[Row]:
    """A plan of many stores as of a snapshot, and how many requests it makes."""
    snapshot_of(agents, stores)
    times, requests, parts = [], [], []

    def planned() -> None:
        at = agents.newest_snapshot()
        parts.append(len(agents.plan(at=at)))

    for _ in range(turns + 1):
        before = agents.traffic.requests
        times.append(timed(planned, process_time))
        requests.append(agents.traffic.requests - before)
    return [
        Row(
            f"plan of {stores} stores as of a snapshot, s", statistics.median(times[1:]), min(times)
        ),
        Row("its requests", statistics.median(requests), min(requests)),
        Row("its parts", statistics.median(parts), min(parts)),
    ]


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m benchmarks.fleets")
    made.add_argument("--runs", type=int, default=TURNS, help=f"turns of each ({TURNS})")
    made.add_argument("--records", type=int, default=RECORDS, help=f"that are read ({RECORDS})")
    made.add_argument("--stores", type=int, default=STORES, help=f"of the plan ({STORES})")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    made.add_argument("--path", default=".", metavar="FOLDER", help="work below it (.)")
    arguments = made.parse_args()
    with working_folder(arguments.path) as (folder, here):
        place = Path(folder).absolute()
        with filled(place, arguments.records) as agents:
            (member,) = agents.members()
            remote = store_url(agents.url, member.store)
            rows = reading(agents, remote, arguments.runs)
            rows += shared(agents, arguments.runs)
        rows += typed(place / "store", arguments.runs)
        with few(place) as agents:
            rows += planning(agents, arguments.stores, arguments.runs)
    if arguments.json is not None:
        arguments.json.write_bytes(to_json(Fleets(here, arguments.runs, rows)))
    lines = [
        (r.name, number(r.median), number(r.lowest), number(r.ratio) if r.ratio else "", r.beside)
        for r in rows
    ]
    print(aligned([HEAD, *lines]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
