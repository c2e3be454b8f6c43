"""Iceberg: a table has the files of the newest export, each once, whatever fails on the way."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import fleet
from transit.fleet import exports
from transit.fleet.iceberg import Registration

from .icebergs import NAME, Opens, files, made, rows
from .test_exports import rows as rows_of_files
from .test_plans import SMALL, appended, fill

sql = pytest.importorskip("pyiceberg.catalog.sql", reason="pip install 'transit[iceberg]'")

from pyiceberg.catalog import load_catalog  # noqa: E402


def test_each_export_is_one_commit_and_each_record_is_in_the_table_once(
    tmp_path: Path, uri: str, table: Opens
) -> None:
    target, commits = tmp_path / "out", 0
    with fleet.create(str(tmp_path / "fleet"), settings=SMALL) as agents:
        for seed in range(3):
            fill(agents, tmp_path, 1 + seed, seed)
            done = agents.export(str(target), bytes_per_file=20_000, iceberg=fleet.Iceberg(uri))
            told = done.registered
            assert told is not None
            commits += 1
            assert len(table().metadata.metadata_log) == commits
            assert (told.table, told.export) == (NAME, done.export.number)
            assert (told.added, told.removed) == (len(done.added), len(done.removed))
            assert told.snapshot == table().current_snapshot().snapshot_id
            assert rows(table()) == appended(agents)
            assert files(table()) == sorted(f"file://{each}" for each in target.glob("data/*"))
            again = agents.export(str(target), iceberg=fleet.Iceberg(uri)).registered
            assert again == fleet.Registered(NAME, told.export, told.snapshot)
            assert len(table().metadata.metadata_log) == commits


def test_all_columns_are_as_the_fleet_reads_them(tmp_path: Path, uri: str, table: Opens) -> None:
    with transit.open(tmp_path / "s", durability="os") as log:
        stream = log.create("a")
        stream.append(b"\x00\xff", timestamp=1_700_000_000_123_456_789, headers={"k": "é", "n": ""})
        stream.append(b"", timestamp=0)
        log.seal()
    store = fleet.of_store(tmp_path / "s")
    store.export(str(tmp_path / "out"), iceberg=fleet.Iceberg(uri))
    found = table().scan().to_arrow()
    (part,) = store.plan()
    read = fleet.read(part)
    for name in ("store", "stream", "offset", "writer", "payload", "headers"):
        assert found[name].to_pylist() == read[name].to_pylist(), name
    for name, of in (("timestamp_ns", "timestamp"), ("written_ns", "written")):
        assert found[name].to_pylist() == read[of].cast("int64").to_pylist(), name
    moments = [moment.replace(tzinfo=None) for moment in found["timestamp"].to_pylist()]
    start = datetime(1970, 1, 1)
    assert moments == [start + timedelta(microseconds=1_700_000_000_123_456), start]
    assert found["headers"][0].as_py() == [("k", "é"), ("n", "")]
    assert str(table().schema().find_field("headers").field_type) == "map<string, string>"


def test_what_was_deleted_is_in_no_state_of_the_table(
    tmp_path: Path, uri: str, table: Opens
) -> None:
    target, to = str(tmp_path / "out"), fleet.Iceberg(uri)
    store = fleet.of_store(tmp_path / "s", settings=SMALL)
    with made(tmp_path / "s", {"keep": 9, "gone": 9}) as log:
        store.export(target, iceberg=to)
        log.create("alone").append(b"alone")
        log.seal()
        store.export(target, iceberg=to)
        assert len(table().snapshots()) == 2
        kept = table().manage_snapshots()
        kept.create_tag(table().snapshots()[1].snapshot_id, "mine").commit()
        log.delete("gone", reason="asked for")
        log.hide("alone")
        log.seal()
        told = store.export(target, iceberg=to).registered
        assert told is not None
        assert (told.added, told.removed, told.expired) == (1, 2, 1)
        assert Counter(stream for _, stream, *_ in rows(table())) == {"keep": 9}
        # The tagged one stays in the table, though not its files.
        now, tagged = table().current_snapshot(), table().metadata.refs["mine"].snapshot_id
        assert {each.snapshot_id for each in table().snapshots()} == {now.snapshot_id, tagged}
        table().manage_snapshots().remove_tag("mine").commit()
        log.show(next(each for each in log.hidden() if each.name == "alone"))
        log.delete("keep", reason="asked for")
        log.seal()
        told = store.export(target, iceberg=to).registered
        assert told is not None
        assert told.expired == 2
        assert [stream for _, stream, *_ in rows(table())] == ["alone"]
        log.delete("alone", reason="asked for")
        log.seal()
        store.export(target, iceberg=to)
        assert (rows(table()), files(table())) == ([], [])
    (now,) = table().snapshots()
    lists = {now.manifest_list, *(each.manifest_path for each in now.manifests(table().io))}
    there = {f"file://{each}" for each in (tmp_path / "out" / "iceberg").rglob("*.avro")}
    assert there == lists


def test_beginnings_of_payloads_are_in_no_list_of_files(
    tmp_path: Path, uri: str, table: Opens
) -> None:
    with made(tmp_path / "s", {"a": 3}):
        store = fleet.of_store(tmp_path / "s")
        store.export(str(tmp_path / "out"), iceberg=fleet.Iceberg(uri))
    (row,) = table().inspect.files().to_pylist()
    schema = table().schema()
    named = {schema.find_column_name(number) for number, _ in row["lower_bounds"]}
    assert named == {
        "store", "stream", "offset", "timestamp", "timestamp_ns", "written_ns", "writer",
    }  # fmt: skip


def test_a_table_that_was_never_told_catches_up(tmp_path: Path, uri: str, table: Opens) -> None:
    """Exports before it, and exports in between that were of files alone."""
    target, to = str(tmp_path / "out"), fleet.Iceberg(uri)
    store = fleet.of_store(tmp_path / "s", settings=SMALL)
    with made(tmp_path / "s", {"a": 3, "b": 3}) as log:
        store.export(target)
        told = store.export(target, iceberg=to).registered
        assert told == fleet.Registered(
            NAME, 0, table().current_snapshot().snapshot_id, 1, 0, 0
        )  # fmt: skip
        for number in range(3):
            log.create(f"more-{number}").append(b"x")
            log.delete("a", reason="asked for") if number == 1 else None
            log.seal()
            store.export(target)
        told = store.export(target, iceberg=to).registered
        assert told is not None
        assert (told.export, told.added, told.removed) == (3, 4, 1)
        assert rows(table()) == rows_of_files(tmp_path / "out")


# Others' tables, and values that are none


def test_a_table_that_something_else_made_is_not_touched(
    tmp_path: Path, uri: str, table: Opens
) -> None:
    with load_catalog("transit", uri=uri, warehouse=f"file://{tmp_path}/w") as catalog:
        catalog.create_namespace("transit")
        schema = exports.columns()
        catalog.create_table(NAME, schema)
    with made(tmp_path / "s", {"a": 3}):
        with pytest.raises(transit.InvalidInputError, match="was made by something else"):
            fleet.of_store(tmp_path / "s").export(
                str(tmp_path / "out"), iceberg=fleet.Iceberg(uri)
            )  # fmt: skip
        # It is told before anything is exported.
        assert not (tmp_path / "out").exists()
    assert table().snapshots() == []


def test_a_table_of_another_export_is_not_touched(tmp_path: Path, uri: str, table: Opens) -> None:
    target = tmp_path / "out"
    to = fleet.Iceberg({"uri": uri, "warehouse": f"file://{tmp_path}/w"})
    with made(tmp_path / "s", {"a": 3}) as log:
        store = fleet.of_store(tmp_path / "s", settings=SMALL)
        store.export(str(target), iceberg=to)
        before = rows(table())
        with pytest.raises(transit.InvalidInputError, match="is of another export"):
            store.export(str(tmp_path / "elsewhere"), iceberg=to)
        aside = tmp_path / "aside"
        target.rename(aside)
        for _ in range(2):
            # Begun again in the same place: refused before and after there is an export.
            with pytest.raises(transit.InvalidInputError, match="is of another export"):
                store.export(str(target), iceberg=to)
            store.export(str(target))
        shutil.rmtree(target)
        aside.rename(target)
        assert rows(table()) == before
        log.create("b").append(b"x")
        log.seal()
        store.export(str(target), iceberg=to)
        (target / "exports" / f"{1:020}.json").unlink()
        with (
            Registration(transit.open_store(str(target)), to, {}) as registration,
            pytest.raises(transit.InvalidInputError, match="has export 1, and the newest"),
        ):
            registration.run()


def test_a_table_that_others_changed_is_not_touched(tmp_path: Path, uri: str, table: Opens) -> None:
    target, to = str(tmp_path / "out"), fleet.Iceberg(uri)
    with made(tmp_path / "s", {"a": 3}) as log:
        store = fleet.of_store(tmp_path / "s", settings=SMALL)
        store.export(target, iceberg=to)
        table().append(table().scan().to_arrow())
        with pytest.raises(transit.InvalidInputError, match="files that are not of the export"):
            store.export(target, iceberg=to)
        ours = table().snapshots()[0].snapshot_id
        table().manage_snapshots().set_current_snapshot(ours).commit()
        log.create("b").append(b"x")
        log.seal()
        store.export(target, iceberg=to)
        assert len(rows(table())) == 4


@pytest.mark.parametrize("name", ["records", "", ".records", "transit.", "a..b", 7])
def test_what_is_no_name_of_a_table_is_refused(tmp_path: Path, uri: str, name: Any) -> None:
    with pytest.raises(transit.InvalidInputError, match=r"NAMESPACE\.TABLE"):
        fleet.of_store(tmp_path / "s").export(
            str(tmp_path / "out"), iceberg=fleet.Iceberg(uri, name)
        )  # fmt: skip


@pytest.mark.parametrize(
    ("catalog", "match"),
    [
        ("", "not an Iceberg catalog"), (7, "not an Iceberg catalog"),
        ("unheard_of", "PYICEBERG_CATALOG__UNHEARD_OF__URI"), ({}, "not an Iceberg catalog"),
        ("mysql://ada:hush@host/x", "not an Iceberg catalog"),
        ({"uri": "mysql://ada:hush@host/x"}, "not an Iceberg catalog"),
        ({"uri": "sqlite://", "type": "hush"}, "not an Iceberg catalog"),
    ],
)  # fmt: skip
def test_what_is_no_catalog_is_refused_and_its_password_not_told(
    tmp_path: Path, catalog: Any, match: str
) -> None:
    given = fleet.Iceberg(catalog)
    with pytest.raises(transit.InvalidInputError, match=match) as told:
        fleet.of_store(tmp_path / "s").export(str(tmp_path / "out"), iceberg=given)
    assert "hush" not in str(told.value)
    assert "hush" not in repr(given)


def test_without_pyiceberg_it_says_what_to_install(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyiceberg.catalog", None)
    with pytest.raises(transit.InvalidInputError, match=r"transit\[iceberg\]"):
        fleet.of_store(tmp_path / "s").export(str(tmp_path / "out"), iceberg=fleet.Iceberg(uri))


def test_a_place_whose_address_would_be_cut_off_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(transit.InvalidInputError, match="no '#'"):
        fleet.of_store(tmp_path / "s").export(str(tmp_path / "a#b"), iceberg=fleet.Iceberg(uri))


# Catalogs, and where the files are


def test_a_catalog_is_given_by_name_properties_or_open(
    tmp_path: Path, uri: str, table: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYICEBERG_CATALOG__HERE__URI", uri)
    monkeypatch.setenv("PYICEBERG_CATALOG__HERE__WAREHOUSE", f"file://{tmp_path}/w")
    config = pytest.importorskip("pyiceberg.utils.config").Config()
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", config)
    target, place = str(tmp_path / "o u%t"), {"uri": uri, "warehouse": f"file://{tmp_path}/w"}
    with made(tmp_path / "s", {"a": 3}), load_catalog("open", **place) as opened:
        store = fleet.of_store(tmp_path / "s", settings=SMALL)
        for catalog in ("here", place, {"name": "own", **place}, opened):
            to = fleet.Iceberg(catalog, "a.b.records")
            told = store.export(target, iceberg=to).registered
            assert (told.table, told.added) == ("a.b.records", 1)
        # It is still open.
        assert len(rows(opened.load_table("a.b.records"))) == 3
    for name in ("transit", "here", "own"):
        with load_catalog(name, **place) as catalog:
            assert len(rows(catalog.load_table("a.b.records"))) == 3


@pytest.mark.parametrize("way", ["options", "environment"])
def test_files_in_a_bucket_are_registered_with_its_options(
    tmp_path: Path,
    uri: str,
    moto_remote: tuple[str, dict[str, object]],
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, options = moto_remote
    if way == "environment":
        # What the export's own client found there is told to pyiceberg's.
        endpoint = str(options["endpoint_url"])
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        options = {key: each for key, each in options.items() if key != "endpoint_url"}
    target, to = f"{url}/{tmp_path.name}/out", fleet.Iceberg(uri)
    with made(tmp_path / "s", {"a": 3, "b": 3}) as log:
        store = fleet.of_store(tmp_path / "s", settings=SMALL)
        store.export(target, storage_options=options, iceberg=to)
        log.delete("b", reason="asked for")
        log.create("c").append(b"x")
        log.seal()
        told = store.export(target, storage_options=options, iceberg=to).registered
        assert (told.added, told.removed, told.expired) == (2, 1, 1)
    registration = Registration(transit.open_store(target, options), to, options)
    with registration:
        found = registration._catalog.load_table(NAME)
        assert Counter(stream for _, stream, *_ in rows(found)) == {"a": 3, "c": 1}
        assert all(each.startswith(f"{target}/data/") for each in files(found))
        said = found.metadata.model_dump_json()
    for secret in (options["key"], options["secret"]):
        assert str(secret) not in said
