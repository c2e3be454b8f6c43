"""Queries that need the last record of each stream alone read no others, and give the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from rigs.seeds import run_seed

from .payloads import EVENTS, Row
from .test_random_queries import SETTINGS, Model, choices, ordered

pytest.importorskip("duckdb")
import duckdb

from transit.views.scans.declaring import columns
from transit.views.scans.lasts import lasts_name
from transit.views.scans.querying import sql
from transit.views.scans.scanning import Scan, scan
from transit.views.scans.statements import Statement, checked

LASTS = lasts_name("events")
GIVEN = "SELECT _stream, LAST(tokens) FROM events"


def statement(query: str) -> Statement:
    ((tree,),) = duckdb.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()
    return checked(query, tree, ["events"], ["events", "other"], "_offset", {"events": LASTS})


@pytest.mark.parametrize(
    "query",
    [
        f"{GIVEN} GROUP BY 1",
        f"{GIVEN} GROUP BY _stream",
        f"{GIVEN} GROUP BY ALL ORDER BY 1 DESC LIMIT 3",
        "SELECT LAST(tokens) FROM events",
        "SELECT DISTINCT last(e.tokens) FROM Events AS e GROUP BY e._stream",
        "SELECT _stream || '!' AS s, LAST(tool), LAST(_time) AS t FROM events GROUP BY _stream"
        " HAVING t IS NOT NULL AND LAST(tokens) + 1 > 0 ORDER BY t",
        f"{GIVEN} WHERE _stream LIKE 'run-%' AND _stream NOT IN ('run-1') GROUP BY 1",
        f"SELECT CASE WHEN s = '' THEN 1 END FROM ({GIVEN} AS s GROUP BY 1)",
        f"WITH l AS ({GIVEN} AS t GROUP BY 1) SELECT t, count(*) FROM l GROUP BY 1",
        f"SELECT * FROM other JOIN ({GIVEN} GROUP BY 1) USING (_stream)",
    ],
)
def test_what_needs_the_last_records_only_reads_these(query: str) -> None:
    found = statement(query)
    assert LASTS.lower() in found.tables
    assert "events" not in found.tables


@pytest.mark.parametrize(
    "query",
    [
        "SELECT _stream FROM events",
        f"{GIVEN} WHERE tokens > 0 GROUP BY 1",
        f"{GIVEN} WHERE _offset < 5 GROUP BY 1",
        f"{GIVEN} WHERE _stream = tool GROUP BY 1",
        f"{GIVEN} WHERE length(_stream) > random() GROUP BY 1",
        f"{GIVEN}, other GROUP BY 1",
        f"{GIVEN} GROUP BY _stream, tool",
        f"{GIVEN} GROUP BY ROLLUP (_stream)",
        "SELECT tool, LAST(tokens) FROM events GROUP BY 1",
        "SELECT LAST(tokens) AS tool FROM events GROUP BY tool",
        "SELECT _stream, LAST(tokens), count(*) FROM events GROUP BY 1",
        "SELECT _stream, LAST(tokens), max(_stream) FROM events GROUP BY 1",
        "SELECT _stream, LAST(tokens), first(tool) FROM events GROUP BY 1",
        "SELECT _stream, LAST(tokens ORDER BY _time) FROM events GROUP BY 1",
        "SELECT _stream, LAST(DISTINCT tokens) FROM events GROUP BY 1",
        "SELECT _stream, LAST(tokens) FILTER (WHERE tokens > 0) FROM events GROUP BY 1",
        "SELECT _stream, LAST(tool::INT) FROM events GROUP BY 1",
        "SELECT _stream, LAST(1 // tokens) FROM events GROUP BY 1",
        "SELECT _stream, LAST(tokens), random() FROM events GROUP BY 1",
        f"{GIVEN} GROUP BY 1 HAVING count(*) > 1",
        f"{GIVEN} GROUP BY 1 HAVING max(tokens) > 1",
        f"{GIVEN} GROUP BY 1 ORDER BY count(*)",
        f"{GIVEN} GROUP BY 1 QUALIFY row_number() OVER () = 1",
        "SELECT _stream, LAST(tokens), (SELECT count(*) FROM events) FROM events GROUP BY 1",
        f"{GIVEN} USING SAMPLE 3 ROWS",
        f"{GIVEN} TABLESAMPLE 10% GROUP BY 1",
        "SELECT _stream, LAST(a) FROM events AS e(_stream, a) GROUP BY 1",
        "SELECT _stream, LAST(tokens) FROM events JOIN other USING (_stream) GROUP BY 1",
        "SELECT _stream, LAST(tokens) FROM other GROUP BY 1",
        "SELECT _stream, LAST(tokens) OVER () FROM events",
    ],
)
def test_what_another_record_may_decide_reads_all(query: str) -> None:
    assert LASTS.lower() not in statement(query).tables


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    with transit.open(path, durability="os") as opened:
        for name in ("a", "b"):
            opened.create(name).append_many([b'{"tool":"%d","tokens":1}' % n for n in range(40)])
        opened.create("none")
        opened.seal()
        yield opened


def test_a_query_sees_no_other_table_than_before(log: transit.Log) -> None:
    query = "SELECT events._stream, LAST(events.tool) FROM events GROUP BY events._stream"
    assert sorted(sql(log, query, columns=EVENTS)) == [("a", "39"), ("b", "39")]
    with pytest.raises(transit.InvalidInputError, match="there is no table"):
        sql(log, f'SELECT * FROM "{LASTS}"', columns=EVENTS)
    with pytest.raises(transit.InvalidInputError) as caught:
        sql(log, "SELECT LAST(x) FROM events", columns=EVENTS)
    assert LASTS not in str(caught.value)


def test_a_last_is_what_it_is_where_another_record_fails(log: transit.Log) -> None:
    log.stream("b").append(b'{"tool":"x","tokens":0}')
    log.stream("b").append(b'{"tool":"7","tokens":1}')
    for bad in ("LAST(tool::INT)", "LAST(1 // nullif(tokens, 0) + tool::INT)"):
        with pytest.raises(transit.InvalidInputError, match="Could not convert"):
            sql(log, f"SELECT _stream, {bad} FROM events GROUP BY 1", columns=EVENTS)


def test_what_is_not_grouped_is_of_the_highest_offset_of_all(log: transit.Log) -> None:
    log.stream("a").append(b'{"tool":"the last"}')
    for query in ("SELECT LAST(tool) FROM events", "SELECT LAST(tool) FROM events WHERE true"):
        assert list(sql(log, query, columns=EVENTS)) == [("the last",)]
        assert list(sql(log, query, columns=EVENTS, streams="none")) == [(None,)]
        assert list(sql(log, query, columns=EVENTS, streams="b", at=3)) == [("2",)]


def test_the_last_of_each_stream_is_read_and_no_other(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = columns("tools", {"tool": str})
    log.stream("a").branch("a/b", at=4)
    seen: list[int] = []
    batches = Scan.batches

    def spied(self: Scan) -> Iterator[Any]:
        for batch in batches(self):
            seen.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(Scan, "batches", spied)
    for makes in (False, True):
        if makes:
            scan(log, tools).to_parquet_paths()
        query = "SELECT _stream, LAST(tool) FROM tools GROUP BY 1 ORDER BY 1"
        assert list(sql(log, query, columns=tools)) == [("a", "39"), ("a/b", "4"), ("b", "39")]
        assert sum(seen) == len(scan(log, tools).lasts()) == 3
        seen.clear()


# With the columns of a row of them. In "{}" is where the streams are chosen, and of the groups all.
SHAPES = [
    ("SELECT _stream, LAST(tool), LAST(tokens) FROM events {} GROUP BY 1 HAVING {}",
     ("tool", "tokens")),
    ("SELECT e._stream, LAST(e._offset), LAST(tags) FROM events e {} GROUP BY ALL HAVING {}",
     ("_offset", "tags")),
    ("WITH l AS (SELECT LAST(ok) AS k, _stream AS s, LAST(ratio) AS r FROM events {}"
     " GROUP BY _stream HAVING {}) SELECT s, k, r FROM l", ("ok", "ratio")),
    ("SELECT _stream, LAST(_error) IS NOT NULL AS wrong, LAST(tool) FROM events {} GROUP BY 1"
     " HAVING LAST(_offset) >= 0 AND {} ORDER BY wrong", ("_error", "tool")),
]  # fmt: skip


def lasts(rows: list[Row], names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    found = {row["_stream"]: row for row in sorted(rows, key=lambda row: row["_offset"])}
    return [(name, *(row[each] for each in names)) for name, row in found.items()]


def test_pruned_queries_give_what_a_model_and_a_query_of_all_records_give(path: Path) -> None:
    seed = run_seed()
    print("seed", seed)
    with transit.open(path, durability="os", settings=SETTINGS) as log:
        model = Model(log, random.Random(seed))
        for _ in range(4):
            model.grow()
        for number in range(60):
            change(model)
            compare(model, number)


def change(model: Model) -> None:
    kind = model.choice.random()
    if kind < 0.1:
        model.grow()
    elif kind < 0.25:
        model.trim()
    elif kind < 0.3:
        model.erase()
    elif kind < 0.4:
        model.log.cache("views").evict(model.choice.choice([0, 20_000]))
    elif kind < 0.6:
        scan(model.log, EVENTS).to_parquet_paths()


def compare(model: Model, number: int) -> None:
    streams, at, since = choices(model)
    rows = model.chosen(streams, at, since)
    shape, names = model.choice.choice(SHAPES)
    name = model.choice.choice(rows)["_stream"] if rows else "none"
    quoted = name.replace("'", "''")
    where = model.choice.choice(["", f"WHERE _stream <> '{quoted}'"])
    expected = lasts([row for row in rows if not where or row["_stream"] != name], names)
    said = f"query {number}: {shape!r} {where!r} streams={streams!r} at={at!r} since={since!r}"
    # A count needs all records.
    for every, reads in (("true", LASTS.lower()), ("count(*) > 0", "events")):
        query = shape.format(where, every)
        assert reads in statement(query).tables
        found = sql(model.log, query, streams=streams, at=at, since=since, columns=EVENTS)
        assert ordered(list(found)) == ordered(expected), f"{said} {every}"
