"""Lists, graph, search and runs in a browser, used by keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from urllib.parse import urljoin, urlsplit

import pytest

import transit
from transit import trace
from transit.server.page.pages import Pages
from transit.server.routes import Routes
from transit.trace.page.growing import Limits

from .conftest import Open
from .runs import IMG, NAMES, SCRIPT, record_hostile, record_run
from .served import Site, Tab


def test_a_run_is_found_in_the_list_and_opened_by_keyboard(log: transit.Log, look: Open) -> None:
    for number in range(3):
        record_run(log, f"case/{number}", fails=number == 1)
    tab = look()
    assert "3 runs" in tab.text("#content")
    row = tab.text("tr[data-name='case/1']")
    assert "✓ completed" in row
    assert "1,200 / 34" in row
    assert row.split()[-1] == "1", "the failed call is counted"
    # The newest is first.
    tab.press("j", "j", "Enter")
    tab.wait_for("no rule", "#rows")
    assert tab.text("h1") == "case/1"
    tab.press("f")
    assert "bash" in tab.row
    assert "exit code 2" in tab.text("#detail")


@pytest.mark.slow
def test_the_list_is_filtered_ordered_and_paged(log: transit.Log, look: Open) -> None:
    for number in range(105):
        record_run(log, f"{'odd' if number % 2 else 'even'}/{number:03}", fails=number == 7)
    tab = look()
    assert tab.tab.locator("tbody tr").count() == 100
    tab.press("n")
    tab.wait_for("page 2 of 2")
    assert tab.tab.locator("tbody tr").count() == 5
    tab.press("p")
    tab.wait_for("page 1 of 2")
    tab.press("/")
    tab.type("ODD/00")
    tab.press("Enter")
    tab.wait_for("5 runs")
    assert "odd/009" in tab.text("tbody tr:first-child")
    tab.go("?sort=failures&tool=bash&status=completed")
    assert "odd/007" in tab.text("tbody tr:first-child")
    tab.go("?status=failed")
    tab.wait_for("No run is like that")


@pytest.mark.slow
def test_an_empty_store_says_what_to_do(look: Open) -> None:
    tab = look()
    tab.wait_for("with trace.task(")
    for address, said in (("streams", "no streams yet"), ("graph", "no streams yet")):
        tab.go(address)
        tab.wait_for(said)
    tab.go("search")
    tab.wait_for("Looks through all runs")


@pytest.mark.slow
def test_search_leads_to_the_step(log: transit.Log, look: Open) -> None:
    for number in range(4):
        record_run(log, f"case/{number}", result=f"needle {number} & <b>")
    tab = look()
    tab.press("g", "/")
    tab.wait_for("Looks through")
    tab.press("/")
    tab.type("NEEDLE")
    tab.press("Enter")
    tab.wait_for("4 places, 4 of 4 runs")
    assert "needle 3 & <b>" in tab.text(".found li:first-child")
    assert tab.text(".found li:first-child mark") == "needle"
    tab.press("j", "j", "Enter")
    tab.wait_for("needle 2", "#detail")
    assert "bash" in tab.row
    assert tab.run("location.hash") == "#@4"
    # The place that is looked at is in the address.
    tab.press("k")
    tab.wait("location.hash === '#@2' || location.hash === '#@1'")


@pytest.mark.slow
def test_search_goes_on_where_it_stopped(log: transit.Log, look: Open) -> None:
    for number in range(3):
        with trace.task(log, f"case/{number}") as task:
            for count in range(60):
                task.message("user", f"needle {count}")
    tab = look("search?text=needle")
    tab.wait_for("100 places and more, 2 of 3 runs looked through")
    tab.press("n")
    tab.wait_for("60 places, 3 of 3 runs")


@pytest.mark.slow
def test_two_runs_are_chosen_and_shown_beside_each_other(log: transit.Log, look: Open) -> None:
    record_run(log, "one", result="same")
    record_run(log, "two/of them", result="other")
    tab = look()
    tab.press("j", "x", "j", "x", "b")
    tab.wait_for("First difference", "#tools")
    # What is there before the script of the page was run is not all of it.
    tab.wait("document.querySelectorAll('#columns code').length")
    heads = tab.run("[...document.querySelectorAll('#columns code')].map(e => e.textContent)")
    assert heads == ["one", "two/of them"]
    assert tab.run("document.querySelectorAll('.row.differs').length") >= 1


@pytest.mark.slow
def test_the_graph_draws_what_descends_from_what(log: transit.Log, look: Open) -> None:
    root = log.create("task")
    root.append_many([b"a", b"b", b"c"])
    left, right = root.branch("left", at=1), root.branch("right", at=2)
    left.append(b"d")
    right.append(b"e")
    log.merge("joined", [left, right], policy="interleave")
    tab = look("graph")
    names = tab.run("[...document.querySelectorAll('.graph li > a')].map(e => e.textContent)")
    assert [name for name in names if "@" not in name] == ["joined", "left", "right", "task"]
    assert tab.run("document.querySelectorAll('.lanes path.merge').length") == 1
    assert tab.run("document.querySelectorAll('.lanes circle.branch').length") == 2
    assert tab.run("document.querySelectorAll('.lanes path.lane').length") >= 2
    assert "of right@2" in tab.text(".graph li:nth-child(1)") or "of left@" in tab.text(".graph li")
    tab.go("graph?name=left")
    assert "3 streams" in tab.text(".over")


@pytest.mark.slow
def test_a_thousand_streams_are_listed_and_drawn(log: transit.Log, look: Open) -> None:
    for number in range(1000):
        if number % 3 == 2:
            log.stream(f"stream {number - 1}").branch(f"stream {number}")
        else:
            log.create(f"stream {number}").append(b"x")
    tab = look("graph")
    assert tab.run("document.querySelectorAll('.graph li').length") == 1000
    assert tab.run("document.querySelector('.lanes').getBoundingClientRect().height") == 28000
    # Rows and nodes stand at the same height, also at the end.
    assert tab.run(
        "document.querySelector('.graph li:last-child').getBoundingClientRect().bottom"
        " - document.querySelector('.lanes').getBoundingClientRect().bottom"
    ) == 0  # fmt: skip
    tab.go("streams?page=10")
    assert "stream 99" in tab.text("tbody tr:first-child")


def test_markup_in_names_and_payloads_is_text(log: transit.Log, look: Open) -> None:
    for name in NAMES:
        record_hostile(log, f"{name}!")
        log.create(name, {IMG: SCRIPT}).append(f"{IMG}{SCRIPT}".encode(), headers={"h": IMG})
    tab = look()
    names = tab.run("[...document.querySelectorAll('tr[data-name]')].map(e => e.dataset.name)")
    assert names == [f"{name}!" for name in reversed(NAMES)]
    assert IMG in tab.text("tbody")
    for address in ("streams", "graph", "search?text=%3Cimg"):
        tab.go(address)
        assert IMG in tab.text("#content"), address
        _runs_nothing(tab)


def test_each_name_leads_to_its_own_run_and_stream(log: transit.Log, site: Site) -> None:
    """Followed as a browser does: what is in the address is what is looked at."""
    for name in NAMES:
        record_run(log, f"{name}!")
        log.create(name).append(f"{IMG} of {name}".encode())
    for page, cut in (("", "!"), ("streams", "")):
        _, _, text = site.ask("GET", page)
        links = re.findall(r'<th scope="row"><a href="([^"]+)"', text)
        found = []
        for link in map(unescape, links):
            address = urljoin(site.url, link)
            assert urlsplit(address).netloc == site.host
            status, _, shown = site.ask("GET", address.removeprefix(site.url))
            assert status == 200
            named = re.search("<title>(.*?) · transit</title>", shown)
            assert named is not None
            found.append(unescape(named[1]).removesuffix(cut))
        assert set(NAMES) <= set(found)


@pytest.mark.slow
def test_a_run_with_markup_everywhere_is_shown_as_text(log: transit.Log, look: Open) -> None:
    record_hostile(log, IMG)
    tab = look()
    tab.press("j", "Enter")
    tab.wait_for(IMG, "#rows")
    tab.live()
    for _ in range(6):
        assert IMG in tab.text("#detail") or SCRIPT in tab.text("#detail")
        tab.press("j")
        _runs_nothing(tab)
    assert SCRIPT in tab.text("#head")


def _runs_nothing(tab: Tab) -> None:
    found = tab.run(
        "[...document.querySelectorAll('img, iframe, object, embed, base, [onerror], [onload],"
        ' script:not([src]):not([type="application/json"]), [style*=url]\')].length'
    )
    assert found == 0


@pytest.mark.slow
def test_records_come_while_a_stream_is_looked_at(log: transit.Log, look: Open) -> None:
    stream = log.create("numbers")
    tab = look("stream?name=numbers")
    tab.wait_for("no records yet")
    tab.live()
    stream.append(b"first " + IMG.encode(), headers={"k": "v"})
    tab.wait_for(f"first {IMG}", "ol.records")
    assert "k: v" in tab.text("ol.records")
    assert "1 records" in tab.text(".pager") or "1 record" in tab.text(".pager")
    stream.append(b"\xff\xfe\x00")
    tab.wait_for("ff fe 00", "ol.records")
    stream.finish()
    tab.wait_for("finished", ".pager")


@pytest.mark.slow
def test_long_records_are_cut_and_shown_whole_alone(log: transit.Log, look: Open) -> None:
    stream = log.create("large")
    stream.append("é".encode() * 30_000 + b"the end")
    for number in range(250):
        stream.append(b"%d" % number)
    tab = look("stream?name=large&from=0")
    assert "54.7 KiB more" in tab.text("ol.records li:first-child")
    assert tab.tab.locator("ol.records li").count() == 100
    tab.press("n")
    tab.wait_for("100 to 199")
    # Keys count once the script of the page was run.
    tab.wait("document.readyState === 'complete'")
    tab.press("n")
    tab.wait_for("200 to 250")
    tab.go("stream?name=large&at=0")
    tab.wait_for("the end", "ol.records")


@pytest.mark.slow
def test_pages_work_without_scripts(log: transit.Log, look: Open, site: Site) -> None:
    record_run(log, "one")
    tab = look(java_script_enabled=False)
    assert "one" in tab.text("tbody")
    tab.go("run?name=one")
    tab.tab.locator("noscript a").click()
    assert "tool_request" in tab.text("ol.records")


@pytest.mark.slow
def test_dark_and_narrow_pages_do_not_scroll_sideways(log: transit.Log, look: Open) -> None:
    record_run(log, "a/long/name/" + "x" * 200)
    tab = look(color_scheme="dark", size={"width": 400, "height": 760})
    for address in ("", "streams", "search", "run?name=a/long/name/" + "x" * 200):
        tab.go(address)
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert tab.run(width) == 0, address
    ground = tab.run("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(20, 23, 26)"


def test_a_run_that_is_too_large_leads_to_its_records(
    log: transit.Log, look: Open, serve: Callable[..., Site]
) -> None:
    site = serve()
    site.app.pages = Pages(site.app, Limits(events=10))
    site.app.routes = Routes(site.app.pages.routes())
    with trace.task(log, "large") as task:
        for number in range(11):
            task.message("user", str(number))
    status, _, text = site.ask("GET", "run?name=large")
    assert status == 400
    assert "more than 10 events" in text
    assert 'href="stream?name=large"' in text
