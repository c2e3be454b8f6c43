"""Iceberg: whatever fails on the way, and whoever else exports, a table has each file once."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import fleet
from transit.fleet import exporting, exports

from .icebergs import NAME, Opens, files, made, rows
from .test_exports import rows as rows_of_files
from .test_plans import SMALL, Row, appended, fill, more

sql = pytest.importorskip("pyiceberg.catalog.sql", reason="pip install 'transit[iceberg]'")

from pyiceberg import exceptions  # noqa: E402 - it is not everywhere
from pyiceberg.catalog import load_catalog  # noqa: E402

# What fails on the way


class Doors:
    """Counts what is asked of the catalog, of its files and of the export's place; one fails."""

    def __init__(self, number: int, carried_out: bool, only: Exception | None = None) -> None:
        self.left, self.carried_out, self.only = number, carried_out, only
        self.failed = ""

    def ask(self, name: str, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        if self.only is not None and name != "commit_table":
            return call(*given, **named)
        self.left -= 1
        if self.left:
            return call(*given, **named)
        self.failed = name
        if self.carried_out:
            call(*given, **named)
        lost = transit.RemoteUnavailableError if name in STORE else OSError
        raise self.only or lost("no answer")


class Behind:
    """An object of which these methods go through doors."""

    def __init__(self, inner: Any, doors: Doors, names: set[str]) -> None:
        self._inner, self._doors, self._names = inner, doors, names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._names:
            return found
        told = f"file {name}" if self._names is FILES else name
        return lambda *given, **named: self._doors.ask(told, found, *given, **named)


STORE = {"get", "create", "list", "delete", "size"}
FILES = {"new_input", "new_output", "delete"}
CATALOG = {"load_table", "create_table", "create_namespace", "commit_table"}


def behind(uri: str, place: str, doors: Doors) -> Any:
    """The catalog, behind doors, and the files of its tables."""

    class Catalog(sql.SqlCatalog):
        def _convert_orm_to_iceberg(self, found: Any) -> Any:
            table = super()._convert_orm_to_iceberg(found)
            table.io = Behind(table.io, doors, FILES)
            return table

    catalog = Catalog("transit", uri=uri, warehouse=f"{place}/iceberg")
    for name in CATALOG:
        call = getattr(catalog, name)

        def ask(*given: Any, name: str = name, call: Any = call, **named: Any) -> Any:
            return doors.ask(name, call, *given, **named)

        setattr(catalog, name, ask)
    return catalog


class Tried:
    """A place and a catalog of its own, for exports of which a step fails."""

    def __init__(self, folder: Path, store: fleet.OneStore, number: int) -> None:
        self.target, self.uri = folder / f"out-{number}", f"sqlite:///{folder}/{number}.db"
        self.store, self.number = store, number

    def export(self, doors: Doors) -> None:
        """Export; what fails at a door is told as an error of transit."""
        open_store, place = transit.open_store, f"file://{self.target}"
        with pytest.MonkeyPatch.context() as patch, behind(self.uri, place, doors) as catalog:
            patch.setattr(exporting, "open_store", lambda *a: Behind(open_store(*a), doors, STORE))
            try:
                self.again(fleet.Iceberg(catalog))
            except (transit.StoreUnavailableError, transit.ConflictError):
                assert doors.failed

    def again(self, to: fleet.Iceberg) -> None:
        """Export."""
        done = self.store.export(str(self.target), bytes_per_file=1, iceberg=to)
        assert done.registered is not None

    def rows(self) -> list[Row]:
        """Those of the table; each of its files is named once, and is there."""
        with load_catalog("transit", uri=self.uri) as catalog:
            if not catalog.table_exists(NAME):
                return []
            table = catalog.load_table(NAME)
            assert len(set(files(table))) == len(files(table))
            return rows(table)


ERRORS = {
    "lost": None,
    "conflict": exceptions.CommitFailedException("meanwhile"),
    "unknown": exceptions.CommitStateUnknownException("no answer"),
}
KINDS = [
    pytest.param("lost", False, marks=pytest.mark.slow),
    pytest.param("lost", True, marks=pytest.mark.slow),
    ("conflict", False),
    ("unknown", False),
    ("unknown", True),
]


@pytest.mark.parametrize(("kind", "carried_out"), KINDS)
def test_each_step_fails_and_the_table_is_as_before_or_as_after(
    tmp_path: Path, kind: str, carried_out: bool
) -> None:
    """In a first export, in one that adds and takes away; then it is done again."""
    with made(tmp_path / "s", {"gone": 3, "stays": 3}) as log:
        store = fleet.of_store(tmp_path / "s", settings=SMALL)
        count = 45 if kind == "lost" else 3
        tries = [Tried(tmp_path, store, number) for number in range(1, count)]
        seen: list[Counter[str]] = []
        expected: list[Row] = []
        for phase in range(2):
            if phase:
                log.delete("gone", reason="asked for")
                log.create("more").append(b"more")
                log.seal()
            before = expected
            store.export(str(tmp_path / f"files-{phase}"))
            expected = rows_of_files(tmp_path / f"files-{phase}")
            seen.append(Counter())
            for each in tries:
                doors = Doors(each.number, carried_out, ERRORS[kind])
                each.export(doors)
                seen[-1][doors.failed] += 1
                assert each.rows() in (before, expected), doors.failed
                each.again(fleet.Iceberg(each.uri))
                assert each.rows() == expected == rows_of_files(each.target), doors.failed
    assert all(found[""] and found["commit_table"] for found in seen)
    if kind == "lost":
        named = {f"file {name}" for name in FILES} | (STORE - {"size"}) | CATALOG
        assert seen[0].keys() | seen[1].keys() == named | {""}


# Several exporters at once


def test_who_was_overtaken_looks_again_and_does_not_go_back(
    tmp_path: Path, uri: str, table: Opens
) -> None:
    """Another exporter's commit comes between looking at the table and the own commit."""
    target = str(tmp_path / "out")
    with made(tmp_path / "s", {"gone": 3, "stays": 3}) as log:
        store = fleet.of_store(tmp_path / "s", settings=SMALL)
        store.export(target, iceberg=fleet.Iceberg(uri))

        class Overtaken(sql.SqlCatalog):
            commits = 0

            def commit_table(self, *given: Any, **named: Any) -> Any:
                self.commits += 1
                log.create("theirs").append(b"theirs")
                log.delete("gone", reason="asked for")
                log.seal()
                store.export(target, iceberg=fleet.Iceberg(uri))
                return super().commit_table(*given, **named)

        log.create("ours").append(b"ours")
        log.seal()
        with Overtaken("transit", uri=uri, warehouse=f"file://{target}/iceberg") as catalog:
            told = store.export(target, iceberg=fleet.Iceberg(catalog)).registered
    assert told is not None
    # The other's export has ours in it: nothing is left to tell the table.
    assert (catalog.commits, told.export, told.added, told.removed) == (1, 2, 0, 0)
    assert rows(table()) == rows_of_files(tmp_path / "out")
    assert Counter(stream for _, stream, *_ in rows(table())) == {
        "stays": 3, "ours": 1, "theirs": 1,
    }  # fmt: skip


def test_who_is_overtaken_again_and_again_is_told(
    tmp_path: Path, uri: str, table: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transit.fleet.iceberg._WAIT_S", 0)
    target = str(tmp_path / "out")
    with made(tmp_path / "s", {"a": 3}) as log:
        store = fleet.of_store(tmp_path / "s", settings=SMALL)

        class Overtaken(sql.SqlCatalog):
            def commit_table(self, *given: Any, **named: Any) -> Any:
                raise exceptions.CommitFailedException("meanwhile")

        with Overtaken("transit", uri=uri, warehouse=f"file://{target}/iceberg") as catalog:
            with pytest.raises(transit.ConflictError, match="meanwhile"):
                store.export(target, iceberg=fleet.Iceberg(catalog))
            log.create("b").append(b"x")
            log.seal()
        told = store.export(target, iceberg=fleet.Iceberg(uri)).registered
    assert told is not None
    assert (told.export, told.added) == (1, 2)
    assert len(rows(table())) == 4


def test_pyiceberg_does_not_try_a_commit_again_by_itself(
    tmp_path: Path, uri: str, table: Opens
) -> None:
    """It would add the same files once more, to what another exporter has registered."""
    target, retries = str(tmp_path / "out"), "commit.retry.num-retries"
    with made(tmp_path / "s", {"a": 3}) as log:
        store = fleet.of_store(tmp_path / "s", settings=SMALL)
        store.export(target, iceberg=fleet.Iceberg(uri))
        assert table().properties[retries] == "0"
        with table().transaction() as transaction:
            transaction.set_properties({retries: "9"})
        log.create("b").append(b"x")
        log.seal()
        open_table = table()
        store.export(target, iceberg=fleet.Iceberg(uri))
        assert table().properties[retries] == "0"
        assert open_table.properties[retries] == "9"
        assert len(rows(table())) == 4


def test_exporters_at_once_register_each_file_once(tmp_path: Path, uri: str, table: Opens) -> None:
    """From nothing: the catalog, the table and the export are made by one of them."""
    target, barrier = str(tmp_path / "out"), threading.Barrier(4)
    with fleet.create(str(tmp_path / "fleet"), settings=SMALL) as agents:
        fill(agents, tmp_path, 2, 2)

        def export(_: int) -> int:
            barrier.wait()
            done = 0
            for _ in range(3):
                with contextlib.suppress(transit.ConflictError, transit.StoreUnavailableError):
                    agents.export(target, bytes_per_file=30_000, iceberg=fleet.Iceberg(uri))
                    done += 1
            return done

        with ThreadPoolExecutor(4) as pool:
            assert any(pool.map(export, range(4)))
        assert rows(table()) == appended(agents)
        assert len(set(files(table()))) == len(files(table()))


EXPORTER = """
import sys
import transit
from transit import fleet

prefix, target, uri = sys.argv[1:]
done = 0
with fleet.open(prefix) as agents:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(6):
        try:
            agents.export(target, bytes_per_file=20_000, iceberg=fleet.Iceberg(uri))
            done += 1
        except transit.ConflictError:
            pass
print(done)
"""


@pytest.mark.slow
def test_processes_that_export_at_once_register_each_file_once(
    tmp_path: Path, uri: str, table: Opens, start: Callable[..., Any]
) -> None:
    """While stores publish, and records are deleted."""
    target = str(tmp_path / "out")
    with fleet.create(str(tmp_path / "fleet"), settings=SMALL) as agents:
        fill(agents, tmp_path, 2, 3)
        agents.export(target, iceberg=fleet.Iceberg(uri))
        processes = [start(EXPORTER, tmp_path / "fleet", target, uri) for _ in range(2)]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        rng = random.Random(4)
        with agents.record(tmp_path / "0", durability="os") as log:
            for number in range(6):
                log.create(f"gone-{number}").append(b"gone")
                log.publish()
                log.delete(f"gone-{number}", reason="asked for")
                more(log, rng)
                log.publish()
        for process in processes:
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
            assert int(out) > 0
        # The table is of an export at every moment: it says the number, and has its files.
        now = table().current_snapshot()
        said = exports.export_at(transit.open_store(target), int(now.summary["transit.export"]))
        assert said is not None
        assert files(table()) == sorted(f"file://{target}/{f.key}" for f in said.files if f.key)
        agents.export(target, iceberg=fleet.Iceberg(uri))
        assert rows(table()) == appended(agents)
        assert len(set(files(table()))) == len(files(table()))
