"""Lists of runs and streams that are kept up to date while they are looked at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import transit
from transit import trace
from transit.server.page.lists import KeptListing, Standings
from transit.server.page.watching import PAUSE_S

from .conftest import Open
from .runs import IMG, NAMES, SCRIPT, record_run
from .served import Site, Tab

_NAMES = "[...document.querySelectorAll('tbody tr th a')].map(e => e.textContent)"


def listed(tab: Tab) -> list[str]:
    return list(tab.run(_NAMES))


def top_of(tab: Tab, name: str) -> float:
    """Where a row is on the screen."""
    return float(tab.run(f"document.querySelector({_row(name)!r}).getBoundingClientRect().top"))


def _row(name: str) -> str:
    return f'tr[data-name="{name}"]'


def point_at(tab: Tab, name: str) -> None:
    tab.tab.hover(f"{_row(name)} td.time")


def test_a_new_run_and_what_it_does_are_seen_without_a_reload(log: transit.Log, look: Open) -> None:
    tab = look()
    tab.live()
    assert "There are no runs yet" in tab.text("#content")
    with trace.task(log, "work", actor="agent") as task:
        tab.wait_for("○ unfinished", _row("work"))
        assert "There are no runs yet" not in tab.text("#content")
        assert tab.text("#count") == "1 run"
        task.message("user", "Hello.")
        model = task.model("m", {"messages": [{"role": "user", "content": "q"}]})
        model.response("a", usage={"input_tokens": 1200, "output_tokens": 34})
        tab.wait_for("1,200 / 34", _row("work"))
        task.tool("bash", {}).failure("no rule", "exit code 2")
        tab.wait(f"document.querySelector('{_row('work')} td.bad')?.textContent === '1'")
    tab.wait_for("✓ completed", _row("work"))
    trace.annotate(log, "work", "quality", score=0.5)
    record_run(log, "later")
    tab.wait(f"{_NAMES}.join() === 'later,work'")
    tab.wait_for("quality 0.5", _row("work"))
    assert tab.run("performance.getEntriesByType('navigation').length") == 1
    tab.wait("document.getElementById('said').textContent.includes('new run')")


@pytest.mark.slow
def test_streams_come_grow_and_are_finished_in_their_list(log: transit.Log, look: Open) -> None:
    tab = look("streams")
    tab.live()
    tab.wait_for("no streams yet")
    stream = log.create("a")
    tab.wait(f"{_NAMES}.join() === 'a'")
    stream.append_many([b"x"] * 1234)
    tab.wait_for("1,234", "tbody tr")
    stream.branch("b", at=7)
    tab.wait_for("of a@7", "tbody tr:first-child")
    stream.finish()
    tab.wait_for("finished", "tbody tr:last-child")
    log.hide("b")
    tab.wait(f"{_NAMES}.join() === 'a'")
    assert tab.text("#count") == "1 stream"


@pytest.mark.slow
def test_an_open_list_is_like_one_opened_later(log: transit.Log, look: Open) -> None:
    for number in range(3):
        record_run(log, f"old/{number}")
    tab = look()
    tab.live()
    for number in range(3):
        record_run(log, f"new/{number}", fails=number == 1)
    log.hide("old/1")
    tab.wait("document.getElementById('count').textContent === '5 runs'")
    later = look(color_scheme="dark")
    rows = "[...document.querySelectorAll('tbody tr')].map(e => [e.dataset.name, e.innerHTML])"
    assert tab.run(rows) == later.run(rows)
    pager = "document.getElementById('pager').innerHTML.trim()"
    assert tab.run(pager) == later.run(pager)
    later.live()
    # What it is told at first is what is there: nothing is touched.
    assert later.run("document.querySelectorAll('tr.new').length") == 0


@pytest.mark.slow
def test_filters_and_order_are_kept(log: transit.Log, look: Open) -> None:
    """Elsewhere a refresh lost them (Arize-ai/phoenix, 14217)."""
    for number in range(3):
        record_run(log, f"case/{number}", fails=number == 1)
    tab = look("?q=case&sort=name&status=completed")
    tab.live()
    record_run(log, "other")
    record_run(log, "case/00")
    tab.wait(f"{_NAMES}.length === 4")
    assert listed(tab) == ["case/0", "case/00", "case/1", "case/2"]
    with trace.task(log, "case/11") as task:
        task.message("user", "x")
        record_run(log, "case/3")
        tab.wait(f"{_NAMES}.length === 5")
        assert "case/11" not in listed(tab)
    tab.wait(f"{_NAMES}.join() === 'case/0,case/00,case/1,case/11,case/2,case/3'")
    assert tab.run("document.querySelector('[name=q]').value") == "case"


@pytest.mark.slow
def test_what_is_read_does_not_move_and_the_focus_stays(log: transit.Log, look: Open) -> None:
    for number in range(4):
        record_run(log, f"case/{number}")
    tab = look()
    tab.live()
    point_at(tab, "case/1")
    before = top_of(tab, "case/1")
    for number in range(30):
        # One by one: parts of a pixel must not add up.
        record_run(log, f"new/{number}")
        tab.wait(f"{_NAMES}.length === {number + 5}")
        assert abs(top_of(tab, "case/1") - before) < 1
    assert tab.run(f"document.querySelector({_row('case/1')!r}).matches(':hover')")
    assert listed(tab)[0] == "new/29"
    # By keyboard: the row with the focus.
    tab.tab.mouse.move(1, 1)
    tab.run(f"document.querySelector('{_row('new/3')} a').focus()")
    before = top_of(tab, "new/3")
    record_run(log, "newest")
    tab.wait(f"{_NAMES}[0] === 'newest'")
    assert abs(top_of(tab, "new/3") - before) < 1
    assert tab.run("document.activeElement.textContent") == "new/3"
    tab.press("Enter")
    tab.wait("document.querySelector('h1')?.textContent === 'new/3'")


@pytest.mark.slow
def test_rows_are_ordered_anew_and_taken_away_when_nobody_reads(
    log: transit.Log, look: Open
) -> None:
    """Elsewhere rows changed places under the reader (langfuse/langfuse, 13192)."""
    tasks = [trace.task(log, f"case/{number}") for number in range(4)]
    for number, task in enumerate(tasks):
        task.__enter__()
        for _ in range(10 - number):
            task.message("user", "x")
    tab = look("?sort=events&status=unfinished")
    tab.live()
    assert listed(tab) == ["case/0", "case/1", "case/2", "case/3"]
    point_at(tab, "case/2")
    before = top_of(tab, "case/2")
    for _ in range(20):
        tasks[3].message("user", "x")
    tab.wait_for("27", f"{_row('case/3')} td:nth-child(6)")
    tasks[0].__exit__(None, None, None)
    tasks[2].__exit__(None, None, None)
    tab.wait(f"document.querySelector('{_row('case/2')}.gone')")
    assert listed(tab) == ["case/0", "case/1", "case/2", "case/3"]
    assert abs(top_of(tab, "case/2") - before) < 1
    # Beside the rows, not over them.
    tab.tab.mouse.move(3, before)
    tab.wait(f"{_NAMES}.join() === 'case/3,case/1'")
    for task in (tasks[1], tasks[3]):
        task.__exit__(None, None, None)


@pytest.mark.slow
def test_text_that_is_marked_and_runs_that_are_chosen_stay_so(log: transit.Log, look: Open) -> None:
    record_run(log, "one")
    record_run(log, "two")
    with trace.task(log, "three") as task:
        tab = look()
        tab.live()
        tab.press("j", "j", "x", "j", "x")
        time = f"document.querySelector('{_row('three')} .time time')"
        tab.run(f"getSelection().selectAllChildren({time})")
        marked = tab.run("getSelection().toString()")
        task.message("user", "x")
        record_run(log, "four")
        tab.wait(f"{_NAMES}.length === 4")
        assert tab.run("getSelection().toString()") == marked
        assert tab.run("document.querySelectorAll('tr.picked').length") == 2
        tab.press("b")
        tab.wait_for("First difference", "#tools")


@pytest.mark.slow
def test_a_full_page_stays_a_page_and_a_later_one_moves_on(log: transit.Log, look: Open) -> None:
    for number in range(100):
        log.create(f"s{number:03}")
    tab, second = look("streams"), look("streams?page=2", color_scheme="dark")
    tab.live()
    second.live()
    assert second.text("#count") == "100 streams"
    for number in range(100, 103):
        log.create(f"s{number:03}")
    tab.wait_for("page 1 of 2", "#pager")
    tab.wait(f"{_NAMES}[0] === 's102'")
    assert tab.run("document.querySelectorAll('tbody tr').length") == 100
    tab.press("n")
    tab.wait(f"{_NAMES}.join() === 's002,s001,s000'")


@pytest.mark.slow
def test_markup_in_rows_that_come_is_text(log: transit.Log, look: Open) -> None:
    tab, streams = look(), look("streams", color_scheme="dark")
    tab.live()
    streams.live()
    for name in NAMES:
        record_run(log, name, fails=True)
    with pytest.raises(ZeroDivisionError), trace.task(log, "ends", actor=SCRIPT, reason=IMG):
        raise ZeroDivisionError(IMG + SCRIPT)
    log.create("said", {"reason": IMG + SCRIPT})
    tab.wait(f"{_NAMES}.length === {len(NAMES) + 1}")
    streams.wait(f"{_NAMES}.length === {len(NAMES) + 2}")
    tab.wait_for(f"ZeroDivisionError: {IMG}", _row("ends"))
    for each in (tab, streams):
        assert (
            each.run("document.querySelectorAll('tbody img, tbody script, tbody svg').length") == 0
        )
    assert set(NAMES) <= set(listed(tab))
    for name in NAMES:
        tab.run(
            f"[...document.querySelectorAll('th a')].find(e => e.textContent === {name!r}).click()"
        )
        tab.wait(f"document.querySelector('h1')?.textContent === {name!r}")
        tab.run("history.back()")
        tab.wait(f"document.querySelector('.rows') && {_NAMES}.length > 5")


@pytest.mark.slow
def test_a_thousand_streams_of_which_all_change_are_shown(log: transit.Log, look: Open) -> None:
    with log.batch() as batch:
        for number in range(1000):
            batch.create(f"s{number:04}")
    tab = look("streams")
    tab.live()
    for _ in range(30):
        with log.batch() as batch:
            for number in range(1000):
                batch.append(f"s{number:04}", b"x")
    tab.wait("[...document.querySelectorAll('td.n')].every(e => e.textContent === '30')")
    assert tab.text("#count") == "1,000 streams"
    tab.press("j", "j")
    assert tab.run("document.activeElement.textContent") == "s0998"


@pytest.mark.slow
def test_one_watch_and_one_reading_serve_all_who_look(
    log: transit.Log, site: Site, look: Open
) -> None:
    tabs = [look("streams", color_scheme=scheme) for scheme in ("dark", "light", "no-preference")]
    for tab in tabs:
        tab.live()
    lists = site.app.pages.lists
    assert (lists.readers, len(lists._lists)) == (3, 1)
    rounds, begun = lists.rounds, time.monotonic()
    stream, pause = log.create("a"), threading.Event()
    for number in range(400):
        stream.append(b"%d" % number)
        pause.wait(0.005)
    for tab in tabs:
        tab.wait_for("400", "tbody tr")
    # Far fewer than there were changes: there is a pause after each, whatever comes.
    assert lists.rounds - rounds <= 2 + (time.monotonic() - begun) / PAUSE_S


@pytest.mark.slow
def test_connections_that_end_are_made_again_and_nothing_is_lost(
    log: transit.Log, serve: Callable[..., Site], look: Open
) -> None:
    site = serve(sse_s=0.3, ping_s=0.1)
    tab = look("streams", site=site)
    for number in range(12):
        log.create(f"s{number}")
        tab.wait(f"{_NAMES}.length === {number + 1}")


_HIDE = """() => {
    window.isHidden = false;
    Object.defineProperty(document, "hidden", { get: () => window.isHidden });
    window.setHidden = (is) => {
        window.isHidden = is;
        document.dispatchEvent(new Event("visibilitychange"));
    };
}"""


@pytest.fixture
def unseen(browser: Any) -> Iterator[Callable[[str], Any]]:
    """A function that opens pages of one browser that know whether they are seen."""
    context = browser.context({"color_scheme": "dark"})
    context.add_init_script(f"({_HIDE})()")

    def opened(url: str) -> Any:
        page = context.new_page()
        page.goto(url, timeout=30_000)
        return page

    yield opened
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("address", ["streams", "run?name=work", "stream?name=work"])
def test_more_pages_than_a_browser_has_connections_are_open_at_once(
    log: transit.Log, site: Site, unseen: Callable[[str], Any], address: str
) -> None:
    """The seventh page never came (freenet/freenet-core, 5213; Dictionarry-Hub/profilarr, 434).

    Nor is what came meanwhile lost to a page that was not seen (alltuner/vibetuner, 1976).
    """
    with trace.task(log, "work") as task:
        pages = []
        for _ in range(9):
            pages.append(unseen(site.url + address))
            pages[-1].wait_for_selector("#live.on", timeout=30_000)
            pages[-1].evaluate("setHidden(true)")
        task.message("user", "while nobody looked")
        log.create("other")
        said = "other" if address == "streams" else "while nobody looked"
        for page in pages[::4]:
            page.evaluate("setHidden(false)")
            page.get_by_text(said).first.wait_for(timeout=30_000)
            page.evaluate("setHidden(true)")


@pytest.mark.slow
@pytest.mark.parametrize("address", ["streams", "run?name=work", "stream?name=work"])
def test_a_connection_that_stands_still_is_given_up_for_another(
    log: transit.Log, serve: Callable[..., Site], look: Open, address: str
) -> None:
    """After a sleep a connection was open and dead (open-mercato/cezar, 436; anomalyco/opencode,
    21716)."""
    site = serve(ping_s=0.3)
    stands = [False]
    app = site.app

    class Still:
        """An application whose events do not arrive any more."""

        def __getattr__(self, name: str) -> Any:
            return getattr(app, name)

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def maybe(message: Any) -> None:
                if not (was_before and stands[0]):
                    await send(message)

            was_before = not stands[0] and scope.get("path") == "/live"
            await app(scope, receive, maybe)

    site.app = Still()  # type: ignore[assignment]
    with trace.task(log, "work") as task:
        tab = look(address, site=site)
        tab.live()
        stands[0] = True
        task.message("user", "after the sleep")
        log.create("other")
        tab.wait_for("other" if address == "streams" else "after the sleep", "#content")


@pytest.mark.slow
def test_a_page_that_is_come_back_to_shows_what_came_meanwhile(
    log: transit.Log, look: Open
) -> None:
    log.create("a").append(b"x")
    tab = look("streams")
    tab.live()
    tab.press("j", "Enter")
    tab.wait("document.querySelector('h1')?.textContent === 'a'")
    log.create("b")
    tab.run("history.back()")
    tab.wait(f"document.querySelector('.rows > tbody') && {_NAMES}.join() === 'b,a'")


def test_a_run_that_goes_on_while_a_list_is_made_is_read_again_for_the_next(
    log: transit.Log,
) -> None:
    standings = Standings()
    with trace.task(log, "work") as task:
        listing, uid = KeptListing(log, standings), log.stream("work").uid
        for number in range(3):
            task.message("user", "x")
            assert listing.standing(uid).totals.events == 1
            assert KeptListing(log, standings).standing(uid).totals.events == number + 1
    assert KeptListing(log, standings).status(uid) == "completed"


def test_lists_that_are_none_are_refused(site: Site) -> None:
    for path in ("live?list=x", "live?list=runs&x=1", "live?list=streams&sort=name",
                 "live?list=runs&page=x", "live?list=runs&sort=x"):  # fmt: skip
        assert site.ask("GET", path)[0] == 400, path
