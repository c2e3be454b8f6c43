"""Views, SQL and reconcilers of a server, used as embedded ones."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from rigs.server.serving import Serving
from tests.server.views.declared import DECLARED, Run, count, event, fill, tally
from transit import views
from transit.client.absent import ABSENT_OF_VIEWS
from transit.client.changes import ConnectedChange
from transit.client.log import ConnectedLog
from transit.client.states import ConnectedState, ConnectedTable
from transit.client.views import ConnectedReconcilers, ConnectedView
from transit.server.settings import ServerSettings

WAIT_S = 90


@pytest.fixture
def serving(opened: transit.Log) -> Iterator[Serving]:
    fill(opened)
    server = Serving(opened, declared=DECLARED)
    yield server
    server.close()


@pytest.fixture
def served(serving: Serving) -> Iterator[ConnectedLog]:
    with transit.connect(serving.url, timeout_s=WAIT_S) as log:
        assert isinstance(log, ConnectedLog)
        yield log


def all_done(changes: Iterator[Any]) -> None:
    for change in changes:
        change.done()


def plain(row: Any) -> Any:
    return None if row is None else msgspec.to_builtins(row)


def test_views_are_found_by_name(served: ConnectedLog) -> None:
    assert [each.name for each in served.views] == ["tally", "other"]
    view = served.views["tally"]
    assert (view.id, view.tables) == (tally.spec.id, ("runs", "visits"))
    for name, error in (("no", transit.NotFoundError), ("a/b", transit.InvalidInputError)):
        with pytest.raises(error):
            served.views[name]


@pytest.mark.parametrize("at", [None, 0, 1, 4])
def test_a_state_has_what_an_embedded_one_has(
    served: ConnectedLog, opened: transit.Log, at: int | None
) -> None:
    here = views.open(opened, tally, persist="ephemeral").of("runs/task", at)
    there = served.views["tally"].of("runs/task", at)
    assert (there.position, there.root) == (here.position, here.root)
    for name in ("runs", "visits"):
        mine, theirs = here.tables[name], there.tables[name]
        assert len(theirs) == len(mine)
        assert [plain(row) for row in theirs] == [plain(row) for row in mine]
    for key in ("run-0", "run-2", "no"):
        assert plain(there.runs.get(key)) == plain(here.runs.get(key))
        assert (key in there.runs) is (key in here.runs)
    if at != 0:
        assert there.runs["run-0"].tokens == here.runs["run-0"].tokens
    assert plain(there.visits.get(("run-0", 0))) == plain(here.visits.get(("run-0", 0)))
    assert list(map(plain, there.runs.where(status="error"))) == list(
        map(plain, here.runs.where(status="error"))
    )
    assert list(map(plain, there.visits.range("run-1", "run-2"))) == list(
        map(plain, here.visits.range("run-1", "run-2"))
    )
    with pytest.raises(transit.NotFoundError):
        there.runs["no"]
    with pytest.raises(AttributeError):
        _ = there.nothing
    with pytest.raises(transit.InvalidInputError):
        list(there.runs.where(nothing=1))


def test_states_are_of_one_moment_compare_and_differ(
    served: ConnectedLog, opened: transit.Log
) -> None:
    view = served.views["tally"]
    now = view.of(served.stream("runs/task"))
    opened.stream("runs/task").append(event("run-later"))
    assert "run-later" not in now.runs
    later = view.of("runs/task")
    assert "run-later" in later.runs
    assert now != later
    assert now == view.of("runs/task", 6)
    assert hash(now) == hash(view.of("runs/task", 6))
    here = views.open(opened, tally, persist="ephemeral")
    wanted = here.diff(here.of("runs/task", 3), here.of("runs/retry"))
    found = view.diff(view.of("runs/task", 3), view.of("runs/retry"))
    shown = [(each.table, each.key, plain(each.before), plain(each.after)) for each in found]
    assert shown == [(e.table, e.key, plain(e.before), plain(e.after)) for e in wanted]


def test_many_rows_come_in_pages(served: ConnectedLog, opened: transit.Log) -> None:
    opened.create("runs/many").append_many([event(f"run-{n:05}") for n in range(2_500)])
    runs = served.views["tally"].of("runs/many").runs
    assert len(runs) == 2_500
    assert [row.name for row in runs] == [f"run-{n:05}" for n in range(2_500)]


def test_a_view_that_stands_raises_what_the_embedded_one_raises(
    served: ConnectedLog, opened: transit.Log
) -> None:
    opened.stream("runs/task").append(b"no event")
    with pytest.raises(views.EventError) as caught:
        list(served.views["tally"].of("runs/task").runs)
    assert (caught.value.offset, caught.value.stream) == (6, "runs/task")
    with pytest.raises(views.EventError):
        all_done(served.views["tally"].changes("runs/task", "m", timeout=None))


# Changes


def test_changes_are_delivered_until_they_are_done(
    served: ConnectedLog, opened: transit.Log
) -> None:
    view = served.views["tally"]
    found = []
    for change in view.changes("runs/task", "mailer"):
        found.append((change.table, change.key, change.offset, change.number))
        change.done()
    here = views.open(opened, tally, persist="ephemeral")
    wanted = []
    for each in here.changes("runs/task", "library"):
        wanted.append((each.table, each.key, each.offset, each.number))
        each.done()
    assert found == wanted
    assert list(view.changes("runs/task", "mailer")) == []
    status, other = view.subscribers("runs/task")
    assert other.name == "library"
    assert (status.name, status.position, status.lag) == ("mailer", 6, 0)
    opened.stream("runs/task").append(event("run-1", "again"))
    changes = view.changes("runs/task", "mailer", timeout=None)
    first = next(changes)
    assert isinstance(first.after.name, str)
    with pytest.raises(transit.InvalidInputError, match="done"):
        next(changes)
    again = next(view.changes("runs/task", "mailer", timeout=None))
    assert again.id == first.id
    with pytest.raises(transit.InvalidInputError, match="one frame"):
        again.done(opened.batch())
    again.done(durability="local")


def test_an_effect_comes_again_as_repeated(served: ConnectedLog) -> None:
    view = served.views["tally"]
    first = next(view.changes("runs/task", "pager"))
    with pytest.raises(ValueError, match="in the middle"), first.effect() as key:
        raise ValueError("in the middle")
    assert view.subscribers("runs/task")[0].open == key
    changes = view.changes("runs/task", "pager")
    change = next(changes)
    assert (change.is_repeated, change.id) == (True, key)
    with change.effect() as again:
        assert again == key
    following = next(changes)
    assert not following.is_repeated
    changes.close()


def test_changes_go_on_where_a_connection_ended(opened: transit.Log) -> None:
    fill(opened)
    server = Serving(opened, ServerSettings(sse_s=0.2, ping_s=0.05), declared=DECLARED)
    try:
        with transit.connect(server.url, timeout_s=WAIT_S) as log:
            assert isinstance(log, ConnectedLog)
            seen = []
            for change in log.views["tally"].changes("runs/task", "m", timeout=None):
                seen.append(change.position)
                change.done()
                if len(seen) == 12:
                    # The first connection ends; there is more only in a later one.
                    time.sleep(0.3)
                    opened.stream("runs/task").append(event("run-later"))
                elif len(seen) == 14:
                    break
            assert seen[-2:] == ["6.0", "6.1"]
    finally:
        server.close()


# What there is

KINDS: dict[type, type] = {
    views.View: ConnectedView, views.State: ConnectedState, views.TableState: ConnectedTable,
    views.Change: ConnectedChange, views.Reconcilers: ConnectedReconcilers,
}  # fmt: skip


def things_of(served: ConnectedLog) -> dict[str, Any]:
    view = served.views["tally"]
    return {
        "View": view, "State": view.of("runs/task"), "TableState": view.of("runs/task").runs,
        "Change": next(view.changes("runs/task", "m")), "Reconcilers": served.views.reconcilers,
    }  # fmt: skip


def test_all_of_the_embedded_surface_is_there_or_says_why_not(served: ConnectedLog) -> None:
    things = things_of(served)
    assert {kind.__name__ for kind in KINDS} == set(ABSENT_OF_VIEWS) == set(things)
    for kind, connected in KINDS.items():
        thing, absent = things[kind.__name__], ABSENT_OF_VIEWS[kind.__name__]
        embedded = {name for name in dir(kind) if not name.startswith("_")}
        assert absent.keys() - {"log", "program", "persist", "unsaved", "applied", "skipped"} <= (
            embedded
        )
        for name in embedded - absent.keys():
            assert hasattr(thing, name), (kind, name)
            there = inspect.getattr_static(kind, name)
            if inspect.isfunction(there):
                mine = inspect.getattr_static(connected, name)
                wanted = set(inspect.signature(there).parameters) - {"check", "before", "stream"}
                assert wanted <= set(inspect.signature(mine).parameters), (kind, name)
        for name, reason in absent.items():
            with pytest.raises(transit.InvalidInputError, match=re.escape(reason)):
                getattr(thing, name)
        with pytest.raises(AttributeError):
            _ = thing.nothing_of_the_kind


def test_a_state_is_of_a_time_too(served: ConnectedLog, opened: transit.Log) -> None:
    written = opened.stream("runs/task")[3].written
    view = served.views["tally"]
    here = views.open(opened, tally, persist="ephemeral").of("runs/task", time=written)
    assert view.of("runs/task", time=written).root == here.root
    for given, said in (({"at": 1, "time": 1}, "together"), ({"time": 1 << 62}, "to come")):
        with pytest.raises(transit.InvalidInputError, match=said):
            view.of("runs/task", **given)  # type: ignore[arg-type]


# SQL


def test_sql_is_run_by_the_server(
    served: ConnectedLog, opened: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("duckdb")
    # The server's queries run in a process of their own: nothing is to be run in this one.
    monkeypatch.setattr(
        "transit.views.scans.querying.Query.run", lambda *_, **__: pytest.fail("run here")
    )
    query = "SELECT _stream, count(*) AS n, LAST(payload) FROM events GROUP BY 1 ORDER BY 1"
    there = list(views.sql(served, query, streams="runs/*"))
    none = views.payload_columns()
    assert list(views.sql(served, query, streams="runs/*", columns=none)) == there
    monkeypatch.undo()
    assert there == list(views.sql(opened, query, streams="runs/*"))
    columns = views.columns("results", {"run": str, "tokens": int})
    query = "SELECT run, sum(tokens) FROM results GROUP BY 1 ORDER BY 1"
    task = served.stream("runs/task")
    assert list(views.sql(served, query, columns=columns, streams=task)) == [
        ("run-0", 20), ("run-1", 20), ("run-2", 20),
    ]  # fmt: skip
    view: Any = served.views["tally"]
    found = views.sql(served, "SELECT name FROM runs ORDER BY 1", view=view, stream="runs/retry")
    assert [name for (name,) in found] == ["run-0", "run-1", "run-2", "run-9"]
    with pytest.raises(transit.InvalidInputError, match="there is no table"):
        views.sql(served, "SELECT * FROM '/etc/passwd'")
    with pytest.raises(transit.InvalidInputError, match="more than 3 rows"):
        views.sql(served, "FROM range(10)", limits=views.Limits(rows_max=3))
    with pytest.raises(transit.NotFoundError):
        views.sql(served, "SELECT 1", streams="no")


def test_what_only_the_program_has_is_read_here(served: ConnectedLog) -> None:
    pytest.importorskip("duckdb")
    pa = pytest.importorskip("pyarrow")
    owners = pa.table({"run": ["run-1"], "owner": ["ada"]})
    columns = views.columns("results", Run)  # a struct says more than plain values do
    query = "SELECT owner, count(*) FROM results JOIN owners ON name = run GROUP BY 1"
    assert list(views.sql(served, query, columns=columns, tables={"owners": owners})) == []
    query = "SELECT count(*) FROM results"
    assert list(views.sql(served, query, columns=columns, streams="runs/task")) == [(6,)]


def test_a_server_without_sql_leaves_it_to_the_client(opened: transit.Log) -> None:
    pytest.importorskip("duckdb")
    fill(opened)
    server = Serving(opened, ServerSettings(sql=False))
    try:
        with transit.connect(server.url, timeout_s=WAIT_S) as log:
            assert list(views.sql(log, "SELECT count(*) FROM events")) == [(11,)]
    finally:
        server.close()


# Reconcilers


def test_reconcilers_are_those_of_the_log(served: ConnectedLog, opened: transit.Log) -> None:
    loops = served.views.reconcilers
    here = views.reconcilers(opened)
    # The server's own runner makes the first tick; the next is due in an hour.
    end = time.monotonic() + WAIT_S
    while not (here.list() and here.ticks("count")) and time.monotonic() < end:
        time.sleep(0.01)
    with views.runner(opened, [count]) as runner:
        for _ in range(3):
            runner.tick("count")
    assert [each.n for each in here.ticks("count")] == [0, 1, 2, 3]
    (status,) = loops.list()
    assert msgspec.structs.replace(status, has_code=None) == here.list()[0]
    assert loops.list({"host": "other"}) == ()
    assert loops.status("count") == status
    assert loops.ticks("count") == here.ticks("count")
    assert loops.ticks("count", last=2) == here.ticks("count", last=2)
    loops.disable("count")
    assert not here.list()[0].enabled
    loops.enable("count")
    number = loops.ask("count")
    with views.runner(opened, [count]) as runner:
        # One of the two makes it.
        runner.run_due()
        while here.ticks("count")[-1].answered != number and time.monotonic() < end:
            time.sleep(0.01)
    assert here.ticks("count")[-1].answered == number
    assert [each.n for each in here.ticks("count")] == [0, 1, 2, 3, 4]
    loops.delete("count")
    assert here.list() == ()
    with pytest.raises(transit.NotFoundError):
        loops.status("count")


# Kills


def test_a_server_killed_between_delivery_and_done_delivers_again(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with transit.open(folder) as log:
        log.create("runs/task").append_many([event("a"), event("b")])
    seen: list[str] = []
    settled: list[str] = []
    for life in range(4):
        process, url = process_of(folder, tmp_path / f"port-{life}")
        try:
            with transit.connect(url, timeout_s=WAIT_S) as log:
                assert isinstance(log, ConnectedLog)
                for change in log.views["tally"].changes(
                    "runs/task", subscriber="mailer", timeout=None
                ):
                    seen.append(change.position)
                    if life < 3 and len(seen) % 2 == 0:
                        # It was delivered, and is not done.
                        process.kill()
                        break
                    change.done()
                    settled.append(change.position)
                    if change.position == "1.1":
                        break
        finally:
            process.kill()
            process.wait()
    assert settled == ["0.0", "0.1", "1.0", "1.1"]
    assert seen == ["0.0", "0.1", "0.1", "1.0", "1.0", "1.1", "1.1"]


def process_of(folder: Path, port_file: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A server in a process of its own, and where it answers."""
    code = (
        "import sys, pathlib; import transit; from transit.server.run import serve;"
        "from tests.server.views.declared import DECLARED;"
        "log = transit.open(sys.argv[1]);"
        "part = pathlib.Path(sys.argv[2] + '.part');"
        "serve(log, '127.0.0.1:0', declared=DECLARED,"
        " ready=lambda r: (part.write_text(r.url), part.rename(sys.argv[2])))"
    )
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", code, str(folder), str(port_file)], cwd=root)
    ends = time.monotonic() + WAIT_S
    while not port_file.exists():
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.01)
    return process, port_file.read_text()
