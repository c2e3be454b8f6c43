"""`transit fleet`: many stores below one prefix."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from tests.cli.shell import transit as command
from transit import fleet


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return str(tmp_path / "fleet")


def rows(*words: object) -> list[dict[str, object]]:
    done = command(None, "fleet", *words)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def join(prefix: str, folder: Path, name: str) -> str:
    with fleet.open(prefix) as agents, agents.record(folder, name=name, labels={"z": "eu"}) as log:
        log.create("s").append(b"x")
        log.publish()
        return log.store_id


def test_a_fleet_is_made_looked_at_and_audited(prefix: str, tmp_path: Path) -> None:
    assert rows("create", prefix) == [{"fleet": prefix}]
    one, two = join(prefix, tmp_path / "a", "host-1"), join(prefix, tmp_path / "b", "host-2")
    listed = rows("members", prefix)
    assert {row["store"]: row["name"] for row in listed} == {one: "host-1", two: "host-2"}
    assert rows("members", prefix, "--label", "z=us") == []
    assert len(rows("members", prefix, "--label", "z=eu")) == 2
    assert {row["streams"] for row in rows("status", prefix)} == {1}
    assert [row["records"] for row in rows("find", prefix, "s")] == [1, 1]
    assert {row["store"] for row in rows("cut", prefix)} == {one, two}
    assert [row["ok"] for row in rows("audit", prefix)] == [True, True]
    retired = rows("retire", prefix, "host-1", "--by", "ada", "--reason", "gone")
    assert retired[0]["retired"]
    assert [row["store"] for row in rows("members", prefix)] == [two]
    assert len(rows("members", prefix, "--retired")) == 2


def test_an_audit_that_finds_something_ends_with_7(prefix: str, tmp_path: Path) -> None:
    rows("create", prefix)
    bad, good = join(prefix, tmp_path / "a", "bad"), join(prefix, tmp_path / "b", "good")
    (segment,) = Path(prefix, "stores", bad, "segments").iterdir()
    segment.chmod(0o600)
    segment.write_bytes(segment.read_bytes()[:-30] + b"\0" * 30)
    done = command(None, "fleet", "audit", prefix)
    assert done.code == 7
    told = [json.loads(line) for line in done.out.splitlines()]
    assert {row["store"]: row["ok"] for row in told if "ok" in row} == {bad: False, good: True}
    assert any(row.get("place") for row in told if row["store"] == bad)


def test_what_is_no_fleet_is_told(prefix: str) -> None:
    done = command(None, "fleet", "status", prefix)
    assert done.code == 3
    assert b"is no fleet" in done.err
    assert command(None, "fleet", "members", prefix, "--label", "x").code == 2


def test_a_plan_is_printed_and_its_parts_are_read(prefix: str, tmp_path: Path) -> None:
    rows("create", prefix)
    one, two = join(prefix, tmp_path / "a", "host-1"), join(prefix, tmp_path / "b", "host-2")
    planned = rows("plan", prefix)
    assert {row["store"] for row in planned} == {one, two}
    parts = [msgspec.convert(row["part"], fleet.Part) for row in planned]
    assert [len(fleet.read(part)) for part in parts] == [1, 1]
    assert parts == list(fleet.open(prefix).plan())
    refused = command(None, "fleet", "plan", prefix, "--from-snapshot")
    assert (refused.code, b"has no snapshot" in refused.err) == (2, True)
    (made,) = rows("snapshot", prefix)
    assert (made["snapshot"], made["stores"], made["missing"]) == (0, 2, {})
    assert rows("plan", prefix, "--from-snapshot") == planned
    assert rows("plan", prefix, "--streams", "none", "--by", "stream") == []
    assert len(rows("plan", prefix, "--by", "stream", "--n", 1)) == 2
    assert rows("plan", prefix, "--until", "2020-01-01") == []
    Path(prefix, "stores", two, "FORMAT").write_bytes(b"damaged")
    assert command(None, "fleet", "plan", prefix).code == 7
    some = rows("plan", prefix, "--missing-ok")
    assert [(row["store"], bool(row.get("missing"))) for row in some] == [(one, False), (two, True)]


def test_one_setting_makes_a_store_a_member(prefix: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    environment = {"TRANSIT_FLEET": prefix, "TRANSIT_STORE": str(store)}

    def run(*words: object, stdin: bytes = b"") -> list[dict[str, object]]:
        done = command(None, *words, stdin=stdin, env=environment)
        assert done.code == 0, done.err
        return [json.loads(line) for line in done.out.splitlines()]

    run("create", "s")
    run("append", "s", "--input", "lines", stdin=b"one\n")
    run("publish")
    with fleet.open(prefix) as agents:
        (member,) = agents.members()
        with agents.open(member) as log:
            assert [record.payload for record in log.stream("s")] == [b"one"]
    # What was evicted is read from there.
    run("evict", "--bytes-max", "0")
    assert run("read", "s")[0]["payload"] == "one"
    both = {**environment, "TRANSIT_REMOTE": str(tmp_path / "r")}
    refused = command(None, "publish", env=both)
    assert refused.code == 2
    assert b"do not go together" in refused.err
    (tmp_path / "transit.toml").write_text('fleet = "fleet"\nstore = "other"\n')
    for words in (("create", "s"), ("publish",)):
        done = command(None, *words, "--config", tmp_path / "transit.toml")
        assert done.code == 0, done.err
    with fleet.open(prefix) as agents:
        assert len(list(agents.members())) == 2


def test_what_only_reads_makes_no_fleet_and_no_member(prefix: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for words in (("create", "s"), ("publish", "--remote", tmp_path / "r")):
        assert command(store, *words).code == 0
    env = {"TRANSIT_FLEET": prefix}
    for words in (("status",), ("doctor",), ("streams",), ("read", "s"), ("audit",), ("config",)):
        command(store, *words, env=env)
        assert not Path(prefix).exists(), words
    # A store that was there before the setting becomes a member when it is written to.
    assert command(store, "publish", env=env).code == 0
    assert len(rows("members", prefix)) == 1


def test_an_export_of_a_fleet_and_of_a_store_alone(prefix: str, tmp_path: Path) -> None:
    rows("create", prefix)
    join(prefix, tmp_path / "a", "host-1")
    join(prefix, tmp_path / "b", "host-2")
    (made,) = rows("export", prefix, tmp_path / "out")
    assert (made["export"], made["stores"], made["records"], made["added"]) == (0, 2, 2, 2)
    (again,) = rows("export", prefix, tmp_path / "out")
    assert (again["export"], again["files"], again["added"]) == (0, 2, 0)
    done = command(tmp_path / "a", "export", "--parquet", tmp_path / "alone")
    assert done.code == 0, done.err
    assert (done.rows[0]["records"], done.rows[0]["files"]) == (1, 1)
    assert len(list((tmp_path / "alone" / "data").iterdir())) == 1
    refused = command(tmp_path / "a", "export", "s", "--parquet", tmp_path / "alone")
    assert refused.code == 2
    assert command(tmp_path / "none", "export", "--parquet", tmp_path / "x").code == 3


@pytest.mark.slow
def test_an_export_is_registered_in_an_iceberg_table(prefix: str, tmp_path: Path) -> None:
    reason = "pip install 'transit[iceberg]'"
    catalogs = pytest.importorskip("pyiceberg.catalog", reason=reason)
    rows("create", prefix)
    join(prefix, tmp_path / "a", "host-1")
    uri = f"sqlite:///{tmp_path}/catalog.db"
    (made,) = rows("export", prefix, tmp_path / "out", "--iceberg", uri)
    assert (made["table"], made["added"]) == ("transit.records", 1)
    alone = ("export", "--parquet", tmp_path / "alone", "--iceberg", uri)
    refused = command(tmp_path / "a", *alone)
    assert (refused.code, b"is of another export" in refused.err) == (2, True)
    done = command(tmp_path / "a", *alone, "--iceberg-table", "mine.runs")
    assert done.code == 0, done.err
    assert done.rows[0]["table"] == "mine.runs"
    with catalogs.load_catalog("transit", uri=uri) as catalog:
        for name, row in (("transit.records", made), ("mine.runs", done.rows[0])):
            found = catalog.load_table(name)
            assert found.current_snapshot().snapshot_id == row["snapshot"]
            assert found.scan().to_arrow()["payload"].to_pylist() == [b"x"]


def test_iceberg_options_that_mean_nothing_are_refused(prefix: str, tmp_path: Path) -> None:
    rows("create", prefix)
    join(prefix, tmp_path / "a", "host-1")
    for words in (
        ("export", "s", "--iceberg", "here"),
        ("export", "--all", "--iceberg-table", "a.b"),
        ("export", "--parquet", tmp_path / "x", "--iceberg-table", "a.b"),
        ("fleet", "export", prefix, tmp_path / "x", "--iceberg-table", "a.b"),
    ):
        done = command(tmp_path / "a", *words)
        assert (done.code, b"--iceberg" in done.err) == (2, True)
    assert not (tmp_path / "x").exists()
