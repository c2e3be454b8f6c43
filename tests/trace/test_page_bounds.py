"""Pages of runs that hold more than a page may: what stays, what is cut, and what is said of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from blake3 import blake3

import transit
from transit import trace
from transit.trace.events import encode_json

from .page_data import PageData, data_of, page_of
from .pages import Browser, Opened, chromium

KIB = 1024
BOUNDS = [48 * KIB, 64 * KIB, 100 * KIB, 333_333, 1024 * KIB]
# What of a page is there without any values: style and script.
LEAST = 200 * KIB


def fill(log: transit.Log, steps: int = 60, size: int = 20_000, name: str = "run") -> None:
    """A run of calls with large results of several kinds, each with something small beside."""
    chance = random.Random(name)
    with trace.task(log, name) as task:
        for n in range(steps):
            with task.tool(f"tool-{n}", {"small": f"a short argument, number {n}"}) as call:
                text = f"begins {n} " + chance.randbytes(size // 2).hex() + f" ends {n}"
                kinds: list[Any] = [
                    text, {"rows": [[n, each] for each in range(size // 10)]},
                    f"{n} " + "<&>\u2028\x01" * (size // 5), {"deep": [[text[:99]]], "more": text},
                ]  # fmt: skip
                call.result(kinds[n % 4])


def frame(log: transit.Log, name: str = "run") -> int:
    """The size of the page of a run without values worth a word."""
    return len(page_of(log, name, page_bytes_max=1))


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_page_keeps_to_its_bound_with_all_its_steps(log: transit.Log, bound: int) -> None:
    fill(log)
    whole = data_of(log, "run")
    assert whole.bound is None
    most = frame(log) + bound
    page = page_of(log, "run", page_bytes_max=most)
    assert 0.7 * bound <= len(page) - frame(log) <= bound
    data = PageData(page.decode())
    assert data.bound is not None
    assert (data.bound[0], data.bound[2] > 0) == (most, True)
    told = ("kind", "name", "status", "failed", "level", "began", "took")
    for before, after in zip(whole.steps, data.steps, strict=True):
        assert {key: before.get(key) for key in told} == {key: after.get(key) for key in told}
        assert before["first"][:2] == after["first"][:2]
    assert data.head == whole.head
    assert page == page_of(log, "run", page_bytes_max=most), "the same each time"


def test_what_is_small_stays_whole_and_what_is_cut_has_its_digest(log: transit.Log) -> None:
    fill(log)
    data = data_of(log, "run", page_bytes_max=frame(log) + 100 * KIB)
    assert data.bound is not None
    above = data.bound[1]
    count = 0
    for step, record in zip(data.steps, trace.read(log, "run").steps(), strict=True):
        if step["kind"] != "tool":
            continue
        assert data.value(step["first"][2])["arguments"] == record.input
        found = data.value(step["last"][2])["result"]
        if isinstance(found, dict) and "$" not in found:
            assert found["deep"] == record.output["deep"]  # type: ignore[index]
            found, value = found["more"], record.output["more"]  # type: ignore[index]
        else:
            value = record.output
        data_there = value.encode() if isinstance(value, str) else encode_json(value)
        assert found["digest"] == blake3(data_there).hexdigest()
        assert found["bytes"] == len(data_there) > above
        assert data_there.decode().startswith(found["head"])
        assert data_there.decode().endswith(found["tail"])
        assert 0 < len(found["tail"]) <= len(found["head"]) <= above
        count += 1
    assert count == data.bound[2] == 60


def test_the_default_leaves_usual_pages_whole(log: transit.Log) -> None:
    fill(log, 12, 60_000)
    data = data_of(log, "run")
    assert data.bound is None
    assert data.value(data.steps[0]["last"][2])["result"].startswith("begins 0")


def test_a_bound_that_steps_alone_are_above_cuts_all_that_can_be(log: transit.Log) -> None:
    fill(log, 20)
    data = data_of(log, "run", page_bytes_max=1)
    assert len(data.steps) == 21
    assert data.bound is not None
    assert data.bound[:2] == [1, 256]
    assert max(len(encode_json(each)) for each in data.values) < 1200


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "64MiB", None])
def test_a_bound_that_is_no_size_is_refused(log: transit.Log, value: Any) -> None:
    fill(log, 1)
    with pytest.raises(transit.InvalidInputError, match="page_bytes_max"):
        page_of(log, "run", page_bytes_max=value)


def conversation(log: transit.Log, turns: int, changing: bool) -> None:
    """A run whose every request repeats all before; changing: after a first message of its own."""
    said: list[dict[str, str]] = []
    with trace.task(log, "talk") as task:
        for n in range(turns):
            said = [*said, {"role": "user", "content": f"question {n}, and a few words more"}]
            first = {"role": "system", "content": f"It is now {n if changing else 0} o'clock."}
            answer = {"role": "assistant", "content": f"answer {n}, and a few words more"}
            task.model_call(model="m", request={"messages": [first, *said]}, response=answer)
            said = [*said, answer]


def test_requests_that_share_no_beginning_are_cut_to_their_ends(log: transit.Log) -> None:
    conversation(log, 300, changing=True)
    whole = data_of(log, "talk")
    bound = frame(log, "talk") + 40 * KIB
    page = page_of(log, "talk", page_bytes_max=bound)
    assert len(page) <= bound < len(page_of(log, "talk"))
    data = PageData(page.decode())
    for n, (before, after) in enumerate(zip(whole.steps, data.steps, strict=True)):
        if after["kind"] != "model":
            continue
        wanted = whole.value(before["first"][2])["request"]["messages"]
        packed = data.values[after["first"][2]["request"]["messages"]["$"]]
        found = data.value(packed)
        at, left = packed.get("left", [len(found), 0])
        assert len(found) + left == len(wanted) == 2 * n + 2
        assert found[:at] == wanted[:at]
        assert found[at:] == wanted[at + left :]
        assert found[-1]["content"].startswith(f"question {n}")


def test_a_list_that_goes_on_from_one_that_is_cut_has_its_own_ends(log: transit.Log) -> None:
    many = [{"role": "user", "content": f"message {n}"} for n in range(3000)]
    with trace.task(log, "talk") as task:
        for n in range(0, 40, 2):
            task.model_call(model="m", request={"messages": many[: 2960 + n]}, response="x")
        task.model_call(model="m", request={"messages": [*many[:1500], *many[1700:]]})
        task.model_call(model="m", request={"messages": many[:3]})
    whole = data_of(log, "talk")
    data = data_of(log, "talk", page_bytes_max=frame(log, "talk") + 10)
    cut = 0
    for before, after in zip(whole.steps, data.steps, strict=True):
        if after["kind"] != "model":
            continue
        wanted = whole.value(before["first"][2])["request"]["messages"]
        packed = data.values[after["first"][2]["request"]["messages"]["$"]]
        found = data.value(packed)
        at, left = packed.get("left", [len(found), 0])
        assert found == [*wanted[:at], *wanted[at + left :]]
        assert at >= 3
        cut += left > 0
    assert cut == 21


def test_a_conversation_that_goes_on_stays_whole_where_its_texts_fit(log: transit.Log) -> None:
    conversation(log, 300, changing=False)
    page = page_of(log, "talk")
    data = data_of(log, "talk", page_bytes_max=len(page))
    assert data.bound is None
    assert data.text.count("question 7,") == 1


@pytest.fixture(scope="module")
def browser() -> Any:
    with chromium() as found:
        yield found


def test_a_browser_says_what_was_cut(log: transit.Log, browser: Browser, tmp_path: Any) -> None:
    fill(log, 8)
    file = tmp_path / "run.html"
    trace.write_page(log, "run", file, page_bytes_max=LEAST)
    page = Opened(browser, file)
    assert "All steps are here. To keep the page within 200.0 KiB, 8 values of more than" in (
        page.tab.locator("#head").inner_text()
    )
    page.tab.keyboard.press("j")
    assert "BLAKE3" in page.tab.locator("#detail").inner_text()
    assert not page.complaints


def test_a_browser_shows_where_items_are_left_out(
    log: transit.Log, browser: Browser, tmp_path: Any
) -> None:
    conversation(log, 60, changing=True)
    file = tmp_path / "talk.html"
    trace.write_page(log, "talk", file, page_bytes_max=1)
    page = Opened(browser, file)
    page.tab.keyboard.press("Shift+G")
    page.tab.keyboard.press("k")
    shown = page.tab.locator("#detail").inner_text()
    assert "items left out here" in shown
    assert "question 59" in shown
    page.tab.keyboard.press("/")
    page.tab.keyboard.type("question 59")
    page.tab.keyboard.press("Enter")
    assert not page.complaints
