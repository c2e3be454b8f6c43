"""Running classifiers: once a message, from a durable place, whatever stops them."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import transit
from transit import chat
from transit.chat import deciding
from transit.chat.classifying import Candidate, Ranking, Said

from .talking import Last, Told, a_channel, say, shape


class Remembers:
    """Its decisions depend on all that its decider saw."""

    name, version, digest = "remembers", "1", ""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def decider(self) -> Remembers:
        return Remembers()

    def see(self, said: Said) -> None:
        self.seen.append(said.offset)

    def decide(self, said: Said) -> Ranking:
        if not self.seen:
            return [Candidate(None, 1.0)]
        return [Candidate(self.seen[sum(self.seen) * 31 % len(self.seen)], 1.0)]


def parents(decisions: Sequence[chat.Decision]) -> dict[int, int | None]:
    return {each.message: each.parent for each in decisions}


def test_a_run_goes_on_where_it_stood_and_decides_nothing_twice(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a", "b")
        going = chat.threading(dev, classifier=Last())
        assert [each.message for each in going.run()] == [0, 1]
        assert list(going.run()) == []
        dev.edit(0, "A", by="ada")
        say(dev, "c")
        again = chat.threading(chat.channel(dev.log, "dev"), classifier=Last())
        assert [(each.message, each.parent) for each in again.run()] == [(3, 1)]


def test_decisions_do_not_depend_on_where_a_process_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding, "EPOCH", 20)
    monkeypatch.setattr(deciding, "_FRAME", 7)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    cuts = random.Random(seed)
    with a_channel(tmp_path) as dev:
        for number in range(90):
            say(dev, f"m{number}")
            if number % 7 == 3:
                dev.react(dev.stream.next_offset - 1, "+1", by="bob")
        whole = parents(list(chat.threading(dev, classifier=Remembers()).run()))
    found: dict[int, int | None] = {}
    with a_channel(tmp_path / "cut") as dev:
        for number in range(90):
            say(dev, f"m{number}")
            if number % 7 == 3:
                dev.react(dev.stream.next_offset - 1, "+1", by="bob")
            if cuts.random() < 0.2:
                # As a process that begins now.
                classifier = Remembers()
                found |= parents(list(chat.threading(dev, classifier=classifier).run()))
        found |= parents(list(chat.threading(dev, classifier=Remembers()).run()))
    assert found == whole


def test_a_decider_is_shown_no_more_than_two_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding, "EPOCH", 10)
    shown: list[tuple[int, int]] = []

    class Counts(Remembers):
        def decider(self) -> Counts:
            return Counts()

        def decide(self, said: Said) -> Ranking:
            shown.append((said.offset, len(self.seen)))
            return [Candidate(None, 1.0)]

    with a_channel(tmp_path) as dev:
        say(dev, *map(str, range(45)))
        list(chat.threading(dev, classifier=Counts()).run())
    assert [offset for offset, _ in shown] == list(range(45))
    assert max(count for _, count in shown) == 19
    assert all(count >= 10 for offset, count in shown if offset >= 20)


def test_no_decision_depends_on_later_messages(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev, a_channel(tmp_path / "b") as live:
        one_by_one = []
        for number in range(40):
            say(live, f"m{number}")
            one_by_one += chat.threading(live, classifier=Remembers()).run()
            say(dev, f"m{number}")
        at_once = list(chat.threading(dev, classifier=Remembers()).run())
        assert parents(at_once) == parents(one_by_one)


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_several_at_once_decide_each_message_once(tmp_path: Path, mode: str) -> None:
    with a_channel(tmp_path, mode) as dev, ThreadPoolExecutor(5) as pool:
        say(dev, *map(str, range(600)))
        barrier = threading.Barrier(5)

        def run(_: int) -> list[int]:
            going = chat.threading(chat.channel(dev.log, "dev"), classifier=Last())
            barrier.wait()
            return [each.message for each in going.run()]

        done = [offset for part in pool.map(run, range(5)) for offset in part]
        assert sorted(done) == list(range(600))
        assert len(list(dev.threads().decisions())) == 600
        assert shape(dev.threads()) == {0: list(range(600))}


def test_following_decides_what_comes(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a")
        decided: list[int] = []
        first = threading.Event()

        def follow() -> None:
            for each in chat.threading(dev, classifier=Last()).run(follow=True, timeout=20):
                decided.append(each.message)
                first.set()
                if len(decided) == 3:
                    return

        thread = threading.Thread(target=follow)
        thread.start()
        assert first.wait(60)
        say(dev, "b", "c")
        thread.join(60)
        assert decided == [0, 1, 2]


def test_following_ends_when_nothing_comes(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a")
        going = chat.threading(dev, classifier=Last()).run(follow=True, timeout=0.05)
        assert [each.message for each in going] == [0]


def test_a_classifier_that_raises_writes_nothing_of_its_frame(tmp_path: Path) -> None:
    class Raises(Last):
        def decider(self) -> Raises:
            return Raises()

        def decide(self, said: Said) -> Ranking:
            if said.text == "bad":
                raise RuntimeError("no idea")
            return super().decide(said)

    with a_channel(tmp_path) as dev:
        say(dev, "a", "bad", "c")
        going = chat.threading(dev, classifier=Raises())
        with pytest.raises(RuntimeError, match="no idea"):
            list(going.run())
        assert going.position == 0
        assert [each.message for each in chat.threading(dev, classifier=Last()).run()] == [0, 1, 2]


@pytest.mark.parametrize(
    "answer",
    [(5, 0.9), (1, 0.9), (-1, 0.5), (None, 1.5), (None, -0.1), (None, float("nan")), ("0", 0.5)],
)
def test_what_cannot_be_is_refused(tmp_path: Path, answer: tuple[int | None, float]) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a", "b")
        with pytest.raises(transit.InvalidInputError):
            list(chat.threading(dev, classifier=Told({1: answer})).run())
        assert not list(dev.threads().decisions())


@pytest.mark.parametrize("decide_at", [-0.1, 1.1, "high", True])
def test_a_threshold_is_a_probability(tmp_path: Path, decide_at: float) -> None:
    with a_channel(tmp_path) as dev, pytest.raises(transit.InvalidInputError, match="0 to 1"):
        chat.threading(dev, classifier=Last(), decide_at=decide_at)


def test_of_what_a_classifier_says_the_best_counts_however_it_orders_them(tmp_path: Path) -> None:
    class Unordered(Last):
        def decider(self) -> Unordered:
            return Unordered()

        def decide(self, said: Said) -> Ranking:
            return [Candidate(None, 0.1), Candidate(0, 0.85)] if said.offset else []

    with a_channel(tmp_path) as dev:
        say(dev, "a", "b")
        _, decided = chat.threading(dev, classifier=Unordered()).run()
        assert (decided.parent, decided.score) == (0, 0.85)
        assert decided.alternatives == (chat.Candidate(None, 0.1),)
