"""Posting, editing, reacting, removing; and the same message twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import transit
from transit import chat
from transit.chat.records import KIND

from .talking import a_channel, refused, say, texts


def test_a_message_is_one_record_with_its_words(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        asked = dev.post(
            "ada", "why?", id="m1", name="Ada", headers={"task": "t-1"}, data=[1, None]
        )
        assert (asked.stream, asked.offset, len(dev.stream)) == ("dev", 0, 1)
        assert dict(dev.stream[0].headers) == {
            "kind": "channel-message",
            "author_id": "ada",
            "message_id": "m1",
            "task": "t-1",
        }
        assert dict(dev.stream.metadata) == {"kind": "channel-root", "channel_id": "dev"}
        (message,) = dev.messages()
        assert (message.author, message.name, message.text, message.id) == (
            "ada",
            "Ada",
            "why?",
            "m1",
        )
        assert (message.data, dict(message.headers)) == ([1, None], {"task": "t-1"})
        assert dev.by_id("m1") == dev.message(asked) == dev.message(0) == message


def test_a_channel_is_made_once(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        log = dev.log
        again = chat.channel(log, "dev", purpose="it is there")
        assert again.stream == dev.stream
        assert again.purpose == ""
        chat.channel(log, "ops", purpose="the pager", metadata={"team": "x"})
        assert [(each.name, each.purpose) for each in chat.channels(log)] == [
            ("dev", ""),
            ("ops", "the pager"),
        ]
        log.create("plain")
        assert "plain is no channel" in refused(
            transit.InvalidInputError, lambda: chat.channel(log, "plain")
        )


def test_threads_that_make_a_channel_get_one(tmp_path: Path) -> None:
    with (
        transit.open(tmp_path / "s", durability="os") as log,
        ThreadPoolExecutor(8) as pool,
    ):
        barrier = threading.Barrier(8)

        def make(_: int) -> str:
            barrier.wait()
            return chat.channel(log, "dev").stream.uid

        assert len(set(pool.map(make, range(8)))) == 1


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_the_same_message_twice_is_there_once(tmp_path: Path, mode: str) -> None:
    with a_channel(tmp_path, mode) as dev:
        first = dev.post("ada", "hello", id="m")
        say(dev, "between")
        again = dev.post("ada", "hello", id="m")
        assert (again.offset, again.timestamp) == (first.offset, first.timestamp)
        other = chat.channel(dev.log, "dev")
        assert other.post("ada", "hello", id="m").offset == first.offset
        assert texts(dev.messages()) == ["hello", "between"]


def test_an_id_of_another_message_is_refused(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        dev.post("ada", "hello", id="m")
        for author, text in [("bob", "hello"), ("ada", "other")]:
            with pytest.raises(transit.AlreadyExistsError, match="dev@0 has the id 'm'"):
                dev.post(author, text, id="m")
        assert len(dev.stream) == 1


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_threads_that_post_the_same_messages_double_none(tmp_path: Path, mode: str) -> None:
    with a_channel(tmp_path, mode) as dev, ThreadPoolExecutor(6) as pool:
        barrier = threading.Barrier(6)

        def post(number: int) -> list[int]:
            channel = dev if number % 2 else chat.channel(dev.log, "dev")
            barrier.wait()
            return [channel.post("ada", f"{n}", id=f"m{n}").offset for n in range(60)]

        offsets = list(pool.map(post, range(6)))
        assert all(each == offsets[0] for each in offsets)
        assert sorted(texts(dev.messages()), key=int) == [str(n) for n in range(60)]


def test_a_repeated_post_is_as_durable_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_channel(tmp_path) as dev:
        assert dev.post("ada", "x", id="m").durability == "os"
        assert dev.post("ada", "x", id="m", durability="os").durability == "os"
        synced: list[str] = []
        sync = type(dev.log).sync
        monkeypatch.setattr(
            type(dev.log), "sync", lambda log, level: (synced.append(level), sync(log, level))[1]
        )
        assert dev.post("ada", "x", id="m", durability="local").durability == "local"
        assert synced == ["local"]


def test_many_ids_are_found_again(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        ids = [f"id-{n}" for n in range(3000)]
        bodies = [b'{"text":"x"}'] * 3000
        headers = [{"kind": "channel-message", "author_id": "a", "message_id": i} for i in ids]
        dev.stream.append_many(bodies, headers=headers)
        index = dev.index
        assert [index.find(i) for i in ids] == list(range(3000))
        assert index.find("id-3000") is None


def test_ids_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("index", "once"):
        monkeypatch.setattr(f"transit.chat.{place}.hash_of", lambda _: 5)
    with a_channel(tmp_path) as dev:
        offsets = [dev.post("a", str(n), id=f"m{n}").offset for n in range(200)]
        assert [dev.post("a", str(n), id=f"m{n}").offset for n in range(200)] == offsets


# What is said of a message later


def test_a_message_is_shown_with_all_that_was_said_of_it(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        asked = dev.post("ada", "why dose it not build")
        dev.edit(asked, "why does it not build", by="ada")
        dev.edit(asked, "why does it not build?", by="mod")
        for who in ("bob", "eve", "bob"):
            dev.react(asked, "+1", by=who)
        dev.react(asked, "eyes", by="bob")
        dev.withdraw(asked, "eyes", by="bob")
        dev.withdraw(asked, "+1", by="nobody")
        message = dev.message(asked)
        assert message.text == "why does it not build?"
        assert message.edited
        assert [(edit.author, edit.text) for edit in message.edits] == [
            ("ada", "why does it not build"),
            ("mod", "why does it not build?"),
        ]
        assert dict(message.reactions) == {"+1": ("bob", "eve")}
        assert texts(dev.messages()) == ["why does it not build?"]


def test_a_removed_message_shows_no_text_also_not_an_edited_one(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        asked = dev.post("ada", "secret", data={"a": "secret"})
        dev.edit(asked, "secret too", by="ada")
        dev.remove(asked, by="mod", reason="a secret")
        dev.edit(asked, "secret again", by="ada")
        message = dev.message(asked)
        assert (message.removed, message.removed_by, message.removed_reason) == (
            True,
            "mod",
            "a secret",
        )
        assert "secret" not in repr(message).replace("a secret", "")
        # Nothing was rewritten.
        assert b"secret" in dev.stream[0].payload


def test_what_is_said_of_no_message_is_refused(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        asked = dev.post("ada", "hello")
        edit = dev.edit(asked, "hello!", by="ada")
        for place in (edit, 7, -1):
            with pytest.raises(transit.NotFoundError, match="no message"):
                dev.edit(place, "x", by="ada")
        for wrong in ("0", None, 1.0, True):
            with pytest.raises(transit.InvalidInputError, match="no message"):
                dev.react(wrong, "+1", by="ada")  # type: ignore[arg-type]
        assert len(dev.stream) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda dev: dev.post("", "x"),
        lambda dev: dev.post("ada", ""),
        lambda dev: dev.post("ada", b"x"),
        lambda dev: dev.post("ada", "x", id=""),
        lambda dev: dev.post("ada", "x", headers={KIND: "mine"}),
        lambda dev: dev.post("ada", "x", headers={"message_id": "mine"}),
        lambda dev: dev.edit(0, "", by="ada"),
        lambda dev: dev.edit(0, "x", by=""),
        lambda dev: dev.react(0, "", by="ada"),
        lambda dev: dev.join(""),
        lambda dev: dev.reader(""),
        lambda dev: dev.reader("x" * 500),
    ],
)
def test_bad_input_writes_nothing(tmp_path: Path, call: object) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "hello")
        with pytest.raises(transit.InvalidInputError):
            call(dev)  # type: ignore[operator]
        assert len(dev.stream) == 1


def test_who_is_there(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        dev.join("u1", "Ada")
        dev.join("u2")
        dev.rename("u1", "Ada L.")
        dev.leave("u2")
        dev.rename("u2", "gone")
        assert dev.participants == {"u1": "Ada L."}
        dev.join("u2")
        assert dev.participants == {"u1": "Ada L.", "u2": "gone"}


def test_records_of_others_in_a_channel_are_passed_over(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "one")
        for headers, payload in [
            ({}, b"plain"),
            ({"kind": "message-edit", "author_id": "x"}, b"no json"),
            ({"kind": "message-edit", "author_id": "x"}, b'{"of": 77, "text": "x"}'),
            ({"kind": "message-edit", "author_id": "x"}, b'{"of": "0"}'),
            ({"kind": "participant", "author_id": "x"}, b"[]"),
            ({"kind": "thread-backlink"}, b"{}"),
            ({"kind": "channel-message", "author_id": "x"}, b"\xff not json"),
            ({"kind": "message-removal"}, b"[" * 10_000),
        ]:
            dev.stream.append(payload, headers=headers)
        say(dev, "two")
        # What is of a kind that is shown is shown, whatever it says.
        assert texts(dev.messages()) == ["one", "[]", "\ufffd not json", "two"]
        assert not list(dev.threads().all())


def test_a_channel_that_was_trimmed_goes_on(tmp_path: Path) -> None:
    with a_channel(tmp_path) as dev:
        say(dev, "one", "two", "three")
        dev.stream.trim(before=2)
        again = chat.channel(dev.log, "dev")
        assert texts(again.messages()) == ["three"]
        with pytest.raises(transit.NotFoundError):
            again.message(0)


def test_a_branch_of_a_channel_has_its_messages_and_what_was_said_of_them(tmp_path: Path) -> None:
    """Records name messages by offset, which is the same in a branch."""
    with a_channel(tmp_path) as dev:
        asked = dev.post("ada", "helo")
        dev.edit(asked, "hello", by="ada")
        branch = dev.stream.branch("copy", metadata=dict(dev.stream.metadata))
        copy = chat.Channel(dev.log, branch)
        assert texts(copy.messages()) == ["hello"]
        copy.edit(0, "hello!", by="eve")
        assert texts(copy.messages()) == ["hello!"]
        assert texts(dev.messages()) == ["hello"]
