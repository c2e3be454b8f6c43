"""A run that goes on while a page of it is open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

import transit
from transit import trace

from .conftest import Open
from .runs import IMG, record_run
from .served import PATIENCE_MS, Site


def test_what_is_recorded_is_seen_without_a_reload(log: transit.Log, look: Open) -> None:
    with trace.task(log, "work") as task:
        tab = look("run?name=work")
        tab.live()
        assert tab.run("document.querySelectorAll('.row').length") == 0
        task.message("user", f"Hello {IMG}.")
        tab.wait_for(f"Hello {IMG}.", "#rows")
        call = task.tool("bash", {"cmd": "make"})
        tab.wait_for("open", "#rows")
        call.result("done")
        tab.wait_for("✓ ok", "#rows")
        # A run that begins inside.
        with trace.task(log, "work/part") as part:
            part.message("user", "from inside")
            tab.wait_for("from inside", "#rows")
    tab.wait_for("completed", "#head")
    assert tab.run("performance.getEntriesByType('navigation').length") == 1


@pytest.mark.slow
def test_the_page_that_was_open_is_like_one_opened_later(log: transit.Log, look: Open) -> None:
    """Where calls end that were inside others, steps move; a page that is open shows it so."""
    with trace.task(log, "work") as task:
        task.message("user", "begin")
        tab = look("run?name=work")
        tab.live()
        outer = task.tool("delegate", {})
        with trace.task(log, "work/part") as part:
            part.tool("ls", {}).result("a")
        other, beside = task.tool("search", "x"), task.tool("grep", "y")
        tab.wait_for("grep", "#rows")
        beside.result("found")
        outer.result("done")
        other.failure("refused", "nothing there")
        model = task.model("some-model", {"messages": [{"role": "user", "content": "q"}]})
        model.chunk("first part")
        tab.wait_for("✕ failure", "#rows")
        model.chunk("second part")
        model.response("the answer")
    tab.wait_for("completed", "#rows .row:last-child")
    tab.wait_for("the answer", "#rows")
    later = look("run?name=work")
    assert tab.rows == later.rows
    assert tab.text("#head") == later.text("#head")


@pytest.mark.slow
def test_what_is_selected_unfolded_and_in_sight_stays(log: transit.Log, look: Open) -> None:
    with trace.task(log, "work") as task:
        for number in range(80):
            with task.tool("bash", {"cmd": f"step {number}"}) as call:
                task.message("user", f"inside {number}")
                call.result("line\n" * 300)
        tab = look("run?name=work")
        tab.live()
        # Fold one, and look at another, further down, to the end of its detail.
        tab.press("j", "j", "h", "h")
        tab.run("document.getElementById('tree').scrollTop = 900")
        tab.tab.locator(".row", has_text="step 20").first.click()
        tab.run("document.getElementById('detail').scrollTop = 40")
        before = tab.row, tab.run("document.getElementById('tree').scrollTop")
        for number in range(3):
            task.message("user", f"new {number}")
        tab.wait("document.querySelector('[aria-setsize=\"83\"]')")
        assert (tab.row, tab.run("document.getElementById('tree').scrollTop")) == before
        assert tab.run("document.getElementById('detail').scrollTop") == 40
        tab.press("g", "g")
        assert tab.run("[...document.querySelectorAll('[aria-expanded=false]')].length") == 1


@pytest.mark.slow
def test_a_page_that_is_told_to_follow_goes_to_what_is_new(log: transit.Log, look: Open) -> None:
    with trace.task(log, "work") as task:
        for number in range(50):
            task.message("user", f"message {number}")
        tab = look("run?name=work")
        tab.live()
        tab.press("t")
        assert "message 49" in tab.row
        task.message("user", "the newest")
        tab.wait_for("the newest", "#detail")
        assert "following" in tab.text("#live")
        # Who goes elsewhere stays there.
        tab.press("k")
        task.message("user", "newer still")
        tab.wait("document.querySelector('[aria-setsize=\"52\"]')")
        assert "message 49" in tab.row


@pytest.mark.slow
def test_an_outcome_that_comes_is_in_the_detail_that_is_open(log: transit.Log, look: Open) -> None:
    with trace.task(log, "work") as task:
        call = task.tool("bash", {"cmd": "make"})
        tab = look("run?name=work")
        tab.live()
        tab.tab.locator("#detail summary").first.click()
        tab.wait_for('"tool_request"', "#detail")
        call.result("built it")
        tab.wait_for("built it", "#detail")
        # Filters and search count what is new too.
        tab.press("/")
        tab.type("built")
        tab.press("Enter")
        tab.wait_for("1 of 1 step", "#count")
        task.tool("bash", "again").result("built it again")
        tab.wait_for("1 of 2 steps", "#count")


@pytest.mark.slow
def test_a_connection_that_ends_is_made_again_and_nothing_is_lost_or_doubled(
    log: transit.Log, look: Open, serve: Callable[..., Site]
) -> None:
    site = serve(sse_s=0.4, ping_s=0.1)
    with trace.task(log, "work") as task:
        tab = look("run?name=work", site=site)
        for number in range(12):
            task.message("user", f"message {number}")
            tab.wait_for(f"message {number}", "#rows")
            tab.tab.wait_for_timeout(150)
        connections = [each for each in tab.asked if "/live?" in each]
        assert len(connections) > 2
        names = tab.run("[...document.querySelectorAll('.row .summary')].map(e => e.textContent)")
        assert sorted(names) == sorted(f"message {number}" for number in range(12))


@pytest.fixture
def open_run(log: transit.Log) -> Iterator[trace.Task]:
    with trace.task(log, "work") as task:
        task.message("user", "begin")
        yield task


def test_a_page_cut_off_for_long_is_told_all_anew(
    log: transit.Log, look: Open, open_run: trace.Task, serve: Callable[..., Site],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("transit.server.page.following.KEPT_MAX", 1)
    site = serve(sse_s=0.4, ping_s=0.1)
    tab = look("run?name=work", site=site)
    for number in range(8):
        open_run.message("user", f"message {number}")
        tab.wait_for(f"message {number}", "#rows")
    tab.wait("document.querySelectorAll('.row').length === 9")


@pytest.mark.slow
def test_notes_are_written_by_keyboard_and_seen_at_once(log: transit.Log, look: Open) -> None:
    record_run(log, "work")
    tab = look("run?name=work")
    other = look("run?name=work")
    other.live()
    tab.live()
    tab.press("j", "a")
    tab.type(f"Well said {IMG}.")
    tab.press("Tab")
    tab.type("Kim")
    tab.press("Tab", "Enter")
    for each in (tab, other):
        each.wait_for(f"Well said {IMG}.", "#head")
        each.wait_for("1 note", "#head")
    tab.wait("document.activeElement.id === 'tree'")
    note = trace.notes(log, "work")[0]
    assert (note.name, note.comment, note.author, note.at) == (
        "remark", f"Well said {IMG}.", "Kim", 1,
    )  # fmt: skip
    # One that says nothing is refused, and says why.
    tab.press("a")
    tab.press("Control+Enter")
    tab.tab.locator("#note-form .buttons button").first.click()
    tab.wait_for("at least one of score, label and comment", "#note-problem")
    tab.complaints[:] = [each for each in tab.complaints if "400" not in each]
    tab.press("Escape")
    # And a note from elsewhere comes too.
    trace.annotate(log, "work", "quality", score=0.5)
    record_run(log, "wakes")
    trace.resume(log, "work").message("user", "more")
    tab.wait_for("2 notes", "#head")


@pytest.mark.slow
def test_one_reading_serves_all_who_look(log: transit.Log, site: Site, look: Open) -> None:
    with trace.task(log, "work") as task:
        task.message("user", "begin")
        tabs = [look("run?name=work") for _ in range(3)]
        for tab in tabs:
            tab.live()
        assert len(site.app.pages.live._runs) == 1
        assert site.app.pages.live.readers == 3
        task.message("user", "for all")
        for tab in tabs:
            tab.wait_for("for all", "#rows")
        tabs[0].go("")
        ends = time.monotonic() + PATIENCE_MS / 1000
        while site.app.pages.live.readers == 3:
            assert time.monotonic() < ends
            tabs[0].tab.wait_for_timeout(20)
        assert site.app.pages.live.readers == 2


@pytest.mark.slow
def test_a_run_that_can_no_longer_be_read_says_why(log: transit.Log, look: Open) -> None:
    with trace.task(log, "work") as task:
        task.message("user", "begin")
        tab = look("run?name=work")
        tab.live()
        # A message that refers to a part that was never recorded.
        task.stream.append(b'{"event":"message","message":{"part":77}}')
        tab.wait("document.getElementById('live').title.includes('work@1')")
        assert "not live" in tab.text("#live")
        assert "begin" in tab.text("#rows")
        connections = [each for each in tab.asked if "/live?" in each]
        assert len(connections) < 5
    tab.go("run?name=work")
    tab.wait_for("CorruptError")
    tab.complaints[:] = [each for each in tab.complaints if "500" not in each]
