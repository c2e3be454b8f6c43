"""Queries in processes of their own: the same rows, the errors of what is read, and an end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import InvalidInputError, Log, StoreUnavailableError, TransitError
from transit.views.scans import tails
from transit.views.scans.declaring import columns, columns_of, plain_of
from transit.views.scans.querying import Limits, Source, sql
from transit.views.scans.runs import runs_columns
from transit.views.stopping import Stop

pa = pytest.importorskip("pyarrow")
pytest.importorskip("duckdb")

from transit.views.scans.apart import Apart  # noqa: E402 - needs pyarrow
from transit.views.scans.feeding import Feed, feeds  # noqa: E402 - as above
from transit.views.scans.scanning import scan  # noqa: E402 - as above

LIMITS = Limits(memory_bytes_max=64 << 20, threads=2, rows_max=10_000, bytes_max=1 << 20)
USAGE = columns("events", {"a": int, "b": str, "c": ('x."y.z"[0]', list[int])})


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with transit.open(tmp_path / "store", durability="os") as log:
        for name in ("one", "two"):
            stream = log.create(name)
            stream.append_many([
                b'{"a":%d,"b":"text %d","x":{"y.z":[[%d]]}}' % (n, n % 3, n) for n in range(500)
            ])  # fmt: skip
            stream.append(b"no JSON")
        log.seal()
        branch = log.stream("one").branch("one/more", at=99)
        branch.append(b'{"a":-1}')
        yield log


@pytest.fixture(scope="module")
def apart() -> Iterator[Apart]:
    made = Apart()
    yield made
    made.close()


QUERIES = [
    "SELECT * FROM events ORDER BY ALL",
    "SELECT _stream, count(*), sum(a), LAST(b), LAST(_error) FROM events GROUP BY 1 ORDER BY 1",
    "SELECT _stream, LAST(b), LAST(_error), LAST(_offset) FROM events GROUP BY 1 ORDER BY 1",
    "SELECT x._stream, count(*) FROM events x JOIN events y USING (_offset) GROUP BY 1 ORDER BY 1",
    "SELECT b, count(*) FROM events GROUP BY 1 ORDER BY 1",
    "SELECT c, _time FROM events WHERE a > 497 ORDER BY ALL",
    "SELECT count(*) FROM events WHERE _offset < 0",
    "WITH e AS (SELECT a FROM events) SELECT sum(a) FROM e UNION ALL SELECT count(*) FROM events",
    "SELECT 1",
]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("decodes", [True, False])
def test_rows_are_those_of_an_embedded_query(
    log: Log, apart: Apart, query: str, decodes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not decodes:
        # From columns files, whose texts come as dictionaries.
        monkeypatch.setattr("transit.views.scans.scanning.DECODED_MAX", 0)
    sources = feeds({"events": scan(log, USAGE)})
    found = apart.run(query, sources, ["events"], LIMITS, Stop(60))
    assert list(sql(log, query, columns=USAGE)) == list(_rows(found.table))


def _rows(table: Any) -> Iterator[tuple[Any, ...]]:
    # Loaded here: it needs pyarrow.
    from transit.views.scans.results import Result

    return iter(Result(table))


class Broken:
    """A table that cannot be read to its end."""

    def __init__(self, error: TransitError) -> None:
        self._error = error
        self.failed: TransitError | None = None
        self.raises: Exception = error

    columns = ("a",)

    def select(self, names: Iterable[str]) -> Broken:
        return self

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        schema = pa.schema([("a", pa.int64())])

        def batches() -> Iterator[Any]:
            yield pa.record_batch([pa.array([1])], schema=schema)
            if self.raises is self._error:
                self.failed = self._error
            raise self.raises

        reader = pa.RecordBatchReader.from_batches(schema, batches())
        return reader.__arrow_c_stream__(requested_schema)


def test_what_reading_raises_is_raised(apart: Apart) -> None:
    broken = Broken(StoreUnavailableError("the bucket is away"))
    with pytest.raises(StoreUnavailableError, match="away"):
        apart.run("SELECT sum(a) FROM events", {"events": broken}, (), LIMITS, Stop(60))
    wrong = Broken(StoreUnavailableError("not noted"))
    wrong.raises = KeyError("a mistake of our own")
    with pytest.raises(Exception, match="mistake"):
        apart.run("SELECT sum(a) FROM events", {"events": wrong}, (), LIMITS, Stop(60))
    found = apart.run("SELECT 1 AS one", {}, (), LIMITS, Stop(60))
    assert found.table.to_pylist() == [{"one": 1}]


def test_a_query_that_is_not_read_to_its_end_leaves_nothing(log: Log, apart: Apart) -> None:
    for _ in range(5):
        sources: dict[str, Source] = {"events": Feed(scan(log, USAGE))}
        found = apart.run("SELECT * FROM events", sources, ["events"], LIMITS, Stop(60), 3)
        assert (found.table.num_rows, found.is_cut) == (3, True)
    assert not [each for each in threading.enumerate() if each.name == "transit-feed"]


def test_who_waits_no_more_ends_a_query(apart: Apart) -> None:
    gone = Stop(60)
    gone.set()
    with pytest.raises(InvalidInputError, match="nobody waits"):
        apart.run("SELECT 1", {}, (), LIMITS, gone)
    stop = Stop(600)
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    with pytest.raises(InvalidInputError, match="nobody waits"):
        apart.run("SELECT count(*) FROM range(1000000000000)", {}, (), LIMITS, stop)
    timer.join()


def test_processes_end_with_the_room_and_with_who_began_them() -> None:
    room = Apart()
    room.run("SELECT 1", {}, (), LIMITS, Stop(60))
    (process,) = room._idle
    pid = process._process.pid
    room.close()
    assert not os.path.exists(f"/proc/{pid}")
    with pytest.raises(transit.ClosedError):
        room.run("SELECT 1", {}, (), LIMITS, Stop(60))
    other = Apart()
    other.run("SELECT 1", {}, (), LIMITS, Stop(60))
    (process,) = other._idle
    # As when this process is killed: nothing is said, the other end is only gone.
    process._end.close()
    process._process.wait(60)
    other.close()


ENDLESS = """
import sys
import threading
import time
from transit.views.scans import apart
from transit.views.scans.querying import Limits
from transit.views.stopping import Stop

made = apart._Process.__init__

def noting(self, memory):
    made(self, memory)
    print(self._process.pid, flush=True)

apart._Process.__init__ = noting
apart.Apart().run("SELECT count(*) FROM range(1000000000000)", {}, (), Limits(), Stop(3600))
"""


def test_a_query_ends_with_a_server_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        # Until it is in the query, it ends by itself when there is nothing more to read.
        while _threads_of(pid) < 3:
            time.sleep(0.01)
        server.kill()
    ends = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and _state_of(pid) != "Z":
        assert time.monotonic() < ends, "it goes on"
        time.sleep(0.01)


def _threads_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def _state_of(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return "Z"
    return stat.rpartition(")")[2].split()[0]


def test_a_process_writes_no_file_and_makes_no_core(apart: Apart) -> None:
    apart.run("SELECT 1", {}, (), LIMITS, Stop(60))
    pid = apart._idle[0]._process.pid
    limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
    found = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}
    assert found["Max file size"] == "0"
    assert found["Max core file size"] == "0"
    assert int(found["Max data size"]) < 4 << 30
    assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_columns_are_said_in_plain_values_where_these_say_all_of_them() -> None:
    for declared in (USAGE, runs_columns()):
        plain = plain_of(declared)
        assert plain is not None
        assert columns_of(declared.name, plain).digest == declared.digest

    import msgspec

    class Row(msgspec.Struct):
        a: int
        b: str = "x"

    assert plain_of(columns("events", Row)) is None


def test_large_payloads_are_decoded_some_at_a_time(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tails, "CHUNK_BYTES", 1 << 20)
    large = log.create("large")
    for _ in range(8):
        large.append(b'"' + b"x" * (1 << 19) + b'"')
    sizes = [batch.num_rows for batch in scan(log, streams="large").batches()]
    assert sum(sizes) == 8
    assert max(sizes) <= 4


def test_a_function_that_tells_of_the_process_is_refused(log: Log) -> None:
    for call in (
        "current_setting('memory_limit')", "getvariable('x')", "write_log('x')", "getenv('HOME')",
        "json_serialize_plan('SELECT 1')", "current_query()", "nextval('s')", "setseed(0.5)",
    ):  # fmt: skip
        with pytest.raises(InvalidInputError, match="the query"):
            sql(log, f"SELECT {call}")


def test_a_fold_that_is_asked_to_end_keeps_what_it_folded(log: Log) -> None:
    from tests.server.views.declared import another, event
    from transit import views

    stream = log.create("long")
    stream.append_many([event(f"run-{n}") for n in range(100)])
    view = views.open(log, another, persist="ephemeral", savepoint_records=10)
    asked: list[int] = []

    def check() -> None:
        asked.append(len(asked))
        if len(asked) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        view.of(stream, check=check)
    assert view.savepoints(stream) == (10, 20, 30)
    assert view.of(stream) == views.open(log, another, persist="ephemeral").of(stream)
