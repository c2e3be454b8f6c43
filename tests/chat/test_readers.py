"""What each reader has seen, for each thread apart."""

from __future__ import annotations

from pathlib import Path

import transit
from transit import chat

from .talking import Told, a_channel, say, shape, texts


def a_talk(dev: chat.Channel) -> None:
    say(dev, "a: -", "b: -", "c: 0", "d: 1", "e: 0", author="bob")
    list(chat.threading(dev, classifier=Told()).run())


def test_a_mark_in_one_thread_says_nothing_of_another(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        a_talk(dev)
        ada = dev.reader("ada")
        assert ada.counts() == {0: 3, 1: 2}
        assert ada.unread() == 5
        ada.seen(2)
        thread = dev.threads().of(0)
        assert ada.counts() == {0: 1, 1: 2}
        assert (ada.position(thread), ada.position(dev.threads().of(1))) == (3, 0)
        assert texts(ada.messages(thread)) == ["e: 0"]
        ada.seen(dev.threads().of(1))
        assert ada.counts() == {0: 1}
        assert dev.reader("eve").counts() == {0: 3, 1: 2}


def test_marks_are_there_in_another_process_and_never_go_back(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        a_talk(dev)
        dev.reader("ada").seen(4)
        dev.reader("ada").seen(0)
    with transit.open(tmp_path / "s") as log:
        ada = chat.channel(log, "dev").reader("ada")
        assert ada.counts() == {1: 2}
        assert list(chat.readers(chat.channel(log, "dev"))) == ["ada"]


def test_ones_own_messages_and_what_is_no_message_are_not_unread(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        a_talk(dev)
        dev.remove(2, by="mod")
        assert dev.reader("bob").unread() == 0
        assert dev.reader("ada").counts() == {0: 2, 1: 2}
        dev.edit(0, "A", by="bob")
        dev.react(0, "+1", by="eve")
        assert dev.reader("ada").counts() == {0: 2, 1: 2}


def test_what_was_seen_stays_seen_whatever_thread_it_is_in(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        a_talk(dev)
        ada = dev.reader("ada")
        ada.seen(dev.threads().of(0))
        merged = dev.merge_threads([dev.threads().of(0), dev.threads().of(1)], by="mod")
        assert ada.unread(merged) == 2
        dev.override(4, parent=3, by="mod")
        merged.split(at=1, by="mod")
        assert shape(dev.threads()) == {0: [0, 2], 1: [1, 3, 4]}
        assert ada.counts() == {1: 2}


def test_replies_are_marked_in_their_branch(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        a_talk(dev)
        thread = dev.threads().of(0)
        first = thread.reply("bob", "r1")
        thread.reply("bob", "r2")
        thread.reply("ada", "mine")
        ada = dev.reader("ada")
        assert ada.unread(thread) == 5
        ada.seen(first)
        assert texts(ada.messages(thread)) == ["a: -", "c: 0", "e: 0", "r2"]
        ada.seen(thread)
        assert ada.unread(thread) == 0
        thread.reply("bob", "r4")
        assert texts(ada.messages(thread)) == ["r4"]


def test_a_message_of_which_nothing_was_decided_can_be_marked(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "alone", author="bob")
        ada = dev.reader("ada")
        assert ada.unread(dev.threads().of(0)) == 1
        ada.seen(0)
        assert ada.unread(dev.threads().of(0)) == 0


def test_names_of_readers_are_any_text(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        a_talk(dev)
        names = ["ada/../eve", "$x", "ä ö", "@U1:example.org", "%2F"]
        for name in names:
            dev.reader(name).seen(0)
        assert list(chat.readers(dev)) == names
        assert [dev.reader(name).counts()[0] for name in names] == [2] * 5


def test_foreign_records_in_a_readers_stream_do_no_harm(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        a_talk(dev)
        dev.reader("ada").seen(0)
        stream = dev.log.layer("chat").stream(f"readers/{dev.stream.uid}/ada")
        for payload in (b"x", b'{"thread": 0, "marked": [-1, 99999999999]}', b'{"thread": "0"}'):
            stream.append(payload)
        assert dev.reader("ada").counts() == {0: 2, 1: 2}


def test_marking_again_writes_nothing(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        a_talk(dev)
        thread = dev.threads().of(0)
        thread.reply("bob", "r")
        ada = dev.reader("ada")
        ada.seen(thread)
        stream = dev.log.layer("chat").stream(f"readers/{dev.stream.uid}/ada")
        count = len(stream)
        ada.seen(thread)
        ada.seen(2)
        assert len(stream) == count
