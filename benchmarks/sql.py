"""SQL over records beside DuckDB over files, in one run: CPU seconds of the process.

Run as `python -m benchmarks.sql [--records N] [--rounds N] [PATH]`. JSON events of about 570 bytes
with ten fields lie in a store as one stream, and in another as 1,000; the same events lie as JSON
lines, as Parquet with a column for each field, and as Parquet with the JSON as text. Rounds take
turns; the best of each row is printed, since what disturbs a round only adds to it.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

import transit
from transit.views.scans.declaring import columns
from transit.views.scans.querying import Limits, sql
from transit.views.scans.scanning import scan

STREAMS = 1_000
AT_ONCE = 1_000
TOOLS = [f"tool-{number}" for number in range(20)]
# The threads of the machine are shared: all engines have as many.
THREADS = 2
LIMITS = Limits(threads=THREADS)
GROUP = "SELECT tool, count(*), sum(tokens), avg(tokens) FROM {} GROUP BY tool"
JSON_FIELDS = "{'tool': 'VARCHAR', 'tokens': 'BIGINT'}"


class Event(msgspec.Struct):
    """What is declared of an event: eight of its ten fields."""

    event: str
    run: str
    step: int
    tool: str
    status: str
    tokens: int
    duration: float
    model: str


EVENTS = columns("events", Event)
# No columns are made of this one: what is asked of it reads few records.
STATUS = columns("events", {"status": str})


class Place(NamedTuple):
    """Where the same events lie."""

    one: str
    many: str
    lines: str
    typed: str
    text: str


class Row(NamedTuple):
    """What is measured, what it is measured beside."""

    name: str
    work: Callable[[], object]
    # Undone before each round.
    before: Callable[[], object] = lambda: None


def events(count: int) -> Iterator[bytes]:
    """JSON events, the same each time."""
    choice = random.Random(1)
    words = ["".join(choice.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(5_000)]
    encode = msgspec.json.encode
    for number in range(count):
        yield encode({
            "event": "tool-result", "run": f"run-{number * STREAMS // count:04d}", "step": number,
            "tool": choice.choice(TOOLS), "status": "error" if choice.random() < 0.1 else "ok",
            "tokens": choice.randrange(5_000), "duration": choice.random(), "model": "some-model-1",
            "arguments": " ".join(choice.choices(words, k=10)),
            "result": " ".join(choice.choices(words, k=36)),
        })  # fmt: skip


def prepare(folder: str, count: int) -> Place:
    """Write the events to all places."""
    names = ("one", "many", "events.jsonl", "typed.parquet", "text.parquet")
    place = Place(*(os.path.join(folder, name) for name in names))
    data = list(events(count))
    with open(place.lines, "wb") as file:
        file.write(b"\n".join(data) + b"\n")
    typed = pa.Table.from_pylist([msgspec.json.decode(each) for each in data[:1]])
    with pq.ParquetWriter(place.typed, typed.schema, compression="zstd") as writer:
        for at in range(0, count, 50_000):
            rows = [msgspec.json.decode(each) for each in data[at : at + 50_000]]
            writer.write_table(pa.Table.from_pylist(rows, typed.schema), row_group_size=8_192)
    text = pa.table({"payload": pa.array(data, pa.binary()).cast(pa.string())})
    pq.write_table(text, place.text, compression="zstd", row_group_size=8_192)
    with transit.open(place.one, durability="os") as log:
        stream = log.create("all")
        for at in range(0, count, AT_ONCE):
            stream.append_many(data[at : at + AT_ONCE])
        log.seal()
    with transit.open(place.many, durability="os") as log:
        _spread(log, data)
    return place


def _spread(log: transit.Log, data: list[bytes]) -> None:
    """A part of each stream at a time, as runs side by side write."""
    streams = [log.create(f"run-{number:04d}") for number in range(STREAMS)]
    each = len(data) // STREAMS
    part = max(1, each // 10)
    for at in range(0, each, part):
        for number, stream in enumerate(streams):
            start = number * each + at
            stream.append_many(data[start : start + min(part, each - at)])
    streams[417].branch("branch", at=each // 2).append_many(data[:100])
    log.seal()


def rows(place: Place, one: transit.Log, many: transit.Log) -> list[Row]:
    """All that is measured."""
    last = "SELECT _stream, LAST(status) FROM events GROUP BY 1"
    each = len(many.stream("run-0000"))
    late = many.stream("run-0999")[-1].written
    early = many.stream("run-0000")[0].written
    since = late - (late - early) // 100

    def ask(log: transit.Log, query: str, **given: Any) -> Callable[[], object]:
        return lambda: sql(log, query, columns=EVENTS, limits=LIMITS, **given)

    group = GROUP.format("events")
    forget = one.cache("views").evict
    return [
        Row("group by: DuckDB, Parquet of all fields", _duck(GROUP, f"'{place.typed}'")),
        Row("group by: DuckDB, JSON lines, two fields declared",
            _duck(GROUP, f"read_json('{place.lines}', columns={JSON_FIELDS})")),
        Row("group by: DuckDB, JSON as text in Parquet", _duck(_TEXT, f"'{place.text}'")),
        Row("group by: transit, nothing prepared", ask(one, group), lambda: forget(0)),
        Row("group by: transit, columns there", ask(one, group)),
        Row("group by: transit, 1,000 streams, columns there", ask(many, group)),
        Row("one of 1,000 streams: DuckDB, JSON lines",
            _duck("SELECT count(*), sum(tokens) FROM {} WHERE run = 'run-0417'",
                  f"read_json('{place.lines}', columns={{'run': 'VARCHAR', 'tokens': 'BIGINT'}})")),
        Row("one of 1,000 streams: transit, SQL",
            ask(many, "SELECT count(*), sum(tokens) FROM events", streams="run-0417")),
        Row("one of 1,000 streams: transit, scan",
            lambda: scan(many, EVENTS, streams="run-0417").to_arrow()),
        Row("one of 1,000 streams: transit, its records decoded",
            lambda: [msgspec.json.decode(payload, type=Event)
                     for batch in many.stream("run-0417").batches() for payload in batch.payloads]),
        Row("LAST by stream: transit", ask(many, last, streams="run-*")),
        Row("LAST by stream, as of the first half", ask(many, last, streams="run-*", at=each // 2)),
        Row("LAST by stream, no columns there",
            lambda: sql(many, last, columns=STATUS, limits=LIMITS, streams="run-*")),
        Row("a branch: transit, SQL",
            ask(many, "SELECT count(*), max(_offset) FROM events", streams="branch")),
        Row("the last 1 % of time: transit, SQL", ask(many, group, since=since)),
        Row("SELECT 1: DuckDB, connection and all", lambda: duckdb.connect().execute("SELECT 1")),
    ]  # fmt: skip


_TEXT = (
    "SELECT t[1], count(*), sum(t[2]::BIGINT), avg(t[2]::BIGINT) FROM"
    " (SELECT json_extract_string(payload, ['$.tool', '$.tokens']) AS t FROM {}) GROUP BY 1"
)


def _duck(query: str, source: str) -> Callable[[], object]:
    def ask() -> object:
        with duckdb.connect(config={"threads": THREADS}) as connection:
            return connection.execute(query.format(source)).fetchall()

    return ask


def measure(found: list[Row], rounds: int) -> list[float]:
    """The least CPU seconds of each."""
    best = [float("inf")] * len(found)
    for _ in range(rounds):
        for place, row in enumerate(found):
            row.before()
            begun = time.process_time()
            row.work()
            best[place] = min(best[place], time.process_time() - begun)
    return best


def main() -> None:
    """Prepare, measure, print."""
    parser = argparse.ArgumentParser("python -m benchmarks.sql", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("path", nargs="?", help="a folder; else where temporary files go")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.path) as folder:
        place = prepare(folder, arguments.records)
        with transit.open(place.one, mode="read") as one, transit.open(place.many) as many:
            scan(many, EVENTS).to_parquet_paths()
            found = rows(place, one, many)
            for row, seconds in zip(found, measure(found, arguments.rounds), strict=True):
                print(f"{row.name:<60}{seconds * 1000:>10.1f} ms of CPU")
            _print_sizes("one stream", one)
            _print_sizes("1,000 streams", many)


def _print_sizes(name: str, log: transit.Log) -> None:
    made = sum(os.path.getsize(path) for path in scan(log, EVENTS).to_parquet_paths())
    sealed = sum(segment.stored_bytes for segment in log.segments())
    print(f"columns of {name}: {made:,} bytes, {made / sealed:.3f} of {sealed:,} sealed")


if __name__ == "__main__":
    main()
