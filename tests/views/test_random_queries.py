"""Random queries: columns files, records decoded directly and a model in Python agree."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

import transit
from rigs.seeds import run_seed

from .payloads import EVENTS, FIELDS, MORE, Row, fill

pytest.importorskip("duckdb")
from transit.views.scans.querying import sql
from transit.views.scans.scanning import scan

Shown = dict[str, list[Row]]
SETTINGS = transit.Settings(block_bytes=4096)


class Model:
    """What a store holds, as plain rows."""

    def __init__(self, log: transit.Log, choice: random.Random) -> None:
        self.log = log
        self.choice = choice
        self.rows: dict[tuple[str, int], Row] = {}
        # By commit: how many own records of each stream are sealed.
        self.sealed: dict[int, dict[int, int]] = {}

    def grow(self) -> None:
        # What was trimmed cannot be merged any more.
        with suppress(transit.ErasedError):
            fill(self.log, self.choice, self.rows)
        self._note_segments()

    def erase(self) -> None:
        self.log.erase()
        # It may have sealed first.
        self._note_segments()

    def _note_segments(self) -> None:
        for segment in self.log.segments():
            known = self.sealed.setdefault(segment.commit, {})
            for stream in (*self.log.streams(), *self.log.hidden()):
                known[stream.id] = max(known.get(stream.id, 0), segment.offsets(stream.id).stop)

    def trim(self) -> None:
        """Of a stream that nothing depends on, a few records or all."""
        stream = self.choice.choice(list(self.log.streams()))
        with suppress(transit.DependentsError):
            stream.trim(before=self.choice.randint(0, len(stream)))

    def shown(self, stream: transit.Stream) -> list[Row]:
        return [
            {"_stream": stream.name, "_offset": record.offset, "_written": record.written}
            | {"_origin": record.origin}
            | self.rows[record.origin.stream, record.origin.offset]
            for record in stream.read()
        ]

    def chosen(self, streams: Any, at: Any, since: int | None) -> list[Row]:
        names = [stream.name for stream in self.log.streams()]
        if streams is not None:
            wanted = [streams] if isinstance(streams, str) else streams
            patterns = [each for each in wanted if each not in names]
            names = [
                name for name in names
                if name in wanted or any(fnmatchcase(name, each) for each in patterns)
            ]  # fmt: skip
        rows: list[Row] = []
        for name in names:
            rows += self._cut(self.log.stream(name), at, since)
        return rows

    def _cut(self, stream: transit.Stream, at: Any, since: int | None) -> list[Row]:
        rows = self.shown(stream)
        if isinstance(at, dict):
            at = at.get(stream.name)
        stop = len(rows)
        if isinstance(at, int):
            trimmed = rows[0]["_offset"] if rows else 0
            stop = min(stop, max(at - trimmed, 0))
        elif isinstance(at, datetime):
            stop = _first(rows, int(at.timestamp() * 10**6) * 1000)
        elif at is not None:
            stop = self._sealed_by(rows, int(at.partition(":")[2]))
        start = 0 if since is None else min(stop, _first(rows, since))
        return rows[start:stop]

    def _sealed_by(self, rows: list[Row], commit: int) -> int:
        ids = {stream.name: stream.id for stream in (*self.log.streams(), *self.log.hidden())}
        reached: dict[int, int] = {}
        for number, known in self.sealed.items():
            if number <= commit:
                reached = {key: max(known[key], reached.get(key, 0)) for key in known}
        for place, row in enumerate(rows):
            name, offset = row["_origin"]
            if offset >= reached.get(ids[name], 0):
                return place
        return len(rows)


def _first(rows: list[Row], time: int) -> int:
    return next((n for n, row in enumerate(rows) if row["_written"] >= time), len(rows))


Condition = tuple[str, Callable[[Row], bool]]


def condition(choice: random.Random, rows: list[Row]) -> Condition:
    number, offset = choice.randrange(1000), choice.randrange(60)
    name = choice.choice(rows)["_stream"] if rows else "none"
    quoted = name.replace("'", "''")
    return choice.choice([
        ("true", lambda row: True),
        (f"tokens > {number}", lambda row: row["tokens"] is not None and row["tokens"] > number),
        (f"_offset < {offset}", lambda row: row["_offset"] < offset),
        (f"_offset BETWEEN 5 AND {offset}", lambda row: 5 <= row["_offset"] <= offset),
        (f"_stream = '{quoted}'", lambda row: row["_stream"] == name),
        ("tool IS NULL", lambda row: row["tool"] is None),
        ("tool = 'it''s'", lambda row: row["tool"] == "it's"),
        ("tool = '☃\n' OR tool = 'LAST(x)'", lambda row: row["tool"] in ("☃\n", "LAST(x)")),
        ("_error IS NOT NULL", lambda row: row["_error"]),
        ("len(tags) = 2", lambda row: row["tags"] is not None and len(row["tags"]) == 2),
        ("ok AND ratio < 1", lambda row: row["ok"] is True and (row["ratio"] or 1) < 1),
    ])  # fmt: skip


def counted(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [(
        len(rows), sum(row["tokens"] is not None for row in rows),
        sum(row["tool"] is not None for row in rows), sum(row["_error"] for row in rows),
        sum(row["extra"] is not None for row in rows), sum(bool(row["ok"]) for row in rows),
    )]  # fmt: skip


def grouped(rows: list[Row]) -> list[tuple[Any, ...]]:
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row["tool"], []).append(row)
    return [
        (tool, len(group), sum(row["tokens"] or 0 for row in group),
         max(row["_offset"] for row in group))
        for tool, group in found.items()
    ]  # fmt: skip


def latest(rows: list[Row]) -> list[tuple[Any, ...]]:
    found = {row["_stream"]: row for row in sorted(rows, key=lambda row: row["_offset"])}
    return [(name, row["tool"], row["tokens"], row["_offset"]) for name, row in found.items()]


def listed(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [
        (
            row["_stream"],
            row["_offset"],
            *(row[name] for name in ("tool", "tokens", "ratio", "ok", "tags")),
        )
        for row in rows
    ]


SHAPES: list[tuple[str, Callable[[list[Row]], list[tuple[Any, ...]]]]] = [
    (
        "SELECT count(*), count(tokens), count(tool), count(_error), count(extra),"
        " count(*) FILTER (WHERE ok) FROM events WHERE {}", counted,
    ),
    (
        "SELECT tool, count(*), coalesce(sum(tokens), 0), max(_offset) FROM events WHERE {}"
        " GROUP BY 1", grouped,
    ),
    (
        "SELECT _stream, LAST(tool), last(tokens) AS l, max(_offset) FROM events WHERE {}"
        " GROUP BY 1", latest,
    ),
    (
        "WITH l AS (SELECT _stream AS s, LAST(tool), LAST(tokens), LAST(_offset) AS o FROM events"
        " WHERE {} GROUP BY ALL HAVING o >= 0) SELECT * FROM l", latest,
    ),
    ("SELECT _stream, _offset, tool, tokens, ratio, ok, tags FROM events WHERE {}", listed),
]  # fmt: skip


def choices(model: Model) -> tuple[Any, Any, int | None]:
    choice, log = model.choice, model.log
    names = [stream.name for stream in log.streams()]
    some = choice.sample(names, min(len(names), 3))
    streams = choice.choice([None, None, some[0], some, "run-*", "*/b*", ["*☃*", some[0]], "none*"])
    times = [record.written for name in some for record in log.stream(name).read()] or [0]
    # Microseconds, as datetime has them.
    time = choice.choice(times) // 1000 * 1000
    at = choice.choice([
        None, None, choice.randrange(80), datetime.fromtimestamp(time / 10**9, UTC),
        f"commit:{choice.randrange(max(model.sealed, default=0) + 2)}",
        {some[0]: choice.randrange(40)} if streams in (None, some[0], some) else None,
    ])  # fmt: skip
    return streams, at, choice.choice([None, None, choice.choice(times)])


def ordered(rows: Iterator[tuple[Any, ...]] | list[tuple[Any, ...]]) -> list[str]:
    return sorted(map(repr, rows))


def run(model: Model, number: int) -> None:
    choice = model.choice
    if choice.random() < 0.08:
        model.grow()
    if choice.random() < 0.08:
        model.trim()
    if choice.random() < 0.1:
        model.erase()
    if choice.random() < 0.2:
        model.log.cache("views").evict(choice.choice([0, 20_000]))
    if choice.random() < 0.3:
        # Makes the files that are missing.
        scan(model.log, EVENTS).to_parquet_paths()
    streams, at, since = choices(model)
    rows = model.chosen(streams, at, since)
    text, keep = condition(choice, rows)
    shape, work = choice.choice(SHAPES)
    query = shape.format(text)
    expected = ordered(work([row for row in rows if keep(row)]))
    said = f"query {number}: {query!r} streams={streams!r} at={at!r} since={since!r}"
    for declared in (EVENTS, MORE):
        found = sql(model.log, query, streams=streams, at=at, since=since, columns=declared)
        assert ordered(list(found)) == expected, f"{said} {declared.digest}"


def check(path: Path, count: int) -> None:
    seed = run_seed()
    print("seed", seed)
    with transit.open(path, durability="os", settings=SETTINGS) as log:
        model = Model(log, random.Random(seed))
        for _ in range(4):
            model.grow()
        hidden = next(iter(log.streams()))
        child = hidden.branch("of a hidden one") if len(hidden) else None
        log.hide(hidden)
        assert child is None or child.name in log
        for number in range(count):
            run(model, number)


def test_files_decoding_and_a_model_agree(path: Path) -> None:
    check(path, 5)


@pytest.mark.slow
def test_files_decoding_and_a_model_agree_on_200_queries(path: Path) -> None:
    check(path, 200)


def test_every_column_is_what_was_recorded(path: Path) -> None:
    seed = run_seed()
    print("seed", seed)
    with transit.open(path, durability="os", settings=SETTINGS) as log:
        model = Model(log, random.Random(seed))
        for _ in range(3):
            model.grow()
        scan(log, EVENTS).to_parquet_paths()
        for declared in (EVENTS, MORE):
            found = scan(log, declared).to_arrow()
            rows = {
                (row["_stream"], row["_offset"]): row
                for row in found.drop_columns(["_time"]).to_pylist()
            }
            assert len(rows) == found.num_rows == sum(map(len, log.streams()))
            for stream in log.streams():
                for row in model.shown(stream):
                    _compare(rows[stream.name, row["_offset"]], row)
            times = found.column("_time").cast("int64").to_pylist()
            recorded = [record.timestamp for stream in log.streams() for record in stream.read()]
            assert sorted(times) == sorted(recorded)


def _compare(found: Row, expected: Row) -> None:
    import json

    assert (found["_error"] is not None) == expected["_error"], (found, expected)
    for name in FIELDS:
        value = found[name]
        if name == "extra" and value is not None:
            value = json.loads(value)
        assert value == expected[name], (name, found, expected)
