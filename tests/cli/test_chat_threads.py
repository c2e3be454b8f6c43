"""`transit chat`: threads, what classifiers decide of them, and what people say otherwise."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from rigs.server.serving import served
from transit import chat

from .conftest import Command
from .shell import at_terminal, running

CODE = '''
"""Whoever is named is answered; the same author goes on, but not surely."""

from transit.chat import Candidate


class Mine:
    name, version, digest = "mine", "1", "d1"

    def decider(self):
        return Decider()


class Decider:
    def __init__(self):
        self.seen = []

    def see(self, said):
        self.seen.append(said)

    def decide(self, said):
        for each in reversed(self.seen):
            if said.text.startswith(each.author + ":"):
                return [Candidate(each.offset, 0.9), Candidate(None, 0.1)]
        for each in reversed(self.seen):
            if said.author == each.author:
                return [Candidate(each.offset, 0.6), Candidate(None, 0.4)]
        return [Candidate(None, 0.9)]


mine = Mine()
broken = 3
'''
MINE = ("--classifier", "mine.py:mine")
SAID = (
    ("ada", "why does the wheel not build?"),
    ("cleo", "lunch?"),
    ("bob", "ada: which python?"),
    ("dan", "cleo: at one"),
    ("eve", "who broke the report?"),
    ("ada", "bob: 3.14"),
    ("ada", "and on a new runner"),
)


@pytest.fixture(params=["folder", "server"])
def room(
    request: pytest.FixtureRequest,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Command]:
    """The command with a channel `dev` of seven messages, on a folder or on a server's store."""
    (tmp_path / "mine.py").write_text(CODE)
    path = tmp_path / "store"
    with transit.open(path, durability="os") as log:
        dev = chat.channel(log, "dev")
        for author, text in SAID:
            dev.post(author, text)
        if request.param == "server":
            with served(log) as url:
                monkeypatch.setenv("TRANSIT_STORE", url)
                yield command
                return
    yield command


@pytest.fixture
def threaded(room: Command) -> Command:
    """The same, after a run of the classifier."""
    assert room("chat", "run", "dev", *MINE).code == 0
    return room


def threads_of(command: Command, *words: object) -> dict[int, int]:
    """How many messages each thread has, by its first."""
    done = command("chat", "threads", "dev", *words)
    assert done.code == 0, done.err
    return {row["offset"]: row["messages"] for row in done.rows}


def test_a_run_decides_each_message_once(room: Command) -> None:
    rows = room("chat", "run", "dev", *MINE).rows
    assert [(row["offset"], row["parent"], row["decided"]) for row in rows] == [
        (0, None, True), (1, None, True), (2, 0, True), (3, 1, True), (4, None, True),
        (5, 2, True), (6, 5, False),
    ]  # fmt: skip
    assert (rows[2]["classifier"], rows[2]["version"], rows[2]["digest"]) == ("mine", "1", "d1")
    assert rows[2]["alternatives"] == [{"parent": None, "score": 0.1}]
    assert room("chat", "run", "dev", *MINE).rows == []
    assert threads_of(room) == {0: 3, 1: 2, 4: 1}
    assert threads_of(room, "--min", "2") == {0: 3, 1: 2}


def test_threads_may_be_asked_for_after_a_run(room: Command) -> None:
    assert threads_of(room) == {}
    found = threads_of(room, "--run", "mine.py:mine", "--decide-at", "0.5")
    assert found == {0: 4, 1: 2, 4: 1}


def test_messages_are_read_with_their_threads(threaded: Command) -> None:
    rows = threaded("chat", "read", "dev").rows
    assert [row["thread"] for row in rows] == [0, 1, 0, 1, 4, 0, None]
    assert [row["parent"] for row in rows] == [None, None, 0, 1, None, 2, None]
    shown = threaded("chat", "read", "dev", "--format", "table").out.decode().splitlines()
    marks = [line.split()[2:4] for line in shown[1:]]
    assert marks == [
        ["●", "0"], ["●", "1"], ["│", "0"], ["│", "1"], ["○", "4"], ["│", "0"], ["?", "0"],
    ]  # fmt: skip


def test_a_thread_is_shown_with_why(threaded: Command) -> None:
    words = ("chat", "override", "dev@6", "--answers", "0", "--by", "ada", "--reason", "mine")
    assert threaded(*words).rows[0]["thread"] == "dev@0"
    head, *rest = threaded("chat", "show", "dev@2").rows
    assert (head["thread"], head["state"], head["people"]) == ("dev@0", "open", ["ada", "bob"])
    assert [row["offset"] for row in rest] == [0, 2, 5, 6]
    assert (rest[1]["why"]["classifier"], rest[1]["why"]["score"]) == ("mine", 0.9)
    why, evidence = rest[3]["why"], rest[3]["evidence"]
    assert (why["action"], why["parent"], why["by"], why["reason"]) == (
        "reanchor", 0, "ada", "mine",
    )  # fmt: skip
    assert (evidence["parent"], evidence["score"], evidence["decided"]) == (5, 0.6, False)
    shown = threaded("chat", "show", "dev@2", "--format", "table").out.decode()
    assert "└ answers 0 · mine 0.90 · or starts a thread 0.10" in shown
    assert "└ answers 0 · said by ada: mine" in shown
    assert "instead of: perhaps answers 5 · mine 0.60, below 0.8" in shown


def test_summaries_are_shown_and_whether_they_are_stale(threaded: Command) -> None:
    place = _store()
    with transit.connect(place) if place.startswith("http") else transit.open(place) as log:
        chat.Channel(log, log.stream("dev")).threads().of(0).summarise("no wheel", by="agent")
    assert threaded("chat", "show", "dev@0").rows[-1]["stale"] is False
    assert threaded("chat", "reply", "dev@0", "eve", "more").code == 0
    summary = threaded("chat", "show", "dev@0").rows[-1]
    assert (summary["kind"], summary["text"], summary["by"], summary["stale"]) == (
        "summary", "no wheel", "agent", True,
    )  # fmt: skip
    shown = threaded("chat", "show", "dev@0", "--format", "table").out.decode()
    assert "agent, stale: more was said since" in shown


def _store() -> str:
    return os.environ["TRANSIT_STORE"]


def test_people_say_otherwise(threaded: Command) -> None:
    def say(*words: object) -> None:
        done = threaded("chat", "override", *words, "--by", "mod")
        assert done.code == 0, done.err

    say("dev@6", "--confirm")
    assert threads_of(threaded) == {0: 4, 1: 2, 4: 1}
    say("dev@3", "--starts")
    assert threads_of(threaded) == {0: 4, 1: 1, 3: 1, 4: 1}
    say("dev@3", "--answers", "1")
    say("dev@4", "--merge", "1")
    assert threads_of(threaded) == {0: 4, 1: 3}
    say("dev@2", "--split", "--with", "6")
    assert threads_of(threaded) == {0: 1, 1: 3, 2: 3}
    say("dev@1", "--suppress")
    assert threads_of(threaded) == {0: 1, 2: 3}
    assert threads_of(threaded, "--all") == {0: 1, 1: 3, 2: 3}
    assert threads_of(threaded, "--state", "suppressed") == {1: 3}
    say("dev@1", "--reopen")
    say("dev@-1", "--resolve")
    assert threads_of(threaded, "--state", "resolved") == {2: 3}
    said = threaded("chat", "show", "dev@1", "--format", "table").out.decode()
    assert "merged with the thread of 4 by mod" in said
    assert "opened again by mod" in said


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["override", "dev@1"], 2, "--help"),
        (["override", "dev@1", "--starts", "--answers", "0"], 2, "--help"),
        (["override", "dev@2", "--starts", "--with", "3"], 2, "--help"),
        (["override", "dev@2", "--answers", "5"], 2, ""),
        (["override", "dev@2", "--answers", "99"], 3, "chat read dev"),
        (["override", "dev@2", "--merge", "0"], 2, ""),
        (["override", "dev@2", "--split", "--with", "0"], 2, ""),
        (["override", "dev@99", "--starts"], 3, "chat read dev"),
        (["run", "dev", "--classifier", "none"], 2, "linear, rule, source"),
        (["run", "dev", "--classifier", "mine.py:none"], 2, "chat.judged"),
        (["run", "dev", "--classifier", "mine.py:broken"], 2, "chat.judged"),
        (["run", "dev", "--classifier", "no_such_module:x"], 2, "MODULE:NAME"),
        (["run", "dev", "--decide-at", "2"], 2, "--help"),
        (["run", "dev", "--timeout", "1s"], 2, "--help"),
        (["run", "none", *MINE], 3, "chat channels"),
        (["adopt", "dev", "none"], 3, "chat runs dev"),
        (["threads", "dev", "--of", "none"], 3, "chat runs dev"),
        (["threads", "dev", "--of", "none", "--run", "rule"], 2, "--help"),
        (["read", "dev", "--of", "none"], 3, "chat runs dev"),
        (["compare", "dev"], 2, "chat runs dev"),
        (["compare", "dev", "none"], 3, "chat runs dev"),
        (["compare", "dev", "--gold", "none.annotation.txt"], 3, "a line"),
        (["show", "dev@99"], 3, "chat read dev"),
        (["freeze", "dev@99"], 3, "chat read dev"),
        (["frozen", "dev"], 2, "CHANNEL/frozen/OFFSET"),
        (["frozen", "dev/frozen/9"], 3, "CHANNEL/frozen/OFFSET"),
    ],
)
def test_what_cannot_be_said_is_told_with_what_to_type(
    threaded: Command, words: list[str], code: int, hint: str
) -> None:
    done = threaded("chat", *words)
    assert done.code == code, done.err
    assert hint in done.error["hint"]


def test_nobody_is_confirmed_of_whom_nothing_was_said(room: Command) -> None:
    done = room("chat", "override", "dev@1", "--confirm", "--by", "x")
    assert done.code == 3
    assert "no classifier" in done.error["message"]


def test_a_run_is_looked_at_and_adopted(threaded: Command) -> None:
    (made,) = threaded("chat", "rerun", "dev", *MINE, "--decide-at", "0.5").rows
    assert (made["run"], made["decisions"], made["proposed"], made["threads"]) == ("1", 7, 0, 3)
    assert threads_of(threaded) == {0: 3, 1: 2, 4: 1}
    assert threads_of(threaded, "--of", "1") == {0: 4, 1: 2, 4: 1}
    assert [row["thread"] for row in threaded("chat", "read", "dev", "--of", "1").rows][-1] == 0
    named = threaded("chat", "rerun", "dev", *MINE, "--name", "a/b").rows[0]
    assert named["run"] == "a/b"
    rows = threaded("chat", "runs", "dev").rows
    assert [(row["run"], row["in_force"], row["classifier"]) for row in rows] == [
        (None, True, "mine"), ("1", False, "mine"), ("a/b", False, "mine"),
    ]  # fmt: skip
    (adopted,) = threaded("chat", "adopt", "dev", "1", "--by", "ada", "--reason", "better").rows
    assert (adopted["adopted"], adopted["by"], adopted["threads"]) == ("1", "ada", 3)
    assert threads_of(threaded) == {0: 4, 1: 2, 4: 1}
    late = threaded("chat", "adopt", "dev", "a/b", "--by", "ada")
    assert late.code == 10
    assert "chat rerun dev" in late.error["hint"]


def test_a_frozen_thread_stays_as_it_was(threaded: Command) -> None:
    (made,) = threaded("chat", "freeze", "dev@2", "--by", "ada", "--reason", "incident").rows
    assert (made["stream"], made["thread"], made["messages"]) == ("dev/frozen/0", "dev@0", 3)
    assert threaded("chat", "post", "dev", "bob", "ada: ok").code == 0
    assert threaded("chat", "run", "dev", *MINE).code == 0
    head, *rest = threaded("chat", "frozen", "dev/frozen/0").rows
    assert (head["by"], head["reason"], head["messages"]) == ("ada", "incident", 3)
    assert [(row["origin"], row["why"]["classifier"]) for row in rest] == [
        ("dev@0", "mine"), ("dev@2", "mine"), ("dev@5", "mine"),
    ]  # fmt: skip
    assert threaded("chat", "freeze", "dev@2", "--by", "ada").rows[0]["stream"] == "dev/frozen/0-2"
    shown = threaded("chat", "frozen", "dev/frozen/0", "--format", "table").out.decode()
    assert "└ answers 0 · mine 0.90" in shown
    assert threaded("verify").code == 0


def test_an_empty_channel_has_no_threads(command: Command) -> None:
    assert command("chat", "post", "dev", "ada", "x", "--purpose", "p").code == 0
    for words in (["threads", "dev"], ["runs", "dev"], ["threads", "dev", "--all"]):
        done = command("chat", *words)
        assert (done.code, done.rows) == (0, [])
    shown = at_terminal(Path(_store()), "chat", "threads", "dev").out.decode()
    assert "`transit chat run dev`" in shown


def test_two_that_follow_decide_each_message_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    path = tmp_path / "store"
    with transit.open(path, durability="os") as log, served(log) as url:
        dev = chat.channel(log, "dev")
        words = ("chat", "run", "dev", *MINE, "--follow", "--timeout", "3s", "--store", url)
        with running(path, *words) as one, running(path, *words) as other:
            for number in range(40):
                dev.post("ada", f"{number}")
            outs = [process.communicate()[0] for process in (one, other)]
            assert [process.returncode for process in (one, other)] == [0, 0]
        rows = [json.loads(line) for out in outs for line in out.splitlines()]
        # What was posted before a process began is decided by whichever comes first.
        assert sorted(row["offset"] for row in rows) == list(range(40))


def test_decisions_at_a_terminal_are_a_line_each(threaded: Command) -> None:
    again = threaded("chat", "rerun", "dev", *MINE, "--format", "table")
    assert b"threads" in again.out
    assert threaded("chat", "post", "dev", "dan", "eve: me\x1b[31m").code == 0
    shown = threaded("chat", "run", "dev", *MINE, "--format", "table").out.decode()
    assert shown.split()[:5] == ["7", "→", "4", "0.90", "dan"]
    assert "\x1b" not in shown
