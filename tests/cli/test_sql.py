"""`transit sql`: a SELECT over the records of streams, of any store, in any form."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

import transit as engine
from rigs.server.serving import Serving
from transit import trace

from .conftest import Command
from .shell import at_terminal, transit

pytest.importorskip("duckdb")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    remote = tmp_path / "bucket"
    with engine.open(tmp_path / "store", durability="os", remote=remote) as log:
        for number in range(2):
            with trace.task(log, f"run-{number}") as task, task.tool("bash", {"n": number}) as call:
                call.result("x")
        log.create("plain").append_many([b'{"usage":{"input":5},"name":"one"}', b"no JSON"])
        log.publish()
        log.stream("plain").append(b'{"usage":{"input":7},"name":"two"}', headers={"kind": "k"})
    return tmp_path / "store"


COUNT = "SELECT count(*) AS n FROM events"


def test_rows_are_json_lines_in_a_pipe(command: Command, store: Path) -> None:
    query = "SELECT name, count(*) AS n FROM events WHERE event = 'tool_result' GROUP BY 1"
    assert command("sql", query).rows == [{"name": "bash", "n": 2}]
    shown = command("sql", "SELECT LAST(payload) FROM records WHERE _kind = 'k'").rows
    assert shown == [{"LAST(payload)": '{"usage":{"input":7},"name":"two"}'}]
    assert command("sql", "-", stdin=COUNT.encode()).rows == [{"n": 9}]
    table = command("sql", query, "--format", "table").out.decode()
    assert table.splitlines() == ["name  n", "bash  2"]


@pytest.mark.slow
def test_rows_are_a_table_at_a_terminal(store: Path) -> None:
    shown = at_terminal(store, "--no-color", "sql", "SELECT 1 AS a, chr(27) AS b").out.decode()
    assert shown.split() == ["a", "b", "1", "\\x1b"]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ((), 9), (("--streams", "run-*"), 6), (("--streams", "plain"), 3), (("--at", "1"), 3),
        (("--streams", "plain", "--streams", "run-0"), 6), (("--at", "commit:0"), 8),
        (("--at", "plain@1"), 7), (("--at", "plain@1", "--at", "run-0@0"), 4), (("--at", "1h"), 0),
        (("--at", "2100-01-01"), 9), (("--until", "1h"), 0), (("--since", "1h"), 9),
        (("--at", "2100-01-01", "--until", "1h"), 0),
    ],
)  # fmt: skip
def test_what_is_read_is_chosen(
    command: Command, store: Path, options: tuple[str, ...], count: int
) -> None:
    assert command("sql", COUNT, *options).rows == [{"n": count}]


def test_columns_are_given_by_hand(command: Command, store: Path) -> None:
    query = "SELECT who, n, _error IS NULL AS ok FROM events ORDER BY _offset"
    done = command(
        "sql", query, "--streams", "plain", "--column", "who=name", "--column", "n=usage.input:int"
    )
    assert [tuple(row.values()) for row in done.rows] == [
        ("one", 5, True), (None, None, False), ("two", 7, True),
    ]  # fmt: skip
    assert command("sql", "SELECT sum(x) AS s FROM events", "--column", "x:int").rows == [
        {"s": None}
    ]


def test_files_are_written(command: Command, store: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    query = "SELECT _stream, count(*) AS n FROM events GROUP BY 1 ORDER BY 1"
    expected = [("plain", 3), ("run-0", 3), ("run-1", 3)]
    text = command("sql", query, "--as", "csv").out.decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [["_stream", "n"], *([name, str(n)] for name, n in expected)]
    command("sql", query, "--as", "csv", "-o", tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == text
    command("sql", query, "--as", "parquet", "-o", tmp_path / "x.parquet")
    found = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert [tuple(row.values()) for row in found] == expected


def test_a_remote_is_read_without_a_folder(command: Command, store: Path, tmp_path: Path) -> None:
    address = (tmp_path / "bucket").as_uri()
    assert command("sql", COUNT, "--store", address).rows == [{"n": 8}]
    done = transit(None, "sql", COUNT, "--remote", address, cwd=tmp_path)
    assert done.rows == [{"n": 8}], done.err


def test_a_server_is_asked_for_its_records(command: Command, store: Path) -> None:
    with engine.open(store, durability="os") as log:
        serving = Serving(log)
        try:
            assert command("sql", COUNT, "--store", serving.url).rows == [{"n": 9}]
            query = (
                "SELECT _stream, LAST(event) AS e FROM events GROUP BY 1 ORDER BY 1 DESC LIMIT 1"
            )
            done = command("sql", query, "--store", serving.url, "--at", "2")
            assert done.rows[0] == {"_stream": "run-1", "e": "tool_result"}
            done = command("sql", COUNT, "--store", serving.url, "--at", "commit:0")
            assert done.rows == [{"n": 8}]
        finally:
            serving.close()


@pytest.mark.parametrize(
    "words",
    [
        ("DROP TABLE events",), ("SELEC",), ("",), ("SELECT nothing FROM events",),
        ("SELECT * FROM '/etc/passwd'",), (COUNT, "--at", "x"), (COUNT, "--at", "1", "--at", "2"),
        (COUNT, "--as", "parquet"), (COUNT, "-o", "x"), (COUNT, "--column", "a b"),
        ("FROM range(9)", "--limit", "8"), (COUNT, "--at", "commit:x"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_a_usage_error(
    command: Command, store: Path, words: tuple[str, ...]
) -> None:
    done = command("sql", *words)
    assert (done.code, done.error["exit_code"]) == (2, 2)


def test_a_stream_that_is_not_there_is_said(command: Command, store: Path) -> None:
    assert command("sql", COUNT, "--streams", "nope").code == 3
