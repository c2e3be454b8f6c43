"""Declared columns of parts: those of `views` on each store, whatever the parts and their way."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from tests.views.payloads import EVENTS, fill, payload
from transit import fleet, trace
from transit.engine import sealed
from transit.fleet import reading, typed
from transit.fleet.columns import Wanted
from transit.views.scans.declaring import Columns, columns, payload_columns
from transit.views.scans.runs import runs_columns

pytest.importorskip("duckdb")
pa = pytest.importorskip("pyarrow")

from transit.views.scans import files  # noqa: E402
from transit.views.scans.querying import sql  # noqa: E402

from .stores import Opens  # noqa: E402

SMALL = transit.Settings(block_bytes=65536, seal_bytes=65536)
Row = tuple[Any, ...]


class Reply(msgspec.Struct):
    ok: bool
    at: datetime | None = None
    tags: list[str] = []
    raw: bytes | None = None


SHAPES = {
    "struct": EVENTS,
    "another": columns("replies", Reply),
    "paths": columns(
        "events",
        {
            "deep": ("extra.a[1].b", str),
            "either": (("tool", "tokens"), object),
            "tool": str,
            "again": ("tool", str),
            "tokens": int,
            "as_float": ("tokens", float),
            "tags": list[str],
            "payload": ("extra", object),
        },
    ),
    "runs": runs_columns(),
    "payloads": payload_columns(),
}


def values(table: Any, name: str) -> list[Any]:
    """A column, in which equal values are equal: times exact, and no number is unlike itself."""
    column = table[name]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return [repr(each) if isinstance(each, float) else each for each in column.to_pylist()]


def rows_of(table: Any, names: Iterable[str]) -> list[Row]:
    return sorted(zip(*(values(table, name) for name in names), strict=True), key=repr)


def stored(agents: fleet.Fleet, declared: Columns, by: str) -> list[Row]:
    """What a scan of each store has, as `views` reads it; by blocks, of own records alone."""
    rows: list[Row] = []
    for member in agents.members():
        with agents.open(member) as log:
            first = {stream.name: stream.own_start for stream in log.streams()}
            for row in rows_of(declared.scan(log).to_arrow(), declared.names):
                if by == "stream" or row[1] >= first[row[0]]:
                    rows.append((member.store, *row))
    return sorted(rows, key=repr)


def read(parts: Iterable[fleet.Part], declared: Columns, **how: Any) -> Any:
    found = [fleet.read(part, declared, settings=SMALL, **how) for part in parts]
    for table in found:
        assert table.schema == found[0].schema
    return pa.concat_tables(found)


def filled(member: Opens, number: int, seed: int) -> transit.Log:
    """A store with payloads of every kind, branches, merges, and streams that are hidden."""
    choice = random.Random(seed)
    log = member(f"host-{number}", settings=SMALL)
    for _ in range(4):
        fill(log, choice, {})
    some = log.create("more")
    some.append_many([payload(choice)[0] for _ in range(900)], headers={"kind": "x"})
    log.hide(choice.choice(list(log.streams())))
    log.seal()
    log.publish()
    return log


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("by", ["blocks", "stream"])
def test_the_columns_are_those_of_each_store_in_any_parts_and_order(
    agents: fleet.Fleet, member: Opens, shape: str, by: str
) -> None:
    declared = SHAPES[shape]
    for number in range(2):
        filled(member, number, number)
    expected = stored(agents, declared, by)
    assert len({row[0] for row in expected}) == 2
    errors = {row[-1] for row in expected}
    assert len(errors) > 2
    for n in (1, 3, 50):
        parts = [*agents.plan(n=n, by=by)]  # type: ignore[arg-type]
        random.Random(n).shuffle(parts)
        table = read(parts, pickle.loads(pickle.dumps(declared)))
        assert table.column_names == ["_store", *declared.names]
        assert rows_of(table, table.column_names) == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_a_column_alone_is_what_it_is_beside_the_others(
    agents: fleet.Fleet, member: Opens, shape: str
) -> None:
    """A record that has an error in another column, too."""
    filled(member, 0, 7)
    declared = SHAPES[shape]
    plan = agents.plan(n=3)
    whole = read(plan, declared)
    for name in ("_store", *declared.names):
        alone = read(plan, declared, select=[name])
        assert alone.schema == pa.schema([whole.schema.field(name)])
        assert values(alone, name) == values(whole, name)
    names = [declared.names[3], "_offset", "_store"]
    assert read(plan, declared, select=names).equals(whole.select(names))


def test_a_question_has_the_answers_of_views(agents: fleet.Fleet, member: Opens) -> None:
    filled(member, 0, 3)
    (one,) = agents.members()
    for declared, query in (
        (EVENTS, "SELECT tool, count(*), sum(tokens), max(ratio) FROM {} GROUP BY 1 ORDER BY 1"),
        (EVENTS, "SELECT _stream, count(_error) AS e FROM {} GROUP BY 1 ORDER BY 1"),
        (
            EVENTS,
            "SELECT _stream, _offset, tool FROM {} WHERE list_contains(tags, 'x') ORDER BY ALL",
        ),
        (None, "SELECT _kind, count(*), max(length(payload)) FROM {} GROUP BY 1 ORDER BY 1"),
    ):
        parts = agents.plan(n=4, by="stream")
        table = read(parts, payload_columns() if declared is None else declared)
        with agents.open(one) as log:
            expected = list(sql(log, query.format("events"), columns=declared))
            tables = {"parts": table.drop_columns(["_time"])}
            assert list(sql(log, query.format("parts"), tables=tables)) == expected
        assert expected


def test_runs_that_were_recorded_are_asked_of_all_stores(
    agents: fleet.Fleet, member: Opens
) -> None:
    for number in range(2):
        log = member(f"host-{number}")
        with trace.task(log, "run", actor="agent") as task:
            task.model_call(model="m", request={}, response={}, usage={"input_tokens": 7 + number})
            with task.tool("pytest", {"path": "tests"}) as call:
                call.result("passed")
        log.publish()
    table = read(agents.plan(), runs_columns(), select=["_store", "event", "name", "tokens_in"])
    tokens = dict.fromkeys(table["_store"].to_pylist(), 0)
    for row in table.to_pylist():
        tokens[row["_store"]] += row["tokens_in"] or 0
    names = {each.name: each.store for each in agents.members()}
    assert tokens == {names["host-0"]: 7, names["host-1"]: 8}
    assert {"tool_result", "model_call"} & set(table["event"].to_pylist())
    assert "pytest" in table["name"].to_pylist()


def test_the_schema_is_known_before_anything_is_read(agents: fleet.Fleet, member: Opens) -> None:
    for number in range(2):
        # Texts of one, and of many: a scan of `views` makes a dictionary of the first.
        log = member(f"host-{number}")
        log.create("a").append_many([b'{"tool": "t%d"}' % (n * number) for n in range(2000)])
        log.publish()
    for declared in SHAPES.values():
        schema = fleet.scan([], declared).schema
        assert schema == read(agents.plan(), declared).schema
        assert schema.names == ["_store", *declared.names]
        kinds = {name: schema.field(name).type for name in declared.names}
        assert kinds["_error"] == pa.string()
        assert kinds.get("tool", pa.string()) == pa.string()
        assert kinds.get("tokens", pa.int64()) == pa.int64()
        none = agents.plan(streams="nothing", n=1)
        assert all(fleet.read(part, declared).schema == schema for part in none)


def test_records_of_a_time_are_those_of_all_columns(agents: fleet.Fleet, member: Opens) -> None:
    log = filled(member, 0, 5)
    log.create("late").append_many([b'{"tool":"%d"}' % n for n in range(50)])
    log.publish()
    written = sorted(
        fleet.scan(agents.plan(), ["written"]).read_all()["written"].cast("int64").to_pylist()
    )
    moments = [written[len(written) * each // 5] for each in range(5)]
    assert EVENTS.scan(log).to_parquet_paths()
    for stores, by in (
        (agents, "blocks"), (agents, "stream"), (of_folder(log), "blocks"),
    ):  # fmt: skip
        for since, until in zip([None, *moments], [*moments, None], strict=True):
            plan = stores.plan(n=4, since=since, until=until, by=by)  # type: ignore[arg-type]
            raw = fleet.scan(plan, ["store", "stream", "offset"]).read_all()
            found = read(plan, EVENTS)
            assert rows_of(found, ["_store", "_stream", "_offset"]) == rows_of(
                raw, raw.column_names
            )


def test_streams_that_are_hidden_or_deleted_have_no_rows(
    agents: fleet.Fleet, member: Opens
) -> None:
    log = member("host-0")
    for name in ("kept", "hidden", "deleted", "trimmed"):
        log.create(name).append_many([b'{"tool":"%s"}' % name.encode()] * 40)
    log.hide("hidden")
    log.publish()
    plan = agents.plan(n=2)
    log.delete("deleted", reason="x")
    log.stream("trimmed").trim(before=30)
    log.publish()
    for declared in (EVENTS, runs_columns(), payload_columns()):
        for names in (None, ["_stream"], ["_stream", declared.names[3]]):
            table = read(plan, declared, select=names)
            assert sorted(table["_stream"].to_pylist()) == ["kept"] * 40 + ["trimmed"] * 10


def test_a_part_is_read_in_another_process(agents: fleet.Fleet, member: Opens) -> None:
    filled(member, 0, 11)
    plan = agents.plan(n=3)
    code = (
        "import pickle, sys\nfrom transit import fleet\n"
        "parts, all_columns = pickle.load(sys.stdin.buffer)\n"
        "tables = [[fleet.read(part, each) for part in parts] for each in all_columns]\n"
        "sys.stdout.buffer.write(pickle.dumps(tables))"
    )
    shapes = [EVENTS, runs_columns(), payload_columns()]
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps((list(plan), shapes)),
        capture_output=True,
        check=True,
    )
    for declared, tables in zip(shapes, pickle.loads(done.stdout), strict=True):
        assert pa.concat_tables(tables).equals(read(plan, declared))


def test_equal_columns_have_one_decoder() -> None:
    wanted = Wanted(("_store", "tokens_in"), runs_columns())
    again = pickle.loads(pickle.dumps(wanted))
    assert again == wanted
    assert again.declared is not wanted.declared
    assert again.decoder() is wanted.decoder()
    assert wanted.decoder() is not wanted.declaration()
    assert Wanted(("_error",), runs_columns()).decoder() is wanted.declaration()
    assert Wanted(("_store", "_time"), runs_columns()).decoder() is None
    assert columns("a", {"x": int}) != columns("b", {"x": int}) != columns("b", {"x": str})


def test_columns_that_are_not_there_are_refused(agents: fleet.Fleet, member: Opens) -> None:
    member("host-0").publish()
    for given, select in (
        (EVENTS, ["payload"]), (EVENTS, "tool"), (EVENTS, ["offset"]), (None, ["offset"]),
        (["offset"], ["offset"]), (["_offset"], None), ("events", None),
        (payload_columns(), ["tool"]),
    ):  # fmt: skip
        with pytest.raises(transit.InvalidInputError, match=r"column|select"):
            fleet.scan([], given, select=select)


# Columns files


@pytest.fixture
def no_blocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, no block of a segment is read."""

    def refuse(segment: transit.SealedSegment, *which: Any) -> list[Any]:
        assert not list(segment.runs(*which)), "a block was read"
        return []

    return lambda: monkeypatch.setattr(sealed.SealedSegment, "batches", refuse)


def of_folder(log: transit.Log) -> fleet.OneStore:
    return fleet.of_store(log.path)


@pytest.mark.parametrize("shape", ["struct", "paths", "runs"])
def test_columns_files_are_read_where_they_are(
    member: Opens, shape: str, no_blocks: Callable[[], None]
) -> None:
    log, declared = filled(member, 0, 13), SHAPES[shape]
    plans = [of_folder(log).plan(n=n) for n in (1, 2, 7)]
    assert len(plans[2]) > 3
    expected = read(plans[0], declared)
    made = declared.scan(log).to_parquet_paths()
    assert made
    no_blocks()
    for plan in plans:
        table = read(plan, declared)
        assert table.schema == expected.schema
        assert rows_of(table, table.column_names) == rows_of(expected, table.column_names)
    names = ["_offset", declared.names[4], "_store"]
    some = read(plans[2], declared, select=names)
    assert rows_of(some, names) == rows_of(expected, names)
    with pytest.raises(AssertionError, match="a block was read"):
        read(plans[0], SHAPES["another"])


def test_a_columns_file_that_is_damaged_is_not_read(
    member: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = filled(member, 0, 17)
    plan = of_folder(log).plan(n=2)
    expected = read(plan, EVENTS)
    for path in map(Path, EVENTS.scan(log).to_parquet_paths()):
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
    # A store that is opened anew has not looked at them yet.
    monkeypatch.setattr(reading, "_stores", reading._Stores())
    assert read(plan, EVENTS).equals(expected)


def test_what_was_deleted_since_a_file_was_made_is_left_out(
    member: Opens, no_blocks: Callable[[], None]
) -> None:
    log = member("host-0")
    for name in ("a", "deleted", "hidden", "trimmed", "z"):
        log.create(name).append_many([b'{"tool":"%s"}' % name.encode()] * 40)
    log.seal()
    assert len(EVENTS.scan(log).to_parquet_paths()) == 1
    log.hide("hidden")
    log.delete("deleted", reason="x")
    log.stream("trimmed").trim(before=30)
    log.seal()
    plan = of_folder(log).plan(n=2)
    no_blocks()
    found = rows_of(read(plan, EVENTS), ["_stream", "_offset", "tool"])
    expected = [(name, n, name) for name in ("a", "z") for n in range(40)]
    expected += [("trimmed", n, "trimmed") for n in range(30, 40)]
    assert found == sorted(expected, key=repr)


def test_a_file_without_a_stream_that_a_part_has_is_not_read(
    member: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was made when more was deleted than this process knows of."""
    log = member("host-0")
    log.create("a").append_many([b'{"tool":"a"}'] * 40)
    log.create("b").append_many([b'{"tool":"b"}'] * 40)
    log.seal()
    EVENTS.scan(log).to_parquet_paths()
    (part,) = of_folder(log).plan(n=1)
    expected = read([part], EVENTS)
    real = files.there

    def lacking(*given: Any) -> Any:
        file = real(*given)
        assert file is not None
        places = sorted(file.places.items())
        file.places = dict(places[:1])
        return file

    monkeypatch.setattr(typed, "there", lacking)
    assert read([part], EVENTS).equals(expected)
