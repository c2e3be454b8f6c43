"""Engines: what each one that is installed makes of a plan is what one process reads.

`just fleet-engines` installs them, each in an environment of its own.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, chdir, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

import transit
from transit import fleet
from transit.fleet import workers
from transit.views.scans.declaring import columns

from .test_plans import SMALL, fill

pa = pytest.importorskip("pyarrow")

# Engines warn of much that is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")
missing = partial(pytest.importorskip, reason="not installed; `just fleet-engines` has it")
STARTS_MAX = 5


class Engine(NamedTuple):
    """frame: of parts, as `fleet.scan`. table: what it computes. kinds: names and types of it."""

    frame: Callable[..., Any]
    table: Callable[[Any], Any]
    kinds: Callable[[Any], list[tuple[str, str]]]


@contextmanager
def on_dask() -> Iterator[Engine]:
    """Dask's threads in this process."""
    dask = missing("dask")
    missing("pandas")
    # It needs Dask.
    from transit.fleet.dask import frame

    def table(made: Any) -> Any:
        found = made.compute()
        assert dict(found.dtypes) == dict(made.dtypes)
        return pa.Table.from_pandas(found, preserve_index=False)

    with dask.config.set(scheduler="threads", num_workers=2):
        yield Engine(frame, table, lambda made: [(n, str(t)) for n, t in made.dtypes.items()])


@contextmanager
def on_a_dask_cluster() -> Iterator[Engine]:
    """Processes of Dask, which exchange rows."""
    distributed, config = missing("distributed"), missing("dask.config")
    how = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        on_dask() as local,
        tempfile.TemporaryDirectory() as folder,
        config.set({"temporary-directory": folder}),
        distributed.LocalCluster(**how) as cluster,
        distributed.Client(cluster),
    ):

        def table(made: Any) -> Any:
            return local.table(made.shuffle(made.columns[0]))

        yield Engine(local.frame, table, local.kinds)


@contextmanager
def on_ray() -> Iterator[Engine]:
    """A Ray of this machine alone."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray") as folder:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Else it leaves a token in the home of whoever runs this; only this machine reaches it.
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        ray = missing("ray")
        missing("ray.data")
        start_ray(ray, folder)
        try:
            ray.data.DataContext.get_current().enable_progress_bars = False
            # It needs Ray.
            from transit.fleet.ray import dataset

            def table(made: Any) -> Any:
                blocks = ray.get(made.to_arrow_refs())
                schema = made.schema().base_schema
                assert all(block.schema == schema for block in blocks)
                return pa.concat_tables([schema.empty_table(), *blocks])

            def kinds(made: Any) -> list[tuple[str, str]]:
                return [(field.name, str(field.type)) for field in made.schema().base_schema]

            yield Engine(dataset, table, kinds)
        finally:
            ray.shutdown()


def start_ray(ray: Any, folder: str) -> None:
    """Start it; on a busy machine it gives up too early, and is started again."""
    for number in range(STARTS_MAX):
        try:
            ray.init(
                num_cpus=2,
                include_dashboard=False,
                object_store_memory=150 << 20,
                log_to_driver=False,
                logging_level="ERROR",
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
            )
        except Exception:
            ray.shutdown()
            if number == STARTS_MAX - 1:
                raise
        else:
            return


@contextmanager
def on_spark() -> Iterator[Engine]:
    """A Spark of this process, which tries a task up to four times, as a cluster does."""
    sql = missing("pyspark.sql")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        # Its workers are the first python3 otherwise, whatever runs this.
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        builder = sql.SparkSession.builder.master("local[2,4]")
        for key, value in {
            "spark.ui.enabled": "false",
            "spark.driver.memory": "1g",
            "spark.sql.shuffle.partitions": "2",
            "spark.local.dir": folder,
            "spark.sql.warehouse.dir": f"{folder}/warehouse",
        }.items():
            builder = builder.config(key, value)
        # What its Java leaves behind is left there.
        with chdir(folder):
            session = builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        try:
            # It needs Spark.
            from transit.fleet.spark import frame

            yield Engine(
                partial(frame, session), lambda made: made.toArrow(), lambda made: list(made.dtypes)
            )
        finally:
            session.stop()


def scan(parts: Any, columns: Any = None, *, keyring: Any = None, **how: Any) -> Any:
    """As engines in other processes are given parts."""
    return fleet.scan(parts, columns, keyring=None if keyring is None else keyring(), **how)


@contextmanager
def on_duckdb() -> Iterator[Engine]:
    """DuckDB, over a stream of Arrow."""
    duckdb = missing("duckdb")
    with duckdb.connect() as connection:
        yield Engine(
            lambda *given, **how: connection.from_arrow(scan(*given, **how)),
            lambda made: made.to_arrow_table(),
            lambda made: list(zip(made.columns, map(str, made.types), strict=True)),
        )


@contextmanager
def on_polars() -> Iterator[Engine]:
    """Polars, over a stream of Arrow."""
    polars = missing("polars")
    yield Engine(
        lambda *given, **how: polars.DataFrame(scan(*given, **how)),
        lambda made: made.to_arrow(),
        lambda made: [(name, str(kind)) for name, kind in made.schema.items()],
    )


@contextmanager
def on_datafusion() -> Iterator[Engine]:
    """DataFusion, over a stream of Arrow."""
    context = missing("datafusion").SessionContext()
    yield Engine(
        lambda *given, **how: context.from_arrow(scan(*given, **how)),
        lambda made: made.to_arrow_table(),
        lambda made: [(field.name, str(field.type)) for field in made.schema()],
    )


ENGINES: dict[str, Callable[[], AbstractContextManager[Engine]]] = {
    "dask": on_dask,
    "dask-cluster": on_a_dask_cluster,
    "ray": on_ray,
    "spark": on_spark,
    "duckdb": on_duckdb,
    "polars": on_polars,
    "datafusion": on_datafusion,
}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with ENGINES[request.param]() as started:
        yield started


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[fleet.Fleet]:
    """Three stores, with branches, merges, layers, and streams that are hidden."""
    with fleet.create(str(tmp_path / "fleet"), settings=SMALL) as made:
        fill(made, tmp_path, 3, 1)
        yield made


Fact = tuple[Any, ...]
FACTS = [name for name in fleet.COLUMNS if name not in ("headers", "timestamp", "written")]


def facts(table: Any) -> list[Fact]:
    """The records of a table, whatever types an engine has for their columns; times exact."""
    columns = [table[name].to_pylist() for name in FACTS]
    for name in ("timestamp", "written"):
        exact = f"{name}_ns"
        times = table[exact] if exact in table.column_names else nanoseconds(table[name])
        columns.append(times.to_pylist())
    columns.append([frozenset(pairs(each).items()) for each in table["headers"].to_pylist()])
    return sorted(zip(*columns, strict=True), key=lambda fact: fact[:4])


def nanoseconds(times: Any) -> Any:
    assert times.type.unit == "ns"
    return times.cast(pa.int64())


def pairs(headers: Any) -> dict[str, str]:
    """Headers: an object in JSON, an object, or pairs."""
    found: dict[str, str] = json.loads(headers) if isinstance(headers, str) else dict(headers)
    return found


def read(parts: Sequence[fleet.Part]) -> list[Fact]:
    """What one process reads, one part after another."""
    return facts(fleet.scan(parts, settings=SMALL).read_all())


@pytest.mark.parametrize("by", ["blocks", "stream"])
@pytest.mark.parametrize("n", [1, 9])
def test_the_records_are_those_of_one_process_in_any_order_of_parts(
    engine: Engine, agents: fleet.Fleet, by: str, n: int
) -> None:
    parts = list(agents.plan(n=n, by=by))  # type: ignore[arg-type]
    assert len(parts) >= 3
    expected = read(parts)
    assert {dict(fact[-1]).get("kind") for fact in expected} == {None, "a", "b"}
    random.Random(n).shuffle(parts)
    assert facts(engine.table(engine.frame(parts, settings=SMALL))) == expected


def test_a_part_that_is_given_twice_is_there_twice(engine: Engine, agents: fleet.Fleet) -> None:
    parts = agents.plan(n=4).parts
    twice = [*parts, parts[1], parts[1]]
    found = facts(engine.table(engine.frame(twice, settings=SMALL)))
    assert found == sorted(read(parts) + 2 * read(parts[1:2]), key=lambda fact: fact[:4])
    assert len(found) > len(read(parts))


def test_no_parts_have_the_columns_and_types_of_many(engine: Engine, agents: fleet.Fleet) -> None:
    plan = agents.plan(n=4)
    for names in (None, ["payload", "store"]):
        empty = engine.frame([], names, settings=SMALL)
        some = engine.frame(plan, names, settings=SMALL)
        assert engine.kinds(empty) == engine.kinds(some)
        found, many = engine.table(empty), engine.table(some)
        assert len(found) == 0
        assert len(many) > 0
        assert found.column_names == many.column_names == [name for name, _ in engine.kinds(some)]
        assert found.schema.types == many.schema.types
        # A plan may have parts without a record that is asked for.
        asked = agents.plan(n=4, streams="runs/branch-none")
        none = engine.table(engine.frame(asked, names, settings=SMALL))
        assert len(none) == 0
        assert none.schema.types == many.schema.types


def test_columns_are_those_asked_for_in_that_order(engine: Engine, agents: fleet.Fleet) -> None:
    plan = agents.plan(n=4)
    names = ["payload", "offset", "store"]
    made = engine.frame(plan, names, settings=SMALL)
    assert [name for name, _ in engine.kinds(made)] == names
    found = engine.table(made)
    assert found.column_names == names
    expected = fleet.scan(plan, names, settings=SMALL).read_all()
    rows = [
        sorted(zip(*(column.to_pylist() for column in table.columns), strict=True))
        for table in (found, expected)
    ]
    assert rows[0] == rows[1]
    for wrong in (["nothing"], "payload"):
        with pytest.raises(transit.InvalidInputError, match="column"):
            engine.frame(plan, wrong, settings=SMALL)


def test_what_is_published_meanwhile_changes_nothing(
    engine: Engine, agents: fleet.Fleet, tmp_path: Path
) -> None:
    plan = agents.plan(n=5)
    expected = read(plan.parts)
    made = engine.frame(plan, settings=SMALL)
    fill(agents, tmp_path, 4, 2)
    assert facts(engine.table(made)) == expected
    assert facts(engine.table(engine.frame(plan, settings=SMALL))) == expected
    assert len(read(agents.plan().parts)) > len(expected)


def test_encrypted_stores_are_read_where_workers_open_the_keyring(
    engine: Engine, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    keyring = transit.Keyring.create(tmp_path / "keys", passphrase="p")
    secret = partial(transit.Keyring.open, tmp_path / "keys", passphrase="p")
    with fleet.create(str(tmp_path / "fleet"), settings=SMALL, keyring=keyring) as agents:
        fill(agents, tmp_path, 1, 3)
        plan = agents.plan(n=3)
    expected = facts(fleet.scan(plan, settings=SMALL, keyring=keyring).read_all())
    made = engine.frame(plan, settings=SMALL, keyring=secret)
    assert facts(engine.table(made)) == expected


def test_credentials_are_with_the_workers_and_in_no_part(
    engine: Engine, tmp_path: Path, moto_remote: tuple[str, dict[str, object]]
) -> None:
    url, options = moto_remote
    place = f"{url}/{tmp_path.name}"
    with fleet.create(place, storage_options=options, settings=SMALL) as agents:
        fill(agents, tmp_path, 1, 4)
        plan = agents.plan(n=3)
    made = engine.frame(plan, storage_options=options, settings=SMALL)
    expected = fleet.scan(plan, storage_options=options, settings=SMALL).read_all()
    assert facts(engine.table(made)) == facts(expected)
    for secret in map(str, options.values()):
        assert secret.encode() not in pickle.dumps(plan.parts)


class Event(msgspec.Struct):
    """A column of each type."""

    tool: str
    tokens: int | None = None
    ratio: float | None = None
    ok: bool | None = None
    raw: bytes | None = None
    at: datetime | None = None
    extra: Any = None
    tags: list[str] = []
    counts: list[int] = []
    shares: list[float] = []
    flags: list[bool] = []


EVENTS = columns("events", Event)
PAYLOADS = [
    b'{"tool":"bash","tokens":9007199254740993,"ratio":0.5,"ok":true,"raw":"aGk=","flags":[true],'
    b'"at":"2026-01-02T03:04:05.678901Z","extra":{"a":[1]},"tags":["x","y"],"counts":[1,-2],'
    b'"shares":[0.5]}',
    b'{"tool":"edit","tags":[]}', b'{"tool":"edit","tokens":"many","ok":false}', b"no JSON", b"",
    b'{"tokens":-1}', b"\xff\xfe",
]  # fmt: skip


@pytest.fixture
def typed_agents(tmp_path: Path) -> Iterator[fleet.Fleet]:
    """Two stores with payloads that have all columns, some, or none that can be read."""
    with fleet.create(str(tmp_path / "typed"), settings=SMALL) as made:
        for number in range(2):
            with made.record(tmp_path / f"typed-{number}", durability="os") as log:
                for turn in range(3):
                    stream = log.create(f"runs/{turn}")
                    for offset, data in enumerate(PAYLOADS * 30):
                        stream.append(data, timestamp=1000 * offset)
                    log.seal()
                log.publish()
        yield made


def typed_facts(table: Any) -> list[Fact]:
    """The rows of a table of declared columns, whatever types an engine has for them."""
    found = []
    for name in table.column_names:
        column = table[name]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        # Dask has lists as JSON.
        found.append(
            [
                json.dumps(v).replace(", ", ",") if isinstance(v, list) else v
                for v in column.to_pylist()
            ]
        )
    return sorted(zip(*found, strict=True), key=lambda row: tuple(map(repr, row)))


@pytest.mark.parametrize("by", ["blocks", "stream"])
def test_declared_columns_are_those_of_one_process(
    engine: Engine, typed_agents: fleet.Fleet, by: str
) -> None:
    parts = list(typed_agents.plan(n=5, by=by))  # type: ignore[arg-type]
    expected = fleet.scan(parts, EVENTS, settings=SMALL).read_all()
    assert len(expected) == 2 * 3 * 30 * len(PAYLOADS)
    assert expected["_error"].null_count == len(expected) * 2 // len(PAYLOADS)
    random.Random(5).shuffle(parts)
    made = engine.frame(parts, EVENTS, settings=SMALL)
    assert [name for name, _ in engine.kinds(made)] == ["_store", *EVENTS.names]
    found = engine.table(made)
    assert typed_facts(found) == typed_facts(expected)
    # Types are known before anything is read.
    empty = engine.frame([], EVENTS, settings=SMALL)
    assert engine.kinds(empty) == engine.kinds(made)
    assert engine.table(empty).schema.types == found.schema.types


def test_declared_columns_are_selected_in_that_order(
    engine: Engine, typed_agents: fleet.Fleet
) -> None:
    plan = typed_agents.plan(n=3)
    for names in (["tokens", "_store"], ["_error", "tool"], ["_offset"]):
        made = engine.frame(plan, EVENTS, select=names, settings=SMALL)
        assert [name for name, _ in engine.kinds(made)] == names
        expected = fleet.scan(plan, EVENTS, select=names, settings=SMALL).read_all()
        assert typed_facts(engine.table(made)) == typed_facts(expected)
    for given, wrong in ((EVENTS, ["offset"]), (EVENTS, "tool"), (None, ["offset"])):
        with pytest.raises(transit.InvalidInputError, match=r"column|select"):
            engine.frame(plan, given, select=wrong, settings=SMALL)


# What one engine alone has


def test_dask_reads_the_columns_alone_that_are_used(
    agents: fleet.Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[tuple[str, ...]] = set()

    def scan(parts: Any, columns: Any, **how: Any) -> Any:
        asked.add(tuple(columns))
        return fleet.scan(parts, columns, **how)

    monkeypatch.setattr(workers, "scan", scan)
    with on_dask() as engine:
        made = engine.frame(agents.plan(n=4), settings=SMALL)
        for used in (["offset"], ["stream", "store"]):
            asked.clear()
            assert list(made[used].compute().columns) == used
            assert {frozenset(columns) for columns in asked} == {frozenset(used)}


def test_ray_is_told_how_much_memory_parts_take_and_no_count(agents: fleet.Fleet) -> None:
    missing("ray.data")
    # It needs Ray.
    from transit.fleet.ray import TransitDatasource

    plan = agents.plan(n=4)
    source = TransitDatasource(plan, settings=SMALL)
    tasks = source.get_read_tasks(1)
    assert len(tasks) == len(plan)
    assert {task.metadata.num_rows for task in tasks} == {None}
    total = source.estimate_inmemory_data_size()
    assert total == sum(task.metadata.size_bytes for task in tasks)
    assert total > fleet.scan(plan, settings=SMALL).read_all().nbytes / 2
    narrow = TransitDatasource(plan, ["offset"], settings=SMALL)
    assert 0 < narrow.estimate_inmemory_data_size() < total


def test_spark_is_given_parts_as_text_and_sends_each_task_its_own(agents: fleet.Fleet) -> None:
    missing("pyspark")
    # It needs Spark.
    from transit.fleet.spark import COLUMNS, TransitDataSource

    parts = agents.plan(n=4).parts * 100
    made = TransitDataSource({"parts": msgspec.json.encode(parts).decode()})
    assert made.schema().count("`") == 2 * len(COLUMNS)
    reader = made.reader(None)
    assert tuple(each.value for each in reader.partitions()) == parts
    # Without that of the others.
    assert len(pickle.dumps(reader)) < 1000
    for wrong in (
        {}, {"parts": "no JSON"}, {"parts": "[1]"}, {"parts": "[]", "columns": "3"},
        {"parts": "[]", "columns": '["nothing"]'},
    ):  # fmt: skip
        with pytest.raises(transit.InvalidInputError):
            TransitDataSource(wrong).reader(None)


def test_a_time_of_spark_is_the_microsecond_at_or_before() -> None:
    missing("pyspark")
    # It needs Spark.
    from transit.fleet.spark import _array

    floored = [-1, 0, 1, -1, -1099511628]
    exact = pa.array([-1, 0, 1999, -1000, -(2**40)], pa.timestamp("ns", "UTC"))
    assert _array(exact, pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist() == floored


# What travels to workers


def test_an_opening_shows_no_secret_and_travels() -> None:
    made = workers.opening({"secret": "s3cr3t"}, SMALL, None)
    assert "s3cr3t" not in f"{made!r} {made}"
    assert pickle.loads(pickle.dumps(made)) == made


def test_what_opens_a_keyring_travels_but_no_keyring(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    keyring = transit.Keyring.create(tmp_path / "keys", passphrase="p")
    for wrong in (keyring, lambda: keyring):
        with pytest.raises(transit.InvalidInputError, match="keyring"):
            workers.opening(None, None, wrong)  # type: ignore[arg-type]
    how = partial(transit.Keyring.open, tmp_path / "keys", passphrase="p")
    first, second = (workers.opening(None, None, how) for _ in range(2))
    assert first == second
    # A process unlocks it once.
    assert workers._keyring(first.keyring) is workers._keyring(second.keyring)


def test_a_fleet_imports_no_engine() -> None:
    code = (
        "import sys\nfrom transit import fleet\n"
        "assert not {'dask', 'pandas', 'ray', 'pyspark', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
