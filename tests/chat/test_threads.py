"""Decisions, overrides and what threads come of them; replies, summaries, states."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import transit
from transit import chat
from transit.chat.records import KIND

from .talking import Last, Told, a_channel, say, shape, texts


def run(
    dev: chat.Channel, classifier: object = None, decide_at: float = 0.8
) -> list[chat.Decision]:
    told = Told() if classifier is None else classifier
    return list(chat.threading(dev, classifier=told, decide_at=decide_at).run())  # type: ignore[arg-type]


def test_a_thread_is_its_first_message_and_all_that_answer(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: -", "c: 0", "d: 1", "e: 2", "f")
        assert len(run(dev)) == 6
        threads = dev.threads()
        assert shape(threads) == {0: [0, 2, 4], 1: [1, 3]}
        assert texts(threads.of(4)) == ["a: -", "c: 0", "e: 2"]
        assert (threads.of(5).root, list(threads.of(5).members), len(threads.of(5))) == (5, [5], 1)
        assert threads.of(2) == threads.of(0)
        assert hash(threads.of(2)) == hash(threads.of(0))


def test_below_the_threshold_a_message_stays_as_it_is(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: 0 0.79", "c: 0 0.8")
        decided = run(dev)
        assert [each.decided for each in decided] == [True, False, True]
        threads = dev.threads()
        assert shape(threads) == {0: [0, 2]}
        (proposed,) = threads.undecided()
        assert (proposed.message, proposed.parent, proposed.score) == (1, 0, 0.79)
        threads.confirm(1, by="ada")
        assert shape(dev.threads()) == {0: [0, 1, 2]}
        assert not list(dev.threads().undecided())


def test_a_decision_says_who_how_surely_and_what_else(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a", "b")
        run(dev, Last())
        why = dev.threads().why(1)
        assert isinstance(why, chat.Decision)
        assert (why.parent, why.score, why.threshold) == (0, 0.9, 0.8)
        assert why.alternatives == (chat.Candidate(None, 0.1),)
        assert (why.classifier, why.version, why.digest) == ("last", "1", "d" * 64)
        record = dev.log.layer("chat").stream(f"decisions/{dev.stream.uid}")[why.position.offset]
        assert record.headers[KIND] == "classifier-evidence"
        assert dev.threads().why(0) is not None


def test_what_a_person_says_beats_every_classifier_before_and_after(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: -", "c: 0")
        run(dev)
        dev.override(2, parent=1, by="ada", reason="it answers b")
        assert shape(dev.threads()) == {0: [0], 1: [1, 2]}
        # A classifier decides the same message again, later.
        again = chat.threading(dev, classifier=Told({2: 0})).rerun(name="again")
        list(again.run())
        dev.adopt(again, by="lead")
        assert shape(dev.threads())[1] == [1, 2]
        why = dev.threads().why(2)
        assert isinstance(why, chat.Override)
        assert (why.action, why.by, why.reason) == ("reanchor", "ada", "it answers b")
        assert why.supersedes_ref == f"$chat/decisions/{dev.stream.uid}@2"


def test_overrides_say_what_they_replace(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: 0")
        run(dev)
        name = f"$chat/decisions/{dev.stream.uid}"
        dev.override(1, parent=None, by="ada")
        dev.override(1, parent=0, by="bob")
        thread = dev.threads().of(0)
        thread.resolve(by="ada")
        thread.reopen(by="bob")
        overrides = [each for each in dev.threads().decisions() if isinstance(each, chat.Override)]
        assert [each.supersedes_ref for each in overrides] == [
            f"{name}@1",
            f"{name}@2",
            None,
            f"{name}@4",
        ]


def test_a_message_answers_an_earlier_one(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a", "b")
        for parent in (1, 0):
            with pytest.raises(transit.InvalidInputError, match="came later"):
                dev.override(0, parent=parent, by="ada")
        with pytest.raises(transit.NotFoundError):
            dev.override(1, parent=9, by="ada")
        with pytest.raises(transit.NotFoundError, match="no classifier"):
            dev.threads().confirm(1, by="ada")
        assert dev.threads().stream is None


def test_threads_are_merged_and_split_again(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: -", "c: 1", "d: -", "e: 0")
        run(dev)
        threads = dev.threads()
        merged = dev.merge_threads([threads.of(3), threads.of(1), threads.of(0)], by="mod")
        assert (merged.root, list(merged.members)) == (0, [0, 1, 2, 3, 4])
        # To split where the wrong merge was undoes it, and no other.
        parted = merged.split(at=1, by="mod")
        assert shape(dev.threads()) == {0: [0, 3, 4], 1: [1, 2]}
        assert list(parted.members) == [1, 2]
        with pytest.raises(transit.InvalidInputError, match="two threads"):
            dev.merge_threads([parted, dev.threads().of(2)], by="mod")


def test_a_message_is_split_off_with_some_that_follow(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: 0", "c: 1", "d: 0", "e: 0")
        run(dev)
        thread = dev.threads().of(0).split(at=1, by="mod", messages=[4])
        assert list(thread.members) == [1, 2, 4]
        assert shape(dev.threads()) == {0: [0, 3], 1: [1, 2, 4]}
        with pytest.raises(transit.InvalidInputError, match="came after"):
            thread.split(at=2, by="mod", messages=[1])


def test_a_suppressed_thread_is_left_out_of_lists(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: -")
        run(dev)
        thread = dev.threads().of(0)
        thread.suppress(by="mod", reason="noise")
        assert [each.root for each in dev.threads()] == [1]
        assert [each.root for each in dev.threads().all()] == [0, 1]
        assert thread.state == "suppressed"
        thread.reopen(by="mod")
        assert [each.root for each in dev.threads()] == [0, 1]
        thread.resolve(by="ada")
        assert thread.state == "resolved"


def test_overrides_at_once_are_all_there_each_after_another(tmp_path: Path) -> None:
    with a_channel(tmp_path, "shared") as dev, ThreadPoolExecutor(6) as pool:
        say(dev, *[f"{n}" for n in range(31)])
        barrier = threading.Barrier(6)

        def override(number: int) -> None:
            channel = chat.channel(dev.log, "dev")
            barrier.wait()
            for n in range(1 + number, 31, 6):
                channel.override(n, parent=n - 1, by=f"p{number}")

        list(pool.map(override, range(6)))
        assert shape(dev.threads()) == {0: list(range(31))}
        assert len(list(dev.threads().decisions())) == 30


def test_each_override_of_a_message_names_the_one_before_it(tmp_path: Path) -> None:
    """Said at once, by several: what is looked at and what is written are one step."""
    with a_channel(tmp_path, "shared") as dev, ThreadPoolExecutor(6) as pool:
        say(dev, "a", "b")
        barrier = threading.Barrier(6)

        def override(number: int) -> None:
            channel = chat.channel(dev.log, "dev")
            barrier.wait()
            for n in range(10):
                channel.override(1, parent=None if n % 2 else 0, by=f"p{number}")

        list(pool.map(override, range(6)))
        said = [each for each in dev.threads().decisions() if isinstance(each, chat.Override)]
        name = f"$chat/decisions/{dev.stream.uid}"
        wanted = [None, *(f"{name}@{offset}" for offset in range(59))]
        assert [each.supersedes_ref for each in said] == wanted


# Replies


def test_the_first_reply_makes_a_branch_and_says_so_in_the_channel(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: -", "c: 0")
        run(dev)
        thread = dev.threads().of(2)
        reply = thread.reply("bob", "here", id="r1")
        assert (reply.stream, reply.offset) == ("dev/t/0", 1)
        branch = dev.log.stream("dev/t/0")
        assert dict(branch.metadata) == {
            "kind": "thread-branch",
            "channel_id": "dev",
            "anchor_ref": "dev@0",
            "thread_kind": "reply",
            "fork_offset": 0,
        }
        assert (branch.fork_offset, len(branch)) == (0, 2)
        link = dev.stream[3]
        assert link.headers[KIND] == "thread-backlink"
        assert b'"dev/t/0"' in link.payload
        assert thread.reply("bob", "here", id="r1").offset == 1
        assert thread.reply("eve", "and here").offset == 2
        assert texts(thread) == ["a: -", "c: 0", "here", "and here"]
        assert (len(thread), thread.participants) == (4, ("ada", "bob", "eve"))
        assert dev.threads().of(reply) == thread
        # A channel's reader sees what was said in the channel.
        assert texts(dev.messages()) == ["a: -", "b: -", "c: 0"]


def test_a_reply_is_edited_and_removed_where_it_was_said(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a")
        thread = dev.threads().of(0)
        reply = thread.reply("bob", "helo")
        dev.edit(reply, "hello", by="bob")
        dev.react(reply, "+1", by="ada")
        assert texts(thread) == ["a", "hello"]
        assert dict(dev.message(reply).reactions) == {"+1": ("ada",)}
        dev.remove(reply, by="mod")
        assert texts(thread) == ["a", ""]
        # An inherited message is the channel's.
        dev.edit(transit.Position("dev/t/0", 0), "A", by="ada")
        assert texts(dev.messages()) == ["A"]
        with pytest.raises(transit.InvalidInputError, match="a reply in a thread's branch"):
            dev.override(reply, parent=None, by="ada")


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_first_replies_at_once_go_to_one_branch(tmp_path: Path, mode: str) -> None:
    with a_channel(tmp_path, mode) as dev, ThreadPoolExecutor(6) as pool:
        say(dev, "a")
        barrier = threading.Barrier(6)

        def reply(number: int) -> str:
            thread = chat.channel(dev.log, "dev").threads().of(0)
            barrier.wait()
            return thread.reply(f"p{number}", f"{number}", id=f"r{number % 3}-{number}").stream

        assert set(pool.map(reply, range(6))) == {"dev/t/0"}
        assert len(dev.threads().of(0)) == 7
        assert len(dev.stream) == 2


def test_a_name_that_is_taken_for_the_branch_is_told(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a")
        dev.log.create("dev/t/0")
        with pytest.raises(transit.AlreadyExistsError, match="dev/t/0"):
            dev.threads().of(0).reply("bob", "x")
        assert len(dev.stream) == 1


def test_replies_stay_with_a_thread_that_was_merged(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: -")
        run(dev)
        threads = dev.threads()
        threads.of(0).reply("bob", "to a")
        threads.of(1).reply("eve", "to b")
        merged = dev.merge_threads([threads.of(0), threads.of(1)], by="mod")
        assert len(merged.branches) == 2
        assert sorted(texts(merged)) == ["a: -", "b: -", "to a", "to b"]
        assert merged.reply("ada", "to both").stream == "dev/t/0"
        assert texts(merged.split(at=1, by="mod")) == ["b: -", "to b"]


def test_a_thread_whose_branch_was_deleted_is_what_is_left(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a")
        thread = dev.threads().of(0)
        thread.reply("bob", "secret")
        dev.log.delete("dev/t/0", reason="asked to")
        assert texts(dev.threads().of(0)) == ["a"]
        assert thread.reply("bob", "again").stream == "dev/t/0"
        assert texts(dev.threads().of(0)) == ["a", "again"]


def test_a_summary_says_what_it_covers(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: 0")
        run(dev)
        thread = dev.threads().of(0)
        thread.summarise("ada asks", by="agent-7")
        (summary,) = thread.summaries
        assert (summary.text, summary.by, summary.covers, summary.stale) == (
            "ada asks",
            "agent-7",
            chat.Head(2, 0),
            False,
        )
        thread.reply("bob", "more")
        assert thread.summaries[0].stale
        thread.summarise("ada asks, bob answers", by="agent-7")
        assert [each.stale for each in thread.summaries] == [True, False]
        say(dev, "c: 1")
        run(dev)
        assert [each.stale for each in dev.threads().of(0).summaries] == [True, True]


# Another run


def test_a_run_changes_nothing_until_it_is_adopted(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: 0", "c: 0")
        run(dev)
        dev.override(2, parent=1, by="ada")
        before = shape(dev.threads())
        other = chat.threading(dev).rerun(Told({0: None, 1: None, 2: None}), name="apart")
        assert other.position == 0
        assert len(list(other.run())) == 3
        assert shape(dev.threads()) == before == {0: [0, 1, 2]}
        # What a person said holds in the run, too.
        assert shape(other.threads) == {0: [0], 1: [1, 2]}
        dev.override(1, parent=0, by="bob")
        made = dev.adopt(other, by="lead", reason="it is better")
        assert made.name == f"$chat/decisions/{dev.stream.uid}/1"
        assert made.metadata["adopted_by"] == "lead"
        assert shape(dev.threads()) == {0: [0, 1, 2]}
        say(dev, "d")
        assert [each.message for each in run(dev, Last())] == [3]
        assert shape(dev.threads()) == {0: [0, 1, 2, 3]}


def test_a_run_goes_on_where_it_stood(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a", "b")
        first = chat.threading(dev, classifier=Last())
        list(first.rerun(name="x").run())
        say(dev, "c")
        again = first.rerun(name="x")
        assert again.position == 2
        assert [each.message for each in again.run()] == [2]
        assert first.rerun().threads.writable().name.endswith("/2")
        assert list(dev.runs()) == ["x", "2"]
        assert shape(dev.runs()["x"]) == {0: [0, 1, 2]}


def test_only_one_of_two_runs_is_adopted(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a", "b")
        base = chat.threading(dev, classifier=Last())
        list(base.run())
        one, other = base.rerun(name="one"), base.rerun(name="other")
        list(one.run())
        list(other.run())
        dev.adopt(one, by="ada")
        with pytest.raises(transit.ConflictError, match="not in force any more"):
            dev.adopt(other, by="bob")
        with pytest.raises(transit.InvalidInputError, match="no other run"):
            dev.adopt(base, by="ada")


def test_what_is_decided_while_a_run_is_adopted_is_not_lost(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a", "b")
        going = chat.threading(dev, classifier=Last())
        list(going.run())
        held = dev.threads()
        list((run := going.rerun(name="r")).run())
        dev.adopt(run, by="lead")
        # An object that knew the stream from before goes on in the new one.
        say(dev, "c")
        assert [each.message for each in going.run()] == [2]
        held.override(1, parent=None, by="ada")
        assert shape(dev.threads()) == shape(held.refresh()) == {0: [0], 1: [1, 2]}
        with pytest.raises(transit.StreamFinishedError):
            dev.log.layer("chat").stream(f"decisions/{dev.stream.uid}").append(b"x")


def test_a_run_takes_no_overrides(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a", "b")
        other = chat.threading(dev, classifier=Last()).rerun(name="r")
        with pytest.raises(transit.InvalidInputError, match="adopt it"):
            other.threads.override(1, parent=None, by="ada")


def test_threads_are_there_again_in_another_process_and_after_a_restore(tmp_path: Path) -> None:
    remote = str(tmp_path / "bucket")
    with transit.open(tmp_path / "s", remote=remote) as log:
        dev = chat.channel(log, "dev")
        say(dev, "a: -", "b: 0", "c: -")
        run(dev)
        dev.override(2, parent=0, by="ada")
        dev.threads().of(0).reply("bob", "r")
        before = shape(dev.threads())
        log.seal()
        log.publish()
    transit.restore(remote, tmp_path / "t")
    with transit.open(tmp_path / "t", mode="read") as log:
        dev = chat.channel(log, "dev")
        assert shape(dev.threads()) == before
        assert texts(dev.threads().of(0)) == ["a: -", "b: 0", "c: -", "r"]
        assert log.verify().ok


def test_a_branch_is_of_the_channel_it_was_made_of_whatever_their_names(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a")
        reply = dev.threads().of(0).reply("bob", "here")
        dev.log.hide(dev.stream)
        assert dev.message(reply).text == "here"
        another = chat.channel(dev.log, "dev")
        say(another, "b")
        with pytest.raises(transit.InvalidInputError, match="dev/t/0 is no branch of dev"):
            another.message(reply)
        copy = next(iter(dev.log.hidden())).branch("copy")
        assert texts(chat.channel(dev.log, copy.name).messages()) == ["a"]
