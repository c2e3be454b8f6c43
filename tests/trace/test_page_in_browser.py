"""The page of a run in a real browser, used by keyboard alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace
from transit.trace.events import encode_json

from .pages import Browser, Opened, chromium
from .shared_files import SHARED
from .test_page import HOSTILE, VALUES, conversation, hostile_run, same_json

MS = 1_000_000
BEGIN = 1_764_000_000_000_000_000
Open = Callable[..., Opened]

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def show(browser: Browser, log: transit.Log, tmp_path: Path) -> Iterator[Open]:
    """A function that opens the page of a run, and leaves the one before: none may complain."""
    pages: list[Opened] = []

    def opened(run: str, *, how: dict[str, Any] | None = None, **said: Any) -> Opened:
        leave()
        file = tmp_path / f"{run.replace('/', '-')[:40]} page.html"
        trace.write_page(log, run, file, **said)
        pages.append(Opened(browser, file, **(how or {})))
        return pages[-1]

    def leave() -> None:
        while pages:
            pages.pop().close()

    yield opened
    leave()


def record_work(log: transit.Log) -> None:
    """A run with questions to it: `work`, and a child run that does a part of it."""
    at = BEGIN
    with trace.task(log, "work", actor="agent", reason="asked") as task:
        messages: list[dict[str, object]] = [{"role": "system", "content": "Be brief."}]
        for turn in range(4):
            messages.append({"role": "user", "content": f"question {turn}"})
            at += 10 * MS
            answering = task.model("some-model", {"messages": messages, "seed": turn}, timestamp=at)
            at += 200 * MS
            said = {"role": "assistant", "content": f"answer {turn}"}
            usage = {"input_tokens": 100 + turn, "output_tokens": 10, "cost": 0.25}
            answering.response(said, usage=usage, duration_ns=200 * MS, timestamp=at)
            messages.append(said)
            name, took = (("bash", 30), ("make", 9_000), ("search", 40), ("bash", 50))[turn]
            call = task.tool(name, {"cmd": f"do {turn}"}, timestamp=at)
            at += took * MS
            if turn == 2:
                call.failure("no index", duration_ns=took * MS, timestamp=at)
            else:
                call.result(f"the result of {name} {turn}", duration_ns=took * MS, timestamp=at)
            if turn == 1:
                at = record_part(log, at)


def record_part(log: transit.Log, at: int) -> int:
    """The child run: it fails in its first call, before `work` does."""
    with trace.task(log, "work/part", actor="helper", reason="look it up") as part:
        call = part.tool("fetch", {"url": "a place"}, timestamp=at)
        call.failure("refused", duration_ns=5 * MS, timestamp=at + 5 * MS)
        found = part.tool("grep", "needle", timestamp=at + 6 * MS)
        found.result("in the haystack", duration_ns=7 * MS, timestamp=at + 13 * MS)
        part.end(timestamp=at + 20 * MS)
    return at + 20 * MS


# Questions


def test_what_failed_first(log: transit.Log, show: Open) -> None:
    record_work(log)
    page = show("work")
    page.press("f")
    assert "fetch" in page.row
    assert "✕ failure" in page.row
    assert "refused" in page.detail
    page.press("f")
    assert "search" in page.row
    # The head says it too, by time.
    assert page.run("document.querySelector('#head .jump').textContent") == "tool fetch @0"


def test_which_call_took_longest(log: transit.Log, show: Open) -> None:
    record_work(log)
    page = show("work")
    page.press("L")
    assert "make" in page.row
    assert "9 s" in page.row
    page.press("L")
    assert "200 ms" in page.row


def test_what_was_sent_to_the_model_at_a_step(log: transit.Log, show: Open) -> None:
    record_work(log)
    page = show("work")
    page.press("m", "m", "m")
    assert "answer 3" in page.row
    detail = page.detail
    assert "Sent to the model (8 messages)" in detail
    assert "6 messages as at step" in detail
    assert "question 3" in detail
    assert "question 0" not in detail
    # All of it, by keyboard: into the detail, to what is folded, unfold it.
    page.press("Enter", "Tab", "Enter")
    detail = page.detail
    texts = ["Be brief.", *(f"{what} {n}" for n in range(4) for what in ("question", "answer"))][
        :-1
    ]
    assert [detail.index(text) for text in texts] == sorted(detail.index(text) for text in texts)
    assert all(detail.count(text) == 1 for text in texts)
    # The other members too.
    page.press("Tab", "Tab", "Enter")
    assert "seed: 3" in page.detail
    page.press("Escape", "k")
    assert page.run("document.activeElement.id") == "tree"


def test_what_a_tool_returned(log: transit.Log, show: Open) -> None:
    record_work(log)
    page = show("work")
    page.press("/")
    page.type("make")
    page.press("Enter")
    assert "make" in page.row
    page.press("n")
    while "make" not in page.row:
        page.press("n")
    assert "the result of make 1" in page.detail
    assert "cmd: do 1" in page.detail


def test_what_it_cost(log: transit.Log, show: Open) -> None:
    record_work(log)
    head = show("work").tab.locator("#head").inner_text().replace("\n", " ")
    assert "Tokens in / out 406 / 40" in head
    assert "Cost 1 " in head
    page = show("work")
    page.press("m")
    assert "Cost\n0.25" in page.detail
    assert "Usage\ncost 0.25" in page.detail
    assert "101 / 10" in page.detail
    log.create("other")
    assert "Cost" not in show("other").tab.locator("#head").inner_text()


def test_which_child_run_did_it(log: transit.Log, show: Open) -> None:
    record_work(log)
    page = show("work")
    page.press("c")
    assert "work/part" in page.row
    assert "1 failed" in page.row
    page.press("l")
    assert "fetch" in page.row
    assert "work/part@0" in page.detail
    page.press("h")
    assert "work/part" in page.row
    page.press("/")
    page.type("haystack")
    page.press("Enter")
    assert "grep" in page.row
    assert "work/part@2" in page.detail


# Moving, folding, searching


def test_rows_move_and_fold(log: transit.Log, show: Open) -> None:
    record_work(log)
    page = show("work")
    names = page.rows
    assert names[:4] == ["some-model", "bash", "some-model", "make"]
    assert len(names) == 13
    page.press("j", "j", "ArrowDown")
    assert "make" in page.row
    page.press("k", "ArrowUp")
    assert "bash" in page.row
    page.press("G")
    assert "end" in page.row
    page.press("g", "g")
    assert "answer 0" in page.row
    page.press("c", "h")
    assert len(page.rows) == 10
    assert page.run("document.querySelector('[aria-selected=true]').ariaExpanded") == "false"
    page.press("ArrowRight", "ArrowRight")
    assert "fetch" in page.row
    page.press("E")
    assert len(page.rows) == 10
    assert "work/part" in page.row, "what is folded away gives way to what it is folded into"
    page.press("e")
    assert page.rows == names


def test_a_tree_says_what_assistive_technology_needs(log: transit.Log, show: Open) -> None:
    record_work(log)
    page = show("work")
    assert page.run("document.activeElement.getAttribute('role')") == "tree"
    page.press("c", "l")
    rows = page.run(
        "[...document.querySelectorAll('.row')].map(row => [row.getAttribute('role'),"
        " row.ariaLevel, row.ariaExpanded, row.ariaSelected, row.textContent.includes('fetch')])"
    )
    assert ["treeitem", "2", None, "true", True] in rows
    assert ["treeitem", "1", "true", "false", False] in rows
    assert sum(row[3] == "true" for row in rows) == 1
    outline = page.run(
        "getComputedStyle(document.querySelector('[aria-selected=true]')).outlineStyle"
    )
    assert outline == "solid"


def test_search_finds_marks_counts_and_filters(log: transit.Log, show: Open) -> None:
    record_work(log)
    page = show("work")
    page.press("/")
    page.type("ANSWER")
    page.press("Enter")
    assert page.count == "1 of 4 steps"
    assert page.tab.locator("#detail mark").first.inner_text() == "answer"
    page.press("n", "n")
    assert page.count == "3 of 4 steps"
    page.press("N")
    assert page.count == "2 of 4 steps"
    page.press("Escape")
    assert page.count == ""
    # What requests repeat is found where it was said first.
    page.press("/")
    page.type("question 1")
    page.press("Enter")
    assert page.count == "1 of 1 step"
    assert "answer 1" in page.row
    page.press("Escape")
    page.tab.locator("#kind").select_option("tool")
    assert page.rows == ["bash", "make", "work/part", "fetch", "grep", "search", "bash"]
    page.tab.locator("#failed").check()
    assert page.rows == ["work/part", "fetch", "search"]
    assert page.count == "2 steps"
    page.press("/")
    page.type("refused")
    page.press("Enter")
    assert page.count == "1 of 1 step"
    page.press("/")
    page.type("nowhere")
    page.press("Enter", "n")
    assert page.count == "0 steps"
    assert page.tab.locator("#said").inner_text() == "Nothing found"
    page.press("Escape")
    assert len(page.rows) == 13


def test_what_is_found_only_in_the_raw_event_is_unfolded(log: transit.Log, show: Open) -> None:
    task = trace.task(log, "run")
    task.model_call(
        model="m", request=[], response="hi", provider="somewhere far away", response_id="r-77"
    )
    page = show("run")
    page.press("/")
    page.type("r-77")
    page.press("Enter")
    assert page.count == "1 of 1 step"
    assert page.tab.locator("#detail mark").first.is_visible()


def test_help_names_every_key(log: transit.Log, show: Open) -> None:
    record_work(log)
    page = show("work")
    page.press("?")
    shown = page.tab.locator("dialog").inner_text()
    for key in (
        "j",
        "k",
        "h",
        "l",
        "Enter",
        "/",
        "n",
        "N",
        "f",
        "L",
        "m",
        "c",
        "g g",
        "G",
        "e",
        "E",
    ):
        assert f"{key}\n" in shown or f"{key} " in shown
    # Keys mean nothing behind it.
    page.press("G", "Escape")
    assert "answer 0" in page.row
    assert page.run("document.activeElement.id") == "tree"


def test_a_narrow_screen_shows_steps_or_detail(log: transit.Log, show: Open) -> None:
    record_work(log)
    page = show("work", how={"size": {"width": 400, "height": 800}, "has_touch": True})
    assert page.run("document.documentElement.scrollWidth") <= 400
    assert not page.tab.locator("#detail").is_visible()
    page.tab.locator(".row", has_text="fetch").tap()
    assert page.tab.locator("#detail").is_visible()
    assert not page.tab.locator("#tree").is_visible()
    assert page.run("document.documentElement.scrollWidth") <= 400
    page.tab.locator(".back").tap()
    assert page.tab.locator("#tree").is_visible()
    page.press("Enter")
    assert page.tab.locator("#detail").is_visible()
    page.press("Escape")
    assert "fetch" in page.row


def test_dark_is_dark_and_paper_has_every_row(log: transit.Log, show: Open) -> None:
    record_work(log)
    page = show("work", how={"color_scheme": "dark", "reduced_motion": "reduce"})
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert "0s" in page.run("getComputedStyle(document.querySelector('.row')).transitionDuration")
    conversation(log, 100)
    page = show("run")
    page.press("m")
    assert "@1 " in page.row
    assert len(page.rows) < 60, "rows out of sight are no elements"
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert len(page.rows) == 100
    page.run("dispatchEvent(new Event('afterprint'))")
    page.press("G")
    assert "@99" in page.row


# What is shown


def test_long_and_large_values_fold_and_are_cut(log: transit.Log, show: Open) -> None:
    task = trace.task(log, "run")
    task.custom("lines", "\n".join(f"line {n}" for n in range(500)))
    task.custom("one line", "x" * 1_000_000 + "the end")
    task.custom("many", {str(n): n for n in range(500)})
    page = show("run")
    assert "line 12" in page.detail
    assert "line 400" not in page.detail
    page.tab.locator(".more").first.press("Enter")
    assert "line 400" in page.detail
    page.press("Escape", "j")
    detail = page.detail
    assert "All of it has 1,000,007 bytes; BLAKE3" in detail
    assert "transit read run@1" in detail
    page.tab.locator(".more").nth(1).press("Enter")
    assert "xthe end" in page.detail
    page.press("Escape", "j")
    assert "Show more (400)" in page.detail


def test_raw_events_are_those_that_were_recorded(log: transit.Log, show: Open) -> None:
    task = trace.task(log, "run", strict=True)
    for value in VALUES:
        task.custom("value", value)
    messages = [{"role": "user", "content": f"message {n} {'word ' * 20}"} for n in range(12)]
    for request in (messages[:8], messages, messages[:3] + messages[9:], [*messages, VALUES], []):
        task.model_call(model="some-model", request={"messages": request}, response=VALUES)
    page = show("run")
    found = page.run("steps.map(step => jsonText(eventOf(step.first)))")
    for text, record in zip(found, trace.read(log, "run"), strict=True):
        shown, expected = json.loads(text), json.loads(encode_json(record.event))
        # Encoded though it is the default, where it was decoded as another object.
        expected.pop("cached_tokens", None)
        assert same_json(shown, expected)


def test_inherited_steps_are_marked_off(log: transit.Log, show: Open) -> None:
    with trace.task(log, "run") as task:
        task.message("user", "hello")
        with task.tool("bash") as call:
            call.result("ok")
    task.retry(at=2, reason="again", name="other").message("user", "again")
    page = show("other")
    assert page.tab.locator(".cell.inherited").count() == 2
    assert page.tab.locator(".until").inner_text() == "up to here from run@2"
    assert "Branched off" not in page.tab.locator("#head").inner_text()
    page.tab.locator("#head summary").first.press("Enter")
    page.settle()
    assert "Branched off\nrun@2" in page.tab.locator("#head").inner_text()


def test_errors_show_their_traceback_and_cause(log: transit.Log, show: Open) -> None:
    try:
        with trace.task(log, "run") as task, task.tool("bash"):
            try:
                {}["key"]
            except KeyError as error:
                raise ValueError("not there") from error
    except ValueError:
        pass
    page = show("run")
    for part in (
        "ValueError",
        "not there",
        "Traceback (most recent call last)",
        "caused by",
        "KeyError",
    ):
        assert part in page.detail
    assert "Ended with ValueError: not there" in page.tab.locator("#head").inner_text()


def test_notes_are_at_their_steps(log: transit.Log, show: Open) -> None:
    record_work(log)
    notes = [
        {"name": "remark", "comment": "why so long?", "author": "Kim", "at": 4},
        {"label": "good"},
    ]
    page = show("work", notes=notes)
    head = page.tab.locator("#head").inner_text()
    assert "why so long?" in head
    assert "2 notes" in head
    page.press("j", "j")
    assert "why so long?" in page.detail


def test_two_runs_begin_at_their_first_difference(log: transit.Log, show: Open) -> None:
    for name, answer in (("one", "yes"), ("two", "no")):
        with trace.task(log, name) as task:
            for n in range(80):
                task.message("user", f"question {n}")
            task.message("assistant", answer)
            if name == "two":
                task.custom("more", {})
    page = show("one", beside="two")
    assert "yes" in page.row
    assert "no" in page.row
    assert "≠" in page.run(
        "getComputedStyle(document.querySelector('[aria-selected=true] .cell'), '::before').content"
    )
    page.press("g", "g")
    assert "question 0" in page.row
    page.press("d")
    assert "yes" in page.row
    assert "left: one" in page.detail
    assert "right: two" in page.detail
    page.press("j")
    assert "No such step in this run." in page.detail


def test_what_was_sent_in_the_shapes_of_services(log: transit.Log, show: Open) -> None:
    task = trace.task(log, "run")
    system, tool = {"system": "Be brief."}, {"tool": 1}
    use = {"type": "tool_use", "id": "c", "name": "bash", "input": {"cmd": "ls"}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": "setup.py"}
    blocks = [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    call = {"function": {"name": "bash", "arguments": '{"cmd": "ls"}'}}
    for request, response in (
        (
            {**system, "messages": blocks, "max_tokens": 5},
            {"content": [{"type": "text", "text": "done"}]},
        ),
        (
            {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
            {
                "choices": [
                    {"message": {"role": "assistant", "content": None, "tool_calls": [call]}}
                ]
            },
        ),
        ({"input": "hello", "instructions": "Be brief."}, "done"),
        ("hello", {"message": {"role": "assistant", "content": "done"}}),
        ([{"role": "user", "content": "hello"}], tool),
    ):
        task.model_call(model="m", request=request, response=response)
    page = show("run")
    found = []
    for _ in range(5):
        found.append(" ".join(page.detail.split()))
        page.press("j")
    assert "system Be brief. assistant calls bash cmd: ls user" in found[0]
    assert "setup.py" in found[0]
    assert "Answer assistant done" in found[0]
    assert "Sent to the model (1 message) user hello" in found[1]
    assert "Answer assistant calls bash cmd: ls" in found[1]
    assert "system Be brief. user hello" in found[2]
    assert "user hello" in found[3]
    assert "Answer assistant done" in found[3]
    assert "tool: 1" in found[4]


# Whatever was recorded


def test_hostile_texts_are_text_everywhere(log: transit.Log, show: Open) -> None:
    notes = [{"name": text, "comment": text, "author": text, "label": text} for text in HOSTILE]
    page = show(hostile_run(log, *HOSTILE), notes=notes, title="".join(HOSTILE[:5]))
    found = page.visit_all()
    assert found["steps"] > 100
    assert found["elements"] == ["script", "script"]
    for text in (
        "<img src=x onerror=alert(1)>",
        "</script><script>alert(1)</script>",
        "<!--<script>",
    ):
        assert text in found["text"]
    assert "\\u202eevil\\u2066" in found["text"]
    assert page.run("[typeof alerted, document.title.includes('onerror')]") == ["undefined", True]
    page.press("/")
    page.type("<img src=x")
    page.press("Enter")
    assert page.count.endswith("steps, and above")


def test_unseen_characters_are_shown_as_escapes(log: transit.Log, show: Open) -> None:
    task = trace.task(log, "run")
    task.message("user", "a\u202eb\x1bc\x00d\u2066e\u200bf\ud800g\ufeffh\U000e0041i\nj")
    page = show("run")
    shown = page.tab.locator("#detail .message pre").inner_text()
    assert shown == ("a\\u202eb\\u001bc\\u0000d\\u2066e\\u200bf\\ud800g\\ufeffh\\udb40\\udc41i\nj")


def test_without_scripts_the_page_says_what_to_do(log: transit.Log, show: Open) -> None:
    record_work(log)
    page = show("work", how={"java_script_enabled": False})
    assert "Allow scripts" in page.tab.locator("body").inner_text()
    page.settle = lambda: None  # type: ignore[method-assign]


FORMATS = sorted({file.parent for file in SHARED.glob("*/*")} - {SHARED / "irc"})


@pytest.mark.parametrize("folder", FORMATS or [SHARED / "none"], ids=lambda folder: folder.name)
def test_a_real_run_of_each_format_opens(log: transit.Log, show: Open, folder: Path) -> None:
    files = [file for file in sorted(folder.glob("*")) if file.suffix != ".md"]
    if not files:
        pytest.skip(f"no real files in {folder}")
    imported = trace.import_file(log, files[0], skip_bad=True)
    page = show(imported.runs[0])
    found = page.visit_all()
    assert found["steps"] > 0
    assert found["elements"] == ["script", "script"]
    page.press("m", "f", "c", "L", "G", "E")
    assert page.row
    assert page.detail
