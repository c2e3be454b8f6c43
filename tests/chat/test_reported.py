"""Situations that users of other chat systems reported."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import transit
from transit import chat

from .talking import Told, a_channel, say, texts


def a_thread(dev: chat.Channel) -> chat.Thread:
    say(dev, "a: -", "b: -", "c: 0", author="bob")
    list(chat.threading(dev, classifier=Told()).run())
    return dev.threads().of(0)


def test_a_reply_that_is_removed_before_it_was_seen_is_not_unread(tmp_path: Path) -> None:
    """element-hq/element-ios#7876: the count stayed until somebody wrote again."""
    with a_channel(tmp_path) as dev:
        thread = a_thread(dev)
        last = [thread.reply("bob", str(n)) for n in range(3)][-1]
        ada = dev.reader("ada")
        ada.seen(2)
        assert ada.counts() == {0: 3, 1: 1}
        dev.remove(last, by="bob")
        assert ada.counts() == {0: 2, 1: 1}


def test_replies_that_were_deleted_are_not_unread(tmp_path: Path) -> None:
    """RocketChat/Rocket.Chat#24947, GetStream/stream-chat-js#1328."""
    with a_channel(tmp_path) as dev:
        thread = a_thread(dev)
        thread.reply("bob", "gone")
        dev.log.delete("dev/t/0", reason="asked to")
        ada = dev.reader("ada")
        assert ada.counts() == {0: 2, 1: 1}
        assert texts(ada.messages(thread)) == ["a: -", "c: 0"]


def test_reading_a_thread_leaves_the_rest_of_the_channel_unread(tmp_path: Path) -> None:
    """GetStream/stream-chat-android#5836."""
    with a_channel(tmp_path) as dev:
        thread = a_thread(dev)
        say(dev, "undecided", author="eve")
        ada = dev.reader("ada")
        assert ada.unread() == 4
        ada.seen(thread)
        assert ada.counts() == {1: 1, 3: 1}


def test_replies_are_unread_though_their_first_message_was_seen(tmp_path: Path) -> None:
    """arjunattam/vscode-chat#92: on opening the channel its threads counted as read."""
    with a_channel(tmp_path) as dev:
        a_thread(dev).reply("bob", "r")
        dev.reader("ada").seen(2)
    with transit.open(tmp_path / "s") as log:
        assert chat.channel(log, "dev").reader("ada").counts() == {0: 1, 1: 1}


def test_a_thread_that_is_out_of_sight_is_not_counted(tmp_path: Path) -> None:
    """buddyboss/buddyboss-platform#2097: nothing could be done about the count."""
    with a_channel(tmp_path) as dev:
        thread = a_thread(dev)
        thread.reply("bob", "r")
        thread.suppress(by="mod")
        ada = dev.reader("ada")
        assert ada.unread() == 1
        thread.reopen(by="mod")
        assert ada.unread() == 4


def test_counts_are_right_after_messages_were_moved(tmp_path: Path) -> None:
    """rafalp/Misago#432: they were a count, and were off after a merge, a move or a removal."""
    with a_channel(tmp_path) as dev:
        thread = a_thread(dev)
        ada = dev.reader("ada")
        ada.seen(thread)
        dev.override(2, parent=1, by="mod")
        assert ada.counts() == {1: 1}
        merged = dev.merge_threads([dev.threads().of(0), dev.threads().of(1)], by="mod")
        assert (ada.unread(merged), texts(ada.messages(merged))) == (1, ["b: -"])
        dev.remove(1, by="mod")
        assert ada.unread() == 0


def test_a_late_retry_with_another_text_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    """chattocorp/chatto#2241, zulip/zulip#31219: retries, at once and long after."""
    with a_channel(tmp_path, "shared") as dev, ThreadPoolExecutor(4) as pool:
        first = set(pool.map(lambda _: dev.post("a", "pay 10", id="k").offset, range(12)))
        assert first == {0}
        say(dev, *map(str, range(50)))
    with transit.open(tmp_path / "s", mode="shared") as log:
        dev = chat.channel(log, "dev")
        assert dev.post("a", "pay 10", id="k").offset == 0
        with pytest.raises(transit.AlreadyExistsError):
            dev.post("a", "pay 100", id="k")
        assert dev.message(0).text == "pay 10"


def test_the_same_text_said_twice_is_two_messages(tmp_path: Path) -> None:
    """rome-os/rome#211: to take equal texts for a repetition swallows what people say."""
    with a_channel(tmp_path) as dev:
        say(dev, "ok", "ok")
        assert texts(dev.messages()) == ["ok", "ok"]


def test_two_agents_that_count_alike_do_not_swallow_each_others_messages(tmp_path: Path) -> None:
    """sleep2agi/agent-network#575, anthropics/claude-code#53896: messages vanished unseen."""
    with a_channel(tmp_path, "shared") as dev:
        dev.post("agent-1", "found it", id="1")
        with pytest.raises(transit.AlreadyExistsError, match="says something else"):
            dev.post("agent-2", "found it", id="1")


def test_the_same_id_in_a_channel_and_in_a_thread_is_two_messages(tmp_path: Path) -> None:
    """Ids of posts and of replies are apart, as on Slack a broadcast reply is in both."""
    with a_channel(tmp_path) as dev:
        thread = a_thread(dev)
        dev.post("bob", "hello", id="x")
        assert thread.reply("bob", "hello", id="x").stream == "dev/t/0"


def test_an_agent_that_comes_back_sees_what_was_said_meanwhile(tmp_path: Path) -> None:
    """dam-agents/dam#3448: it answered from a picture of its own last turn."""
    with a_channel(tmp_path) as dev:
        thread = a_thread(dev)
        thread.reply("agent", "on it")
        agent = dev.reader("agent")
        agent.seen(thread)
        thread.reply("bob", "wait")
        thread.reply("eve", "no, go on")
        dev.post("bob", "d: 0")
        list(chat.threading(dev, classifier=Told()).run())
        assert texts(agent.messages(dev.threads().of(0))) == ["d: 0", "wait", "no, go on"]


def test_a_conversation_is_handed_to_others_with_its_history(tmp_path: Path) -> None:
    """microsoft/autogen#3365, microsoft/semantic-kernel#12095: a new chat knew nothing of it."""
    with a_channel(tmp_path) as dev:
        say(dev, "one", "two", "three")
        told = {"kind": "channel-root", "channel_id": "dev-2"}
        other = chat.Channel(dev.log, dev.stream.branch("dev-2", at=1, metadata=told))
        other.post("eve", "otherwise")
        assert texts(other.messages()) == ["one", "two", "otherwise"]
        assert texts(dev.messages()) == ["one", "two", "three"]
        assert [each.name for each in chat.channels(dev.log)] == ["dev", "dev-2"]
        other.override(2, parent=0, by="eve")
        assert not list(dev.threads())


def test_to_delete_an_edited_message_leaves_none_of_its_texts_in_sight(tmp_path: Path) -> None:
    """element-hq/element-meta#385: only the original was deleted."""
    with a_channel(tmp_path) as dev:
        thread = a_thread(dev)
        reply = thread.reply("bob", "secret-1")
        dev.edit(reply, "secret-2", by="bob")
        dev.remove(reply, by="bob")
        frozen = thread.freeze()
        shown = [*thread.read(), *chat.read_frozen(frozen), *dev.messages()]
        assert "secret" not in repr(shown)


def test_some_messages_that_follow_are_moved_and_moved_back(tmp_path: Path) -> None:
    """zulip/zulip#23741, Submitty/Submitty#4853: by hand in the database, and for ever."""
    with a_channel(tmp_path) as dev:
        say(dev, "a: -", "b: 0", "c: 0", "d: 0", "e: 0")
        list(chat.threading(dev, classifier=Told()).run())
        moved = dev.threads().of(0).split(at=1, by="mod", messages=[3])
        assert list(moved.members) == [1, 3]
        merged = dev.merge_threads([moved, dev.threads().of(0)], by="mod")
        assert list(merged.members) == [0, 1, 2, 3, 4]
        assert texts(dev.messages()) == ["a: -", "b: 0", "c: 0", "d: 0", "e: 0"]
