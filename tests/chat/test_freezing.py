"""Frozen threads: what they hold, that they are checked, and what that costs."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from transit import chat
from transit.chat import folding, freezing
from transit.chat.records import KIND

from .talking import Told, a_channel, refused, say, shape, texts


def a_talk(dev: chat.Channel) -> None:
    """Two threads, one with a reply, an edit, a reaction, a removal and an override."""
    say(dev, "a: -", "b: -", "c: 0", "d: 1", "e: 0")
    list(chat.threading(dev, classifier=Told()).run())
    dev.edit(2, "C", by="ada")
    dev.react(0, "+1", by="bob")
    dev.react(1, "-1", by="bob")
    dev.remove(4, by="mod")
    dev.override(3, parent=None, by="ada")
    dev.threads().of(0).reply("bob", "r")
    dev.threads().of(0).summarise("s", by="x")
    dev.threads().of(0).resolve(by="ada")


def test_a_frozen_thread_holds_its_messages_and_why(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        a_talk(dev)
        frozen = dev.threads().of(0).freeze(reason="incident 12", by="lead")
        assert frozen.name == "dev/frozen/0"
        assert frozen.kind == "merge"
        assert dict(frozen.metadata) == {
            "kind": "thread-frozen",
            "channel_id": "dev",
            "anchor_ref": "dev@0",
            "thread_kind": "frozen",
            "frozen_by": "lead",
            "reason": "incident 12",
        }
        kinds = [(record.headers[KIND], record.origin.stream[:4]) for record in frozen]
        assert kinds == [
            ("channel-message", "dev"),
            ("channel-message", "dev"),
            ("channel-message", "dev"),
            ("message-edit", "dev"),
            ("message-reaction", "dev"),
            ("message-removal", "dev"),
            ("thread-backlink", "dev"),
            ("thread-summary", "dev"),
            ("thread-reply", "dev/"),
            ("classifier-evidence", "$cha"),
            ("classifier-evidence", "$cha"),
            ("classifier-evidence", "$cha"),
            ("human-override", "$cha"),
        ]
        shown = list(chat.read_frozen(frozen))
        assert texts(shown) == ["a: -", "C", "", "r"]
        assert dict(shown[0].reactions) == {"+1": ("bob",)}
        assert shown[2].removed
        report = dev.log.verify()
        assert report.ok
        assert report.counts["merges"] == 1
        assert not report.counts.get("merges_not_rerun")


def test_a_frozen_thread_does_not_change_with_the_channel(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        a_talk(dev)
        frozen = dev.threads().of(0).freeze()
        before = [record.payload for record in frozen]
        dev.edit(0, "A", by="ada")
        dev.override(2, parent=None, by="ada")
        dev.threads().of(0).reply("eve", "late")
        assert [record.payload for record in frozen] == before
        again = dev.threads().of(0).freeze()
        assert again.name == "dev/frozen/0-2"
        assert texts(chat.read_frozen(again)) == ["A", "", "r", "late"]
        assert dev.log.verify().ok


def test_a_thread_by_people_alone_is_frozen_too(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a", "b", "c")
        dev.override(2, parent=0, by="ada")
        assert texts(chat.read_frozen(dev.threads().of(0).freeze())) == ["a", "c"]
        # Of what nobody said anything: a thread of one message.
        alone = dev.threads().of(1).freeze()
        assert texts(chat.read_frozen(alone)) == ["b"]
        assert dev.log.verify().ok


@pytest.mark.parametrize(
    "params", [{}, {"thread": 1}, {"thread": -1}, {"thread": "0"}, {"thread": 99}, {"thread": True}]
)
def test_what_is_no_thread_is_not_frozen(tmp_path: Path, params: dict[str, object]) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: 0")
        list(chat.threading(dev, classifier=Told()).run())
        decisions = dev.threads().writable()
        said = refused(
            transit.InvalidInputError,
            lambda: dev.log.merge(
                "x", [dev.stream, decisions], policy=freezing.POLICY, params=params
            ),
        )
        assert "thread" in said
        assert "x" not in dev.log


def test_a_frozen_thread_that_leaves_a_message_out_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes the merge, a verifier folds again."""
    with a_channel(tmp_path) as dev:
        a_talk(dev)
        thread = dev.threads().of(0)
        with monkeypatch.context() as patch:
            members = folding.Folding.members
            patch.setattr(folding.Folding, "members", lambda fold, root: members(fold, root)[:-1])
            thread.freeze()
        report = dev.log.verify()
        assert [finding.expected for finding in report.findings] == [
            "the plan of custom:chat-thread"
        ]


def test_many_frozen_threads_are_checked_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in records that the fold takes in: each once, to freeze them and to check them."""
    with a_channel(tmp_path) as dev:
        say(dev, *["m: -", *["n: -" if n % 5 else "n: 0" for n in range(199)]])
        list(chat.threading(dev, classifier=Told()).run())
        taken: list[int] = []
        take = folding.Folding.take

        def counted(fold, count, headers, payloads):  # type: ignore[no-untyped-def]
            taken.append(len(payloads))
            take(fold, count, headers, payloads)

        monkeypatch.setattr(folding.Folding, "take", counted)
        threads = list(dev.threads())
        taken.clear()
        for thread in threads[:40]:
            thread.freeze()
        assert sum(taken) == 200
        taken.clear()
        report = dev.log.verify()
        assert report.ok
        assert report.counts["merges"] == 40
        assert sum(taken) == 200
        # Another verification reads the bytes again.
        taken.clear()
        assert dev.log.verify().ok
        assert sum(taken) == 200


def test_what_is_frozen_while_the_talk_goes_on_is_checked_with_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_channel(tmp_path) as dev:
        for number in range(20):
            say(dev, f"m{number}: -", f"n: {2 * number}")
            list(chat.threading(dev, classifier=Told()).run())
            dev.threads().of(2 * number).freeze()
        taken: list[int] = []
        take = folding.Folding.take

        def counted(fold, count, headers, payloads):  # type: ignore[no-untyped-def]
            taken.append(len(payloads))
            take(fold, count, headers, payloads)

        monkeypatch.setattr(folding.Folding, "take", counted)
        assert dev.log.verify().ok
        # A frame's chunk is read whole, wherever a merge ends in it.
        assert sum(taken) <= 60


@pytest.mark.parametrize("earlier", ["channel", "decisions", "both"])
def test_a_thread_is_frozen_as_it_was_after_it_was_frozen_as_it_is(
    tmp_path: Path, earlier: str
) -> None:
    """What was read of later heads says nothing of earlier ones."""
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: 0", "c: 0")
        list(chat.threading(dev, classifier=Told()).run())
        decisions = dev.threads().writable()
        dev.edit(0, "A", by="ada")
        dev.override(2, parent=None, by="ada")
        thread = dev.threads().of(0)
        assert texts(chat.read_frozen(thread.freeze())) == ["A", "b: 0"]
        heads = [
            transit.Position("dev", 3 if earlier == "decisions" else 2),
            transit.Position(decisions.name, 3 if earlier == "channel" else 2),
        ]
        then = dev.log.merge(
            "then", heads, policy=freezing.POLICY, params={"thread": 0},
            metadata={KIND: "thread-frozen"},
        )  # fmt: skip
        first = "A" if earlier == "decisions" else "a: -"
        wanted = [first, "b: 0"] if earlier == "channel" else [first, "b: 0", "c: 0"]
        assert texts(chat.read_frozen(then)) == wanted
        assert dev.log.verify().ok


def test_a_run_that_was_adopted_can_be_frozen(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        a_talk(dev)
        first = dev.threads().of(0).freeze()
        other = chat.threading(dev, classifier=Told({0: None, 1: 0, 2: 1, 3: 2, 4: 3})).rerun()
        list(other.run())
        dev.adopt(other, by="lead")
        assert shape(dev.threads())[0] == [0, 1, 2]
        second = dev.threads().of(0).freeze()
        assert texts(chat.read_frozen(first)) == ["a: -", "C", "", "r"]
        assert texts(chat.read_frozen(second)) == ["a: -", "b: -", "C", "r"]
        assert dev.log.verify().ok


def test_an_auditor_runs_it_again_from_the_bucket_alone(tmp_path: Path) -> None:
    remote = str(tmp_path / "bucket")
    with transit.open(tmp_path / "s", remote=remote) as log:
        dev = chat.channel(log, "dev")
        a_talk(dev)
        dev.threads().of(0).freeze()
        log.seal()
        log.publish()
    report = transit.audit(remote, level="bodies")
    assert report.ok
    assert report.counts["merges"] == 1
    assert not report.counts.get("merges_not_rerun")


def test_another_stream_is_no_frozen_thread(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev, pytest.raises(transit.InvalidInputError, match="no frozen"):
        list(chat.read_frozen(dev.stream))
