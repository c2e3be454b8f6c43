"""`sql`: what LAST means, what a query may not do, what it may use, and how results look."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import transit

from .payloads import NAMES

pytest.importorskip("duckdb")
import pyarrow as pa

from transit.views.scans.declaring import columns
from transit.views.scans.querying import Limits, sql
from transit.views.scans.scanning import scan

EVENTS = columns("events", {"tool": str, "tokens": int, "at": datetime})


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[transit.Log]:
    with transit.open(tmp_path_factory.mktemp("sql") / "store", durability="os") as opened:
        for name in ("a", "b"):
            stream = opened.create(name)
            for number in range(20):
                stream.append(b'{"tool":"t%d","tokens":%d}' % (number % 3, number))
        opened.stream("b").append(b'{"tool":null,"at":"2026-01-02T03:04:05.5+02:00"}')
        opened.seal()
        opened.stream("a").append(b"no JSON", headers={"kind": "x"})
        yield opened


def rows(log: transit.Log, query: str, **given: object) -> list[tuple[object, ...]]:
    return list(sql(log, query, columns=EVENTS, **given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT LAST(tokens) FROM events", [(None,)]),
        ("SELECT last(tokens) FROM events WHERE _error IS NULL AND tokens >= 0", [(19,)]),
        ("SELECT _stream, last(_offset) FROM events GROUP BY 1 ORDER BY 1", [("a", 20), ("b", 20)]),
        ("SELECT last(tokens ORDER BY -_offset) FROM events WHERE _stream = 'a'", [(0,)]),
        ("SELECT last(e.tokens) FILTER (WHERE e.tokens < 5) FROM events AS e", [(4,)]),
        ("SELECT 'LAST(tokens)' || last('x' || tokens) FROM events WHERE tokens > 0",
         [("LAST(tokens)x19",)]),
        ('SELECT last(tokens) AS "LAST(x)" FROM events WHERE tokens < 7', [(6,)]),
        ("SELECT count(*) FROM (SELECT last(x) FROM (SELECT 1 AS x))", [(1,)]),
        ("SELECT (SELECT last(tokens) FROM events WHERE tokens < 3) + 1", [(3,)]),
        ("WITH x AS (SELECT tool, last(tokens) AS n FROM events WHERE tokens >= 0 GROUP BY 1)"
         " SELECT * FROM x ORDER BY 1", [("t0", 18), ("t1", 19), ("t2", 17)]),
        ("SELECT tool FROM events GROUP BY tool HAVING last(tokens) = 19", [("t1",)]),
        ("SELECT DISTINCT last_value(tokens) OVER (ORDER BY tokens DESC ROWS BETWEEN UNBOUNDED"
         " PRECEDING AND UNBOUNDED FOLLOWING) FROM events WHERE tokens >= 0", [(0,)]),
    ],
)  # fmt: skip
def test_last_is_of_the_highest_offset_unless_an_order_is_given(
    log: transit.Log, query: str, expected: list[tuple[object, ...]]
) -> None:
    assert rows(log, query) == expected


def test_a_column_that_is_a_last_is_called_as_it_was_written(log: transit.Log) -> None:
    query = "SELECT 'ü☃' AS x, Last( tokens ), last(tool) AS t FROM events"
    assert sql(log, query, columns=EVENTS).columns == ("x", "Last( tokens )", "t")


def test_tables_whose_rows_have_no_offset_keep_their_last(log: transit.Log) -> None:
    other = pa.table({"x": [1, 2, 3]})
    assert rows(log, "SELECT last(x) FROM runs", tables={"runs": other}) == [(3,)]
    assert rows(log, "SELECT count(*) FROM runs", tables={"runs": lambda: other}) == [(3,)]
    query = "SELECT max(e.tokens + r.x) FROM events e, runs r"
    assert rows(log, query, tables={"runs": other}) == [(22,)]
    raw = scan(log, streams="a")
    query = "SELECT last(payload), count(_kind) FROM records"
    assert rows(log, query, tables={"records": raw}) == [("no JSON", 1)]


class _View:
    """What a view is to a query."""

    tables = ("runs",)

    def __init__(self) -> None:
        self.asked: list[object] = []

    def of(self, stream: object, *, at: object = None) -> object:
        self.asked.append((stream, at))
        return type("State", (), {"runs": type("T", (), {"to_arrow": lambda _: _TABLE})()})()


_TABLE = pa.table({"status": ["ok", "ok", "bad"]})


def test_the_tables_of_a_view_are_those_of_its_state(log: transit.Log) -> None:
    view = _View()
    query = "SELECT status, count(*) FROM runs GROUP BY 1 ORDER BY 1"
    assert rows(log, query, view=view, stream="a", at=7) == [("bad", 1), ("ok", 2)]
    assert view.asked == [("a", 7)]
    assert rows(log, "SELECT count(*) FROM events", view=view, stream="a") == [(42,)]
    for wrong in ({"view": view}, {"stream": "a"}):
        with pytest.raises(transit.InvalidInputError):
            rows(log, query, **wrong)


@pytest.mark.parametrize(
    "query",
    [
        "", "  ", "SELEC", "SELECT 1; SELECT 2", "DROP TABLE events", "SET threads = 1",
        "COPY events TO '/tmp/x'", "ATTACH '/tmp/x' AS y", "PRAGMA version",
        "CALL pragma_version()", "INSTALL httpfs", "LOAD json", "EXPLAIN SELECT 1", "SHOW TABLES",
        "SELECT nothing FROM events",
        "SELECT * FROM read_parquet('x')", "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'", "SELECT * FROM 'x.parquet'", "FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('*')", "SELECT * FROM duckdb_settings()", "FROM query('FROM x')",
        "SELECT * FROM query_table('events')", "SELECT * FROM information_schema.tables",
        "SELECT * FROM duckdb_columns", "SELECT * FROM sqlite_master", "SELECT * FROM main.events",
        "SELECT * FROM _TABLE", "SELECT getenv('HOME')", "SELECT (SELECT * FROM 'x.csv')",
        'WITH "x.csv" AS (SELECT 1) SELECT * FROM "x.csv"', "WITH events AS (SELECT 1) FROM events",
        "WITH x AS (INSERT INTO events VALUES (1) RETURNING 1) FROM x", "CREATE TABLE x AS FROM y",
        "SELECT * FROM (SELECT * FROM (FROM read_blob('/etc/passwd')))", "VALUES (1); FROM events",
        "SELECT 1 UNION ALL (FROM 'a.csv')", "SELECT * FROM events WHERE tool IN (FROM 'a.csv')",
        "SELECT " + "(" * 3000 + "1" + ")" * 3000, "SELECT 1" + " " * 1024 * 1024,
    ],
)  # fmt: skip
def test_nothing_but_a_select_over_the_given_tables_runs(log: transit.Log, query: str) -> None:
    with pytest.raises(transit.InvalidInputError):
        rows(log, query)


def test_a_file_that_is_there_is_not_read_by_any_name(log: transit.Log, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    secret = tmp_path / "secret.parquet"
    pq.write_table(_TABLE, secret)
    for query in (f"FROM '{secret}'", f"FROM read_parquet('{secret}')", f'FROM "{secret}"'):
        with pytest.raises(transit.InvalidInputError):
            rows(log, query)


@pytest.mark.parametrize(
    ("query", "limits", "said"),
    [
        ("FROM range(100)", Limits(rows_max=99), "more than 99 rows"),
        ("SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000000) b",
         Limits(seconds_max=0.2), r"more than 0\.2 s"),
        ("SELECT list(range) FROM range(100000000) GROUP BY range % 3",
         Limits(memory_bytes_max=32 << 20, threads=1), "more than 32 MiB"),
    ],
)  # fmt: skip
def test_a_query_that_needs_too_much_is_ended(
    log: transit.Log, query: str, limits: Limits, said: str
) -> None:
    with pytest.raises(transit.InvalidInputError, match=said):
        rows(log, query, limits=limits)


def test_limits_that_mean_nothing_are_refused() -> None:
    for given in ({"threads": 0}, {"seconds_max": 0}, {"rows_max": -1}, {"memory_bytes_max": 1}):
        with pytest.raises(transit.InvalidInputError):
            Limits(**given)  # type: ignore[arg-type]


def test_every_way_to_mean_all_columns_reads_all_columns(log: transit.Log) -> None:
    other = pa.table({"tokens": [3]})
    given = {"streams": "a", "tables": {"other": other}}
    assert len(rows(log, "FROM events WHERE tokens = 3", **given)[0]) == 7
    assert rows(log, "SELECT e.tokens FROM events e NATURAL JOIN other", **given) == [(3,)]
    assert rows(log, "SELECT events.tokens FROM events JOIN other USING (tokens)", **given) == [
        (3,)
    ]
    assert rows(log, "SELECT #5 FROM events WHERE _offset = 3", **given) == [(3,)]
    assert rows(log, "SELECT #1 FROM events WHERE tokens = 3", **given) == [("a",)]
    query = "SELECT max(n) FROM events AS e(s, o, t, name, n)"
    assert rows(log, query, **given) == [(19,)]
    (whole,) = rows(log, "SELECT e FROM events e WHERE _offset = 3", **given)
    assert whole[0]["tokens"] == 3  # type: ignore[index]
    (whole,) = rows(log, "SELECT to_json(EVENTS) FROM events WHERE _offset = 3", **given)
    assert '"tokens":3' in str(whole[0])
    assert rows(log, "SELECT TOKENS FROM EVENTS WHERE _OFFSET = 3", **given) == [(3,)]
    assert rows(log, "SELECT count(*) FROM events", **given) == [(21,)]
    assert len(rows(log, "DESCRIBE events", **given)) == 7
    assert len(rows(log, "SUMMARIZE events", **given)) == 7


def test_times_are_in_utc_and_compare_with_text(log: transit.Log) -> None:
    query = 'SELECT "at" FROM events WHERE "at" > \'2026-01-02 01:00\''
    assert rows(log, query) == [(datetime(2026, 1, 2, 1, 4, 5, 500_000),)]
    written = datetime.fromtimestamp(log.stream("a")[0].timestamp / 10**9, UTC)
    (found,) = rows(log, "SELECT date_trunc('day', min(_time)), year(max(_time)) FROM events")
    assert found[0] == datetime(written.year, written.month, written.day)


def test_a_column_that_is_not_there_is_told_with_all_that_are(log: transit.Log) -> None:
    with pytest.raises(transit.InvalidInputError, match='Candidate bindings: "tokens"'):
        rows(log, "SELECT tokenz FROM events")


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_of_any_name_is_found_by_it(path: Path, name: str) -> None:
    with transit.open(path, durability="os") as log:
        log.create(name).append(b"1")
        log.create("another").append(b"2")
        found = sql(log, "SELECT _stream, payload FROM events", streams=name)
        assert list(found) == [(name, "1")]
        with pytest.raises(transit.NotFoundError):
            sql(log, "SELECT 1", streams=f"{name} is not there".replace("*", "").replace("[", ""))


def test_a_store_that_grows_is_seen_at_each_query(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        stream = log.create("a")
        for number in range(30):
            stream.append(b'{"tokens":%d}' % number)
            if number % 7 == 6:
                log.seal()
            if number == 12:
                branch = stream.branch("b", at=3)
            (found,) = rows(log, "SELECT count(*), max(tokens) FROM events", streams="a")
            assert found == (number + 1, number)
        branch.append(b'{"tokens":100}')
        found = rows(log, "SELECT tokens FROM events ORDER BY _offset", streams="b")
        assert found == [(0,), (1,), (2,), (3,), (100,)]


def test_a_result_is_rows_dicts_arrow_and_a_table(log: transit.Log) -> None:
    query = "SELECT tool, sum(tokens) AS n FROM events WHERE tokens >= 0 GROUP BY 1 ORDER BY 1"
    found = sql(log, query, columns=EVENTS)
    assert list(found) == list(found) == [("t0", 126), ("t1", 140), ("t2", 114)]
    assert next(found.dicts()) == {"tool": "t0", "n": 126}
    assert len(found) == found.to_arrow().num_rows == 3
    assert found.to_arrow().schema.field("n").type == pa.int64()
    assert repr(found).splitlines() == [
        "tool    n", "────  ───", "t0    126", "t1    140", "t2    114", "(3 rows)",
    ]  # fmt: skip
    text = repr(sql(log, "SELECT chr(27) || '[2J' AS x, NULL AS y, repeat('日', 50) AS z"))
    assert "\\x1b[2J" in text
    assert "NULL" in text
    assert text.endswith("(1 row)")
    many = repr(sql(log, "SELECT range, " + ", ".join(["'wide wide'"] * 30) + " FROM range(50)"))
    assert many.endswith("(50 rows, 20 shown)")
    assert max(map(len, many.splitlines())) < 130
    assert repr(sql(log, "SELECT 1 AS x WHERE false")).endswith("(0 rows)")
    large = list(sql(log, "SELECT sum(x) FROM (VALUES (9223372036854775807), (5)) t(x)"))
    assert large == [(9223372036854775812,)]


def test_what_goes_wrong_below_is_told_as_it_is(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        log.create("a").append_many([b'{"tokens":1}'] * 50)
        log.seal()
    (segment,) = (path / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    data[40] ^= 1
    segment.write_bytes(data)
    with transit.open(path, mode="read") as log, pytest.raises(transit.CorruptError):
        rows(log, "SELECT sum(tokens) FROM events")


def test_without_the_extra_it_says_what_is_missing(path: Path) -> None:
    script = (
        "import sys\nsys.modules['duckdb'] = None\nimport transit\n"
        "from transit.views.scans.querying import sql\n"
        "with transit.open(sys.argv[1]) as log:\n"
        "    try: sql(log, 'SELECT 1')\n"
        "    except ImportError as error: print(error)"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "duckdb" in done.stdout, done.stderr
