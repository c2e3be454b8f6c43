"""Which thread each message is in, beside a model that is written the plain way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transit.chat.folding import Folding

EVIDENCE = {"kind": "classifier-evidence", "author_id": "c"}
OVERRIDE = {"kind": "human-override", "author_id": "ada"}
Step = tuple[str, dict[str, Any]]
COUNT = 12


class Plain:
    """The rules of `transit.chat.folding`, record by record, all anew at each question."""

    def __init__(self, steps: list[Step], count: int) -> None:
        self.machine: dict[int, int | str | None] = {}
        self.human: dict[int, int | None] = {}
        self.pairs: list[tuple[int, int]] = []
        self.states: dict[int, str] = {}
        self.ignored = 0
        for kind, body in steps:
            self.take(kind, body, count)

    def take(self, kind: str, body: dict[str, Any], count: int) -> None:
        message, parent = body["message"], body["parent"]
        other = body.get("other") if kind == "override" else None
        if message >= count or (other or 0) >= count:
            return
        impossible = message < 0 or (other or 0) < 0
        impossible |= parent is not None and not 0 <= parent < message
        if impossible:
            self.ignored += 1
        elif kind == "evidence":
            self.machine[message] = parent if body["decided"] else "proposed"
        else:
            self.said(body["action"], message, parent, other)

    def said(self, action: str, message: int, parent: int | None, other: int | None) -> None:
        if action in ("suppress", "reopen", "resolve"):
            self.states[message] = action
        elif action == "merge":
            if other is None or other == message:
                self.ignored += 1
            else:
                self.pairs = [pair for pair in self.pairs if set(pair) != {message, other}]
                self.pairs.append((message, other))
        elif action in ("confirm", "reanchor", "split"):
            self.human[message] = parent
            if action == "split":
                self.pairs = [pair for pair in self.pairs if message not in pair]
        else:
            self.ignored += 1

    def link(self, message: int) -> int | str | None:
        return self.human.get(message, self.machine.get(message, "proposed"))

    def threads(self) -> dict[int, list[int]]:
        """Of all messages, those of which nothing was said too."""
        group = {message: {message} for message in range(COUNT)}

        def join(one: int, other: int) -> None:
            together = group[one] | group[other]
            for each in together:
                group[each] = together

        for message in range(COUNT):
            parent = self.link(message)
            if isinstance(parent, int):
                join(message, parent)
        for one, other in self.pairs:
            join(one, other)
        return {message: sorted(group[message]) for message in range(COUNT)}


def payload(step: Step) -> tuple[dict[str, str], bytes]:
    kind, body = step
    if kind == "evidence":
        whole = {
            "score": 0.5,
            "threshold": 0.5,
            "alternatives": [],
            "classifier": "c",
            "version": "1",
            "digest": "",
            "decided_at": 1,
            **body,
        }
        return EVIDENCE, msgspec.json.encode(whole)
    return OVERRIDE, msgspec.json.encode({"decided_at": 1, "reason": "", **body})


def folded(steps: list[Step], cuts: list[int], count: int = COUNT) -> Folding:
    """The fold of the steps, asked at each cut, so that what is made for answers is there."""
    fold, place = Folding(), 0
    for cut in [*sorted(cuts), len(steps)]:
        part = [payload(step) for step in steps[place : max(place, cut)]]
        fold.take(count, [header for header, _ in part], [each for _, each in part])
        list(fold.roots())
        fold.root(0)
        place = max(place, cut)
    return fold


messages = st.integers(-1, COUNT + 1)
parents = st.none() | messages
evidence = st.fixed_dictionaries(
    {"message": messages, "parent": parents, "decided": st.booleans()}
).map(lambda body: ("evidence", body))
actions = st.sampled_from(
    ["confirm", "reanchor", "split", "merge", "suppress", "reopen", "resolve", "unknown"]
)
override = st.fixed_dictionaries(
    {"action": actions, "message": messages, "parent": parents, "other": parents}
).map(lambda body: ("override", body))
steps = st.lists(evidence | override, max_size=30)


@settings(max_examples=400, deadline=None)
@given(steps, st.lists(st.integers(0, 30), max_size=4))
def test_a_fold_is_as_the_rules_say(given_steps: list[Step], cuts: list[int]) -> None:
    fold, plain = folded(given_steps, cuts), Plain(given_steps, COUNT)
    threads = plain.threads()
    assert fold.ignored == plain.ignored
    for message in range(COUNT):
        link = plain.link(message)
        assert fold.parent(message) == (link if isinstance(link, int) else None)
        assert fold.is_decided(message) == (link != "proposed")
        assert fold.root(message) == threads[message][0]
        assert list(fold.members(fold.root(message))) == threads[message]
        assert fold.state(message)[0] == plain.states.get(message, "")
    said = {m for m in range(COUNT) if plain.link(m) != "proposed" or len(threads[m]) > 1}
    assert set(fold.roots()) == {threads[message][0] for message in said}


@settings(max_examples=200, deadline=None)
@given(steps, st.lists(st.integers(0, 30), max_size=4))
def test_a_fold_says_the_same_however_it_was_gone_on_with(
    given_steps: list[Step], cuts: list[int]
) -> None:
    at_once, in_parts = folded(given_steps, []), folded(given_steps, cuts)
    for message in range(COUNT):
        assert at_once.root(message) == in_parts.root(message)
        assert at_once.why(message) == in_parts.why(message)
        assert list(at_once.about(message)) == list(in_parts.about(message))
    assert at_once.is_outgrown(100) == in_parts.is_outgrown(100)


def test_why_names_the_record_that_counts() -> None:
    given_steps: list[Step] = [
        ("evidence", {"message": 3, "parent": 1, "decided": True}),
        ("override", {"action": "reanchor", "message": 3, "parent": 0}),
        ("evidence", {"message": 3, "parent": 2, "decided": True}),
    ]
    fold = folded(given_steps, [])
    assert (fold.why(3), fold.evidence(3), fold.parent(3)) == (1, 2, 0)
    assert list(fold.about(3)) == [1, 2]


def test_a_record_about_a_message_that_is_not_there_yet_costs_nothing() -> None:
    fold = folded([("evidence", {"message": 1 << 40, "parent": None, "decided": True})], [])
    assert not list(fold.roots())
    assert not fold.is_outgrown(COUNT)
    assert fold.is_outgrown((1 << 40) + 1)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[1]", b"\xff", b'{"message": "x"}', b"[" * 5000])
@pytest.mark.parametrize("header", [EVIDENCE, OVERRIDE])
def test_what_is_no_record_of_its_kind_is_counted(header: dict[str, str], payload: bytes) -> None:
    fold = Folding()
    fold.take(COUNT, [header, {"kind": "other"}, {}], [payload, b"x", b""])
    assert (fold.stop, fold.ignored) == (3, 1)


def test_a_long_thread_is_followed_without_recursion() -> None:
    count = 50_000
    steps = [
        ("evidence", {"message": n, "parent": n - 1, "decided": True}) for n in range(1, count)
    ]
    fold, plain = Folding(), [payload(step) for step in reversed(steps)]
    fold.take(count, [header for header, _ in plain], [each for _, each in plain])
    assert fold.root(count - 1) == 0
    assert len(fold.members(0)) == count


def test_what_comes_later_costs_what_is_new() -> None:
    """Counted in what is made anew: the threads as a whole are not."""
    fold = folded([("evidence", {"message": 1, "parent": 0, "decided": True})], [1])
    made = fold._members
    part = [payload(("evidence", {"message": n, "parent": 0, "decided": True})) for n in (2, 3)]
    fold.take(COUNT, [header for header, _ in part], [each for _, each in part])
    assert fold._members is made
    assert list(fold.members(0)) == [0, 1, 2, 3]
