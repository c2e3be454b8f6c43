"""Exports: every record in one file, once, and none that was deleted, whatever fails on the way."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import fleet
from transit.fleet import exporting

from .test_faults import Failing
from .test_plans import SMALL, Row, appended, fill, more

pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[fleet.Fleet]:
    with fleet.create(str(tmp_path / "fleet"), settings=SMALL) as made:
        yield made


def tables(folder: Path) -> list[Any]:
    return [pq.read_table(file) for file in sorted((folder / "data").glob("*.parquet"))]


def rows(folder: Path) -> list[Row]:
    """The rows of all files that are there."""
    return sorted(
        row
        for table in tables(folder)
        for row in zip(
            *(table[name].to_pylist() for name in ("store", "stream", "offset", "payload")),
            strict=True,
        )
    )


def files_of(export: fleet.Export) -> set[str]:
    return {each.key.partition("/")[2] for each in export.files if each.key}


def test_each_export_adds_what_is_new_and_each_record_is_in_one_file(
    agents: fleet.Fleet, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    seen: set[str] = set()
    for seed in range(4):
        fill(agents, tmp_path, 1 + seed, seed)
        done = agents.export(str(target), bytes_per_file=20_000)
        found = {file.name for file in (target / "data").iterdir()}
        assert found == files_of(done.export)
        gone = {key.partition("/")[2] for key in done.removed}
        assert gone <= seen
        assert found >= seen - gone
        assert len(found) == len(seen) + len(done.added) - len(gone)
        seen = found
        assert rows(target) == appended(agents)
        again = agents.export(str(target))
        assert (again.export, again.added, again.removed) == (done.export, (), ())
    assert sum(each.records for each in done.export.files) == len(rows(target))


def test_what_the_columns_and_the_metadata_say(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s", durability="os") as log:
        log.create("a").append(b"\x00x", timestamp=1_700_000_000_123_456_789, headers={"k": "é"})
        log.layer("notes").create("n").append(b"a layer's")
        log.seal()
        log.stream("a").append(b"not sealed")
        root = log.sealed().head.root
    done = fleet.of_store(tmp_path / "s").export(str(tmp_path / "out"))
    (file,) = done.added
    (table,) = tables(tmp_path / "out")
    (row,) = table.to_pylist()
    assert row.pop("written_ns") > 0
    moment = row.pop("timestamp")
    assert (moment.isoformat(), moment.microsecond) == ("2023-11-14T22:13:20.123456+00:00", 123456)
    assert row == {
        "store": file.store, "stream": "a", "offset": 0, "timestamp_ns": 1_700_000_000_123_456_789,
        "writer": "", "headers": [("k", "é")], "payload": b"\x00x",
    }  # fmt: skip
    about = json.loads(table.schema.metadata[b"transit"])
    assert (about["store"], about["root"], about["records"]) == (file.store, root, 1)
    assert file.bytes == (tmp_path / "out" / file.key).stat().st_size


def test_what_was_deleted_goes_from_the_files(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with transit.open(tmp_path / "s", durability="os", settings=SMALL) as log:
        for name in ("keep", "gone", "trimmed"):
            log.create(name).append_many([b"%s %d" % (name.encode(), n) for n in range(9)])
        log.seal()
        alone = log.create("alone")
        alone.append(b"alone")
        log.seal()
        store = fleet.of_store(tmp_path / "s", settings=SMALL)
        first = store.export(str(target), bytes_per_file=1)
        assert len(first.added) == 2
        log.hide("keep")
        log.seal()
        hidden = store.export(str(target))
        assert (len(hidden.removed), len(rows(target))) == (1, 19)
        log.hide("alone")
        log.seal()
        assert not store.export(str(target)).added
        log.show(next(each for each in log.hidden() if each.name == "alone"))
        log.show(next(log.hidden()))
        log.seal()
        shown = store.export(str(target))
        assert {each.rows for each in shown.added} == {each.rows for each in first.added}
        assert len(rows(target)) == 28
        for name in ("gone", "alone"):
            log.delete(name, reason="asked for")
        log.stream("trimmed").trim(before=4, reason="old")
        log.seal()
        log.erase()
        then = store.export(str(target))
        assert set(then.removed) == {each.key for each in shown.added}
        (made,) = then.added
        assert (made.records, len(files_of(then.export))) == (14, 1)
        assert Counter(stream for _, stream, *_ in rows(target)) == {"keep": 9, "trimmed": 5}
        assert [file.name for file in (target / "data").iterdir()] == [made.key.partition("/")[2]]
        assert store.export(str(target)).export == then.export


def test_as_many_others_shown_and_hidden_are_not_taken_for_the_same(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s", durability="os") as log:
        for name in ("a", "b"):
            log.create(name).append(b"x")
        log.hide("b")
        log.seal()
        store, target = fleet.of_store(tmp_path / "s"), tmp_path / "out"
        store.export(str(target))
        assert [stream for _, stream, *_ in rows(target)] == ["a"]
        log.hide("a")
        log.show(next(each for each in log.hidden() if each.name == "b"))
        log.seal()
        store.export(str(target))
        assert [stream for _, stream, *_ in rows(target)] == ["b"]


def test_a_place_of_another_export_and_wrong_values_are_refused(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s", durability="os") as log:
        log.create("runs/a").append(b"1")
        log.create("chat/a").append(b"2")
        log.seal()
    store, target = fleet.of_store(tmp_path / "s"), tmp_path / "out"
    store.export(str(target), streams="runs/")
    assert [payload for *_, payload in rows(target)] == [b"1"]
    with pytest.raises(transit.InvalidInputError, match="begin with 'runs/'"):
        store.export(str(target))
    with pytest.raises(transit.InvalidInputError, match="bytes_per_file"):
        store.export(str(target), streams="runs/", bytes_per_file=0)
    (said,) = (target / "exports").iterdir()
    for damaged in (b"", b"{}", said.read_bytes().replace(b"transit-export", b"another-export")):
        said.write_bytes(damaged)
        with pytest.raises(transit.CorruptError, match="an export"):
            store.export(str(target), streams="runs/")


def test_stores_that_cannot_be_read_are_exported_later(agents: fleet.Fleet, tmp_path: Path) -> None:
    fill(agents, tmp_path, 2, 1)
    target = tmp_path / "out"
    bad = next(agents.members()).store
    kept = tmp_path / "fleet" / "stores" / bad
    kept.rename(tmp_path / "away")
    with pytest.raises(transit.TransitError):
        agents.export(str(target))
    some = agents.export(str(target), missing_ok=True)
    assert set(some.missing) == {bad}
    assert bad not in some.export.stores
    (tmp_path / "away").rename(kept)
    whole = agents.export(str(target))
    assert bad in whole.export.stores
    kept.rename(tmp_path / "away")
    # What was exported of it stays.
    again = agents.export(str(target), missing_ok=True)
    assert again.export == whole.export
    (tmp_path / "away").rename(kept)
    assert rows(target) == appended(agents)


def test_two_exporters_at_once_make_one_export(agents: fleet.Fleet, tmp_path: Path) -> None:
    fill(agents, tmp_path, 2, 2)
    target = tmp_path / "out"
    barrier = threading.Barrier(4)

    def exports(_: int) -> bool:
        barrier.wait()
        try:
            agents.export(str(target), bytes_per_file=30_000)
        except transit.ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert any(pool.map(exports, range(4)))
    assert rows(target) == appended(agents)
    done = agents.export(str(target))
    assert {file.name for file in (target / "data").iterdir()} == files_of(done.export)


@pytest.mark.parametrize("carried_out", [False, True])
@pytest.mark.parametrize("exported_later", [False, True])
def test_each_request_fails_and_the_next_export_has_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carried_out: bool, exported_later: bool
) -> None:
    """Before or after it was carried out; in a first export, and in one after a deletion."""
    rng = random.Random(3)
    with transit.open(tmp_path / "s", durability="os", settings=SMALL) as log:
        log.create("gone").append_many([b"gone"] * 5)
        log.create("stays").append_many([b"stays"] * 5)
        log.seal()
        store = fleet.of_store(tmp_path / "s", settings=SMALL)
        open_store = exporting.open_store
        steps = [0, 0]

        def tried(target: Path, number: int) -> bool:
            """Whether a request failed."""
            made: list[Failing] = []

            def failing(*given: Any) -> Any:
                made.append(Failing(open_store(*given), number, carried_out=carried_out))
                return made[-1]

            with monkeypatch.context() as patch:
                patch.setattr(exporting, "open_store", failing)
                try:
                    store.export(str(target), bytes_per_file=1)
                except transit.RemoteUnavailableError:
                    assert made[0].failed
            return made[0].failed

        targets = [tmp_path / f"{number}" for number in range(20)]
        for number, target in enumerate(targets, 1):
            steps[0] += tried(target, number)
            store.export(str(target), bytes_per_file=1)
            assert len(rows(target)) == 10
        log.delete("gone", reason="asked for")
        more_of = log.create("more")
        more_of.append(rng.randbytes(9))
        log.seal()
        for number, target in enumerate(targets, 1):
            steps[1] += tried(target, number)
            if not exported_later:
                store.export(str(target), bytes_per_file=1)
                found = Counter(stream for _, stream, *_ in rows(target))
                assert found == {"stays": 5, "more": 1}
        # Where it was not exported again at once, there is something new when it is.
        log.create("late").append(b"late")
        log.seal()
        for target in targets:
            store.export(str(target), bytes_per_file=1)
            found = Counter(stream for _, stream, *_ in rows(target))
            assert found == {"stays": 5, "more": 1, "late": 1}
    # Each request of both was failed once.
    assert 4 <= min(steps) <= max(steps) < len(targets)


@pytest.mark.parametrize("carried_out", [False, True])
def test_what_an_export_that_was_cut_short_wrote_is_not_there_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carried_out: bool
) -> None:
    """The next one cuts other parts, as more was published since."""
    with transit.open(tmp_path / "s", durability="os", settings=SMALL) as log:
        stream = log.create("a")
        store = fleet.of_store(tmp_path / "s", settings=SMALL)
        open_store = exporting.open_store
        for number in range(1, 12):
            target = tmp_path / f"out-{number}"
            stream.append_many([b"x" * 3000] * 30)
            log.seal()

            def opened(*given: Any, number: int = number) -> Any:
                return Failing(open_store(*given), number, carried_out=carried_out)

            with monkeypatch.context() as patch:
                patch.setattr(exporting, "open_store", opened)
                with contextlib.suppress(transit.RemoteUnavailableError):
                    store.export(str(target), bytes_per_file=20_000)
            stream.append_many([b"y" * 3000] * 30)
            log.seal()
            done = store.export(str(target), bytes_per_file=50_000)
            assert {file.name for file in (target / "data").iterdir()} == files_of(done.export)
            assert [offset for _, _, offset, _ in rows(target)] == list(range(len(stream)))


def test_an_export_goes_on_while_stores_publish(agents: fleet.Fleet, tmp_path: Path) -> None:
    fill(agents, tmp_path, 1, 4)
    target, stop = tmp_path / "out", threading.Event()

    def publish() -> None:
        rng = random.Random(5)
        with agents.record(tmp_path / "0", durability="os") as log:
            while not stop.is_set():
                more(log, rng)

    writing = threading.Thread(target=publish)
    writing.start()
    try:
        for _ in range(5):
            agents.export(str(target), bytes_per_file=50_000)
            found = rows(target)
            assert len(set(found)) == len(found)
    finally:
        stop.set()
        writing.join()
    agents.export(str(target), bytes_per_file=50_000)
    assert rows(target) == appended(agents)
