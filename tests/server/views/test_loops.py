"""Reconcilers over HTTP: as they stand, what they did, what is said to them, and by whom."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.server.api.calling import Server
from transit import Log, views
from transit.server.access import ADMIN, READ, Grant
from transit.server.app import App
from transit.server.settings import ServerSettings

from .declared import DECLARED, count

ONE = "/v1/reconcilers/count"


@pytest.fixture(autouse=True)
def _ticked(log: Log) -> None:
    with views.runner(log, [count]) as runner:
        for _ in range(3):
            runner.tick("count")


def test_reconcilers_and_their_ticks_are_told(server: Server) -> None:
    (status,) = server.get("/v1/reconcilers").lines
    assert (status["name"], status["enabled"], status["n"]) == ("count", True, 3)
    assert status["rule"] == {"type": "every", "period": 3_600_000_000_000}
    assert status["last"]["actions"] == [{"name": "count", "fields": {"streams": 3}}]
    assert server.get(ONE).value == status
    ticks = server.get(f"{ONE}/ticks").lines
    assert [each["n"] for each in ticks] == [0, 1, 2]
    assert ticks[-1]["lines"][0]["text"] == "there are 3 streams"
    page = server.get(f"{ONE}/ticks", limit=2)
    assert [each["n"] for each in page.lines] == [1, 2]
    rest = server.get(f"{ONE}/ticks", limit=2, before=page.headers["transit-next"])
    assert [each["n"] for each in rest.lines] == [0]
    assert "transit-next" not in rest.headers
    assert len(server.get("/v1/reconcilers", labels={"host": "local"}).lines) == 1
    assert server.get("/v1/reconcilers", labels={"host": "other"}).lines == []
    assert server.get("/v1/reconcilers", labels="[]").status == 400
    assert server.get("/v1/reconcilers/no").status == 404
    assert server.get("/v1/reconcilers/no/ticks").status == 404


def test_what_is_said_is_in_the_log(server: Server, log: Log) -> None:
    said = views.reconcilers(log)
    assert server.post(f"{ONE}/disable").value == {"name": "count", "op": "disable", "number": None}
    assert not said.list()[0].enabled
    assert server.get(ONE).value["enabled"] is False
    server.post(f"{ONE}/enable")
    assert said.list()[0].enabled
    number = server.post(f"{ONE}/tick").value["number"]
    assert isinstance(number, int)
    with views.runner(log, [count]) as runner:
        runner.run_due()
    assert said.ticks("count")[-1].answered == number
    assert server.call("DELETE", ONE).status == 200
    assert said.list() == ()
    assert server.get(ONE).status == 404
    assert [each["n"] for each in server.get(f"{ONE}/ticks").lines][:3] == [0, 1, 2]
    for op in ("tick", "enable", "disable"):
        assert server.post(f"{ONE}/{op}").status == 404


def test_a_reconciler_is_its_streams_to_a_token(server: Server) -> None:
    read = frozenset((READ,))
    server.app.granted = Grant("t", (("runs/", read),))
    assert server.get("/v1/reconcilers").lines == []
    assert server.get(ONE).status == server.get(f"{ONE}/ticks").status == 404
    server.app.granted = Grant("t", (("$views/reconcilers/", read),))
    assert len(server.get("/v1/reconcilers").lines) == 1
    assert server.get(f"{ONE}/ticks").status == 404
    server.app.granted = Grant("t", (("$views/reconcilers/count", read), ("$views/ticks/", read)))
    assert len(server.get(f"{ONE}/ticks").lines) == 3
    for method, path in (
        ("POST", "/tick"),
        ("POST", "/enable"),
        ("POST", "/disable"),
        ("DELETE", ""),
    ):
        assert server.call(method, ONE + path).status == 403
    both = frozenset((READ, ADMIN))
    server.app.granted = Grant("t", (("$views/reconcilers/count", both),))
    assert server.post(f"{ONE}/disable").status == 200
    server.app.granted = Grant()
    assert server.get("/v1/reconcilers").status == 403


def test_a_server_runs_what_its_operator_named(log: Log) -> None:
    app = App(log, ServerSettings(), declared=DECLARED)
    try:
        app.views.start()
        number = views.reconcilers(log).ask("count")
        ends = time.monotonic() + 90
        while views.reconcilers(log).ticks("count")[-1].answered != number:
            assert time.monotonic() < ends
            time.sleep(0.01)
        assert app.views.views.runs("count")
    finally:
        app.close()


def test_a_file_or_a_module_declares_what_is_served(tmp_path: Path) -> None:
    from transit import InvalidInputError
    from transit.views.loading import load, load_all

    found = load("tests.server.views.declared")
    assert [each.spec.name for each in found.programs] == ["tally", "other"]
    assert [each.name for each in found.reconcilers] == ["count"]
    assert load("tests.server.views.declared:tally").programs == (found.programs[0],)
    both = load_all(["tests.server.views.declared:count", "tests.server.views.declared"])
    assert (len(both.programs), len(both.reconcilers)) == (2, 1)
    file = tmp_path / "board_of_a_test.py"
    file.write_text("from tests.server.views.declared import tally, another\nall = [another]\n")
    assert [each.spec.name for each in load(f"{file}:all").programs] == ["other"]
    for place, said in (
        ("no_such_module", "No module"), (f"{file}:no", "nothing named"), (f"{file}:ab", "nothing"),
        (str(tmp_path / "none.py"), "none.py"), ("tests.server.views.declared:Run", "no reducer"),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError, match=said):
            load_all([place])
    (tmp_path / "empty_of_a_test.py").write_text("x = 1\n")
    with pytest.raises(InvalidInputError, match="declares no"):
        load_all([str(tmp_path / "empty_of_a_test.py")])
    (tmp_path / "wrong_of_a_test.py").write_text("1 / 0\n")
    with pytest.raises(InvalidInputError, match="ZeroDivisionError"):
        load_all([str(tmp_path / "wrong_of_a_test.py")])
    clash = "import msgspec\nfrom transit import views\n"
    clash += "from tests.server.views.declared import runs, Result\n"
    clash += "@views.reducer(runs, reads=Result)\ndef tally(runs, event, at):\n    pass\n"
    (tmp_path / "clash_of_a_test.py").write_text(clash)
    with pytest.raises(InvalidInputError, match="named 'tally' already"):
        load_all(["tests.server.views.declared", str(tmp_path / "clash_of_a_test.py")])
