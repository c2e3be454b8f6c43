"""Views, SQL and reconcilers on the page: in a browser, by keyboard, and only what may be seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

import transit
from tests.server.views.declared import DECLARED, count, event, fill
from transit import views
from transit.views.loading import Declared

from .conftest import Open
from .runs import IMG
from .served import Site


@pytest.fixture
def site(log: transit.Log, serve: Callable[..., Site]) -> Site:
    fill(log)
    with views.runner(log, [count]) as runner:
        for _ in range(3):
            runner.tick("count")
    # It runs none of the loops itself: tests do.
    return serve(declared=Declared(DECLARED.programs))


CELLS = "[...document.querySelectorAll('.values tbody tr')].map(r => r.innerText.split('\\t'))"


def test_a_table_is_looked_at_at_any_offset_by_keyboard(site: Site, look: Open) -> None:
    tab = look()
    tab.press("g", "v")
    tab.wait_for("tally", "#content")
    assert tab.text("h1") == "Views"
    tab.press("j", "Enter")
    tab.wait_for("Name a stream")
    assert tab.text("h1") == "tally"
    tab.press("/")
    tab.type("runs/task")
    tab.press("Enter")
    tab.wait_for("3 rows after 6 records")
    assert tab.run(CELLS)[0] == ["run-0", "ok", "20"]
    tab.run("document.getElementById('earlier').click()")
    tab.wait_for("after 5 records")
    assert tab.run(CELLS)[2] == ["run-2", "error", "10"]
    tab.go("view?name=tally&table=visits&stream=runs/retry")
    assert tab.text("#count").startswith("4 rows after 4 records")


def test_rows_come_in_pages(site: Site, look: Open, log: transit.Log) -> None:
    log.create("runs/many").append_many([event(f"run-{n:03}") for n in range(250)])
    tab = look("view?name=tally&stream=runs/many")
    seen = [row[0] for row in tab.run(CELLS)]
    log.stream("runs/many").append(event("run-000-new"))
    for _ in range(2):
        first = seen[-1]
        tab.press("n")
        tab.wait(f"{CELLS}.length && {CELLS}[0][0] > {json.dumps(first)}")
        seen += [row[0] for row in tab.run(CELLS)]
    assert seen == [f"run-{n:03}" for n in range(250)]
    tab.press("p")
    tab.wait(f"{CELLS}[0][0] === 'run-000'")


def test_a_query_is_typed_and_answered(site: Site, look: Open, log: transit.Log) -> None:
    pytest.importorskip("duckdb")
    tab = look("sql")
    tab.press("/")
    tab.press("Control+A")
    tab.type("SELECT _stream, count(*) AS n, NULL AS x FROM events GROUP BY 1 ORDER BY 1")
    tab.press("Control+Enter")
    tab.wait_for("3 rows")
    assert tab.run(CELLS) == [
        ["runs/retry", "4", "NULL"], ["runs/task", "6", "NULL"], ["secret/plan", "1", "NULL"],
    ]  # fmt: skip
    assert tab.run("document.querySelector('textarea').value").startswith("SELECT _stream")
    tab.run("document.querySelector('textarea').value = 'DROP TABLE events'")
    tab.run("document.querySelector('[name=streams]').value = 'runs/*'")
    tab.run("document.querySelector('form.sql').requestSubmit()")
    tab.wait_for("only SELECT", "#wrong")
    assert tab.run("document.querySelector('[name=streams]').value") == "runs/*"
    log.create("hostile").append(IMG.encode())
    tab.run("document.querySelector('[name=streams]').value = 'hostile'")
    tab.run("document.querySelector('textarea').value = 'SELECT payload FROM events'")
    tab.run("document.querySelector('form.sql').requestSubmit()")
    tab.wait_for("1 row")
    assert tab.run(CELLS) == [[IMG]]
    assert tab.run("document.images.length") == 0


def test_a_loop_is_looked_at_and_told(site: Site, look: Open, log: transit.Log) -> None:
    tab = look("views")
    tab.press("j", "j", "j", "Enter")
    tab.wait_for("there are 3 streams", ".lines")
    assert tab.text("h1") == "count"
    assert "streams=3" in tab.text("tbody tr")
    tab.tab.click("button[value=disable]")
    tab.wait_for("disabled", ".over")
    assert not views.reconcilers(log).list()[0].enabled
    tab.tab.click("button[value=enable]")
    tab.wait_for("Disable", ".over")
    tab.tab.click("button[value=tick]")
    tab.wait_for("Tick now", ".over")
    with views.runner(log, [count]) as runner:
        runner.run_due()
    tab.go("loop?name=count")
    tab.wait("!!document.getElementById('tick-3')")


def tokens(path: Path) -> str:
    rights = {
        "all": {"": ["read", "append", "admin"]},
        "some": {"runs/": ["read"], "$views/tally": ["read"]},
    }
    text = ""
    for name, allow in rights.items():
        allowed = ", ".join(f"{json.dumps(key)} = {json.dumps(allow[key])}" for key in allow)
        digest = sha256(name.encode()).hexdigest()
        text += f'[tokens.{name}]\nsha256 = "{digest}"\nallow = {{ {allowed} }}\n'
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


def test_pages_show_what_the_token_may_read(
    site: Site, serve: Callable[..., Site], tmp_path: Path
) -> None:
    pytest.importorskip("duckdb")
    guarded = serve(declared=DECLARED, tokens=tokens(tmp_path / "tokens.toml"))
    origin = "http://" + guarded.host

    def ask(token: str, method: str, path: str, form: dict[str, str] | None = None) -> str:
        status, _, text = guarded.ask(
            method, path, form, cookie=f"transit-token={token}", origin=origin
        )
        return f"{status} {text}"

    assert "name=other" in ask("all", "GET", "views")
    shown = ask("some", "GET", "views")
    assert "tally" in shown
    assert "name=other" not in shown
    assert "Loops" not in shown
    assert ask("some", "GET", "view?name=other").startswith("404")
    assert ask("some", "GET", "view?name=tally&stream=runs/task").startswith("200")
    assert ask("some", "GET", "view?name=tally&stream=secret/plan").startswith("403")
    assert ask("some", "GET", "loop?name=count").startswith("404")
    for streams in ("", "*", "secret/*", "secret/plan"):
        found = ask("some", "POST", "sql", {"query": "SELECT * FROM events", "streams": streams})
        assert found.startswith("200")
        assert "hidden-run" not in found
    assert "hidden-run" in ask("all", "POST", "sql", {"query": "SELECT * FROM events"})
    assert ask("some", "POST", "loop", {"name": "count", "op": "disable"}).startswith("404")
    status, headers, _ = guarded.ask("GET", "views")
    assert (status, headers["location"]) == (303, "login?next=views")


def test_no_other_site_asks_a_query_or_tells_a_loop(site: Site) -> None:
    for path, form in (
        ("sql", {"query": "SELECT 1"}), ("loop", {"name": "count", "op": "disable"}),
    ):  # fmt: skip
        assert site.ask("POST", path, form, origin="http://elsewhere.example")[0] == 403
        assert site.ask("POST", path, form, sec_fetch_site="cross-site")[0] == 403
        assert site.ask("POST", path, form)[0] == 403
    assert site.ask("GET", "sql?query=SELECT+1")[0] == 400
