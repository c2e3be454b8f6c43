"""Situations that other viewers of runs were reported to fail in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit import trace

from .conftest import Open
from .runs import record_run
from .served import Site

BEGIN = 1_764_000_000_000_000_000
S = 1_000_000_000


@pytest.mark.slow
def test_below_a_path_of_a_proxy_all_pages_work(
    log: transit.Log, look: Open, serve: Callable[..., Site], tmp_path: Path
) -> None:
    """Files, links, forms and what comes later stay below the path: nothing asks the root."""
    site = serve(prefix="/tools/transit")
    record_run(log, "one")
    record_run(log, "two")
    tab = look(site=site)
    tab.press("j", "x", "j", "x", "b")
    tab.wait_for("First difference", "#tools")
    for key in "srg/":
        tab.go("")
        tab.press("g", key)
        tab.wait("document.querySelector('main h1')")
    tab.go("run?name=one")
    tab.live()
    tab.press("a")
    tab.type("below a path")
    tab.tab.locator("#note-form .buttons button").first.click()
    tab.wait_for("below a path", "#head")
    assert all(each.startswith(site.url) for each in tab.asked)
    # In the answers too: what is redirected to is relative.
    tokens = tmp_path / "tokens.toml"
    tokens.touch(mode=0o600)
    closed = serve(prefix="/tools/transit", tokens=str(tokens))
    assert closed.ask("GET", "streams?q=x")[1]["location"] == "login?next=streams%3Fq%3Dx"


@pytest.mark.slow
def test_clocks_that_disagree_leave_no_bar_outside_and_no_time_below_zero(
    log: transit.Log, look: Open
) -> None:
    """A child whose clock is behind, an outcome before its request, a time in the future."""
    with trace.task(log, "work") as task:
        task.message("user", "begin", timestamp=BEGIN)
        call = task.tool("bash", {}, timestamp=BEGIN + 5 * S)
        call.result("x", timestamp=BEGIN + 2 * S)
        with trace.task(log, "work/part") as part:
            part.message("user", "long before", timestamp=BEGIN - 3600 * S)
            part.end(timestamp=BEGIN - 3599 * S)
        task.message("user", "far ahead", timestamp=BEGIN + 10**6 * S)
        tab = look("run?name=work")
        task.message("user", "later", timestamp=BEGIN - 10**6 * S)
        tab.wait_for("later", "#rows")
        outside = tab.run(
            "[...document.querySelectorAll('.bar')].filter(bar => {"
            " const line = bar.parentElement.getBoundingClientRect();"
            " const box = bar.getBoundingClientRect();"
            " return box.left < line.left - 1 || box.right > line.right + 3; }).length"
        )
        assert outside == 0
        tab.press("f", "g", "g", "j")
        assert "-" not in tab.text("#detail .facts").replace("2025-11-", "")
    tab.go("")
    assert "-" not in tab.text("tr[data-name='work'] td:nth-child(5)")


@pytest.mark.slow
def test_runs_inside_runs_inside_runs_open_at_once(log: transit.Log, look: Open) -> None:
    """Forty deep: what is drawn grows with what is there, not with what it is inside of."""

    def record(depth: int, name: str) -> None:
        with trace.task(log, name) as task:
            task.message("user", f"at depth {depth}")
            if depth < 40:
                record(depth + 1, f"{name}/{depth}" if len(name) < 400 else f"deep/{depth}")

    record(0, "run")
    tab = look("run?name=run")
    tab.press("/")
    tab.type("at depth 40")
    tab.press("Enter")
    assert "at depth 40" in tab.row
    assert tab.run("document.querySelectorAll('[aria-level=\"41\"]').length") >= 1
    tab.press("E", "e")
    tab.settle()
    assert tab.run("document.querySelectorAll('.row').length") < 120


@pytest.mark.slow
@pytest.mark.parametrize("sealed", [False, True])
def test_a_large_picture_in_a_message_is_cut_and_the_page_goes_on(
    log: transit.Log, look: Open, sealed: bool
) -> None:
    """Base64 of some megabytes on one line, sent again with each request."""
    picture = {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64," + "iVBOR" * 400_000},
    }
    with trace.task(log, "work") as task:
        messages: list[dict[str, object]] = [{"role": "user", "content": [picture]}]
        for turn in range(5):
            task.model("m", {"messages": list(messages)}).response(f"answer {turn}")
            messages.append({"role": "user", "content": f"question {turn}"})
        if sealed:
            log.seal()
        tab = look("run?name=work")
        assert tab.run("document.getElementById('data').textContent.length") < 300_000
        tab.live()
        task.message("user", "after the picture")
        tab.wait_for("after the picture", "#rows")
    assert tab.run("document.querySelectorAll('img').length") == 0


@pytest.mark.slow
def test_a_run_that_was_not_ended_says_so_and_a_page_of_it_is_whole(
    log: transit.Log, look: Open
) -> None:
    """A program that died leaves a call open for ever."""
    died = log.create("died", {"task_id": "died"}, codec="json")
    died.append(b'{"event":"tool_request","tool_call_id":"1","tool_name":"bash","arguments":{}}')
    tab = look()
    assert "unfinished" in tab.text("tr[data-name='died']")
    tab.go("run?name=died")
    assert "open" in tab.row
    tab.go("?sort=duration")
    assert "died" in tab.text("tbody")
