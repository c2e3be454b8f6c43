"""A page of a run that goes on: after each thing that came it is what a page made anew would be."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import transit
from transit import trace
from transit.trace.page.data import levels
from transit.trace.page.growing import GrowingPage, Limits, TooLargeError
from transit.trace.writing import Options

pytestmark = pytest.mark.usefixtures("log")


class Reader:
    """What a browser does with a page and with what comes later, without a browser."""

    def __init__(self, page: GrowingPage) -> None:
        self.page = page
        page.read()
        self.data: dict[str, Any] = json.loads(page.whole())
        self.steps = dict(zip(self.data["keys"], self.data["steps"], strict=True))

    def read(self) -> dict[str, Any] | None:
        """Take up what came; what that was."""
        found = self.page.read()
        if found is None:
            return None
        more: dict[str, Any] = json.loads(found)
        self.data["sides"] = [more["side"]]
        self.data["values"] += more["values"]
        self.data["runs"] += more["runs"]
        self.data["notes"] = more.get("notes", self.data["notes"])
        self.steps |= dict(more["steps"])
        for key, records in more["chunks"]:
            self.steps[key].setdefault("chunks", []).extend(records)
        at = more["at"]
        self.data["keys"][at : at + more["drop"]] = more["keys"]
        self.data["steps"] = [self.steps[key] for key in self.data["keys"]]
        return more

    def seen(self) -> object:
        return seen(self.data)


def seen(data: dict[str, Any]) -> object:
    """All that a page says, with no numbers of values, runs or keys in it."""
    steps = [{**step, "run": data["runs"][step.get("run", 0)]} for step in data["steps"]]
    return opened({"steps": steps, "sides": data["sides"], "notes": data["notes"]}, data["values"])


def opened(packed: Any, values: list[Any]) -> Any:
    """A value without marks."""
    if isinstance(packed, list):
        return [opened(each, values) for each in packed]
    if not isinstance(packed, dict):
        return packed
    mark = packed.get("$")
    if isinstance(mark, int):
        return opened(values[mark], values)
    if mark == "list":
        number, count = packed.get("same", (-1, 0))
        before = opened(values[number], values)[:count] if count else []
        return before + [opened({"$": each}, values) for each in packed["then"]]
    return {key: opened(value, values) for key, value in packed.items()}


def same_as_anew(log: transit.Log, reader: Reader, run: str) -> None:
    anew = GrowingPage(log, log.stream(run))
    anew.read()
    assert reader.seen() == seen(json.loads(anew.whole()))


def history(log: transit.Log, name: str) -> Iterator[None]:
    """A run that has everything in it: one step of the program at a time."""
    with trace.task(log, name, actor="agent", reason="asked") as task:
        yield
        messages: list[dict[str, object]] = [{"role": "system", "content": "Be brief. " * 9}]
        for turn in range(3):
            messages.append({"role": "user", "content": f"question {turn} " * 9})
            asked = task.model("some-model", {"messages": list(messages)})
            yield
            for part in range(4):
                asked.chunk({"delta": f"part {part} of a long answer {turn}, no short one"})
                yield
            asked.response({"role": "assistant", "content": f"answer {turn} " * 9})
            messages.append({"role": "assistant", "content": f"answer {turn} " * 9})
            yield
            outer = task.tool("delegate", {"turn": turn})
            yield
            with trace.task(log, f"{name}/part-{turn}", actor="helper") as part_task:
                yield
                inner = part_task.tool("bash", {"cmd": "ls"})
                yield
                inner.result("setup.py")
                yield
            yield
            # Two calls at once: what is open when the one around it ends was beside it.
            other = task.tool("search", "needle")
            yield
            beside = task.tool("grep", "haystack")
            yield
            beside.result("found")
            yield
            task.message("user", "in between")
            yield
            outer.result("done")
            yield
            trace.annotate(log, name, "remark", comment=f"a remark {turn}")
            yield
            other.failure("refused", "nothing there")
            yield
        task.tool("never", "answered")
    yield


@pytest.mark.parametrize("seed", range(4))
def test_after_anything_a_page_that_grew_is_like_one_made_anew(log: transit.Log, seed: int) -> None:
    draw = random.Random(seed)
    running = history(log, "work")
    next(running)
    reader = Reader(GrowingPage(log, log.stream("work")))
    for _ in running:
        if draw.random() < 0.7:
            reader.read()
            same_as_anew(log, reader, "work")
    reader.read()
    same_as_anew(log, reader, "work")
    assert reader.read() is None


def test_of_an_answer_that_comes_in_parts_only_the_new_parts_are_sent(log: transit.Log) -> None:
    with trace.task(log, "work") as task:
        asked = task.model("some-model", {"messages": []})
        asked.chunk({"delta": "first"})
        reader = Reader(GrowingPage(log, log.stream("work")))
        for number in range(20):
            asked.chunk({"delta": f"later {number}"})
            more = reader.read()
            assert more is not None
            assert more["steps"] == []
            assert [len(records) for _, records in more["chunks"]] == [1]
        asked.response("all")
    same = reader.read()
    assert same is not None
    same_as_anew(log, reader, "work")


def test_a_child_whose_stream_comes_later_is_read_when_it_is_there(log: transit.Log) -> None:
    uid = "0198c0de-0000-7000-8000-000000000001"
    with trace.task(log, "work") as task:
        task.record(trace.ChildRun(run="work/late", uid=uid))
        reader = Reader(GrowingPage(log, log.stream("work")))
        assert reader.page.is_waiting
        child = log.create("work/late", {"task_id": "late"}, codec="json", uid=uid)
        trace.Task(log, child, Options(strict=True)).message("user", "Hello.")
        assert reader.read() is not None
        assert not reader.page.is_waiting
        same_as_anew(log, reader, "work")


def test_a_child_that_may_not_be_read_is_named_and_not_shown(log: transit.Log) -> None:
    for _ in history(log, "work"):
        pass
    page = GrowingPage(log, log.stream("work"), may_read=lambda name: "/" not in name)
    page.read()
    assert b"setup.py" not in page.whole()
    assert b"work/part-1" in page.whole()


def test_a_run_that_is_too_much_for_a_page_is_refused_with_its_count(log: transit.Log) -> None:
    with trace.task(log, "work") as task:
        for number in range(30):
            task.message("user", f"message {number}")
    with pytest.raises(TooLargeError, match="more than 20 events"):
        GrowingPage(log, log.stream("work"), limits=Limits(events=20)).read()
    with pytest.raises(TooLargeError, match="more than 2,000 bytes"):
        GrowingPage(log, log.stream("work"), limits=Limits(size=2000)).read()


def _tell_no_moves(page: pytest.MonkeyPatch) -> None:
    """A step that moved is not told anew."""
    real = GrowingPage._changes

    def changes(self: GrowingPage, touched: Any) -> Any:
        for level, step in levels(self.steps):
            key = self._keys.get(id(step))
            if key is not None and id(step) not in touched:
                self._levels[key] = level
        return real(self, touched)

    page.setattr(GrowingPage, "_changes", changes)


def _tell_no_outcomes(page: pytest.MonkeyPatch) -> None:
    """A call that ended is not told anew."""
    real = GrowingPage._take

    def take(self: GrowingPage) -> Any:
        found = real(self)
        return {key: value for key, value in found.items() if value[0].kind != "tool"}

    page.setattr(GrowingPage, "_take", take)


def _drop_nothing(page: pytest.MonkeyPatch) -> None:
    """A step that moved stays where it was, too."""
    real = GrowingPage._reordered

    def reordered(self: GrowingPage) -> Any:
        order, splice = real(self)
        return order, {**splice, "drop": 0}

    page.setattr(GrowingPage, "_reordered", reordered)


@pytest.mark.parametrize("plant", [_tell_no_moves, _tell_no_outcomes, _drop_nothing])
def test_a_planted_bug_is_found(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        go_through(log)


def go_through(log: transit.Log) -> None:
    """Take up all that comes, and compare."""
    running = history(log, "work")
    next(running)
    reader = Reader(GrowingPage(log, log.stream("work")))
    for _ in running:
        reader.read()
        same_as_anew(log, reader, "work")
