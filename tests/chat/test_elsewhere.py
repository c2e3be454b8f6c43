"""What becomes of a channel elsewhere: rebase, restore, export, import, deletion, encryption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from tests.cli.shell import transit as command
from transit import chat

from .talking import Last, Told, a_channel, say, shape, texts

SECRET = "the canary sings"


def a_talk(log: transit.Log) -> chat.Channel:
    """Two threads, an override, a reply, a reader, another run, a frozen thread."""
    dev = chat.channel(log, "dev", purpose="the build")
    say(dev, "a: -", "b: -", "c: 0", f"{SECRET}: 1")
    list(chat.threading(dev, classifier=Told()).run())
    dev.override(2, parent=1, by="ada")
    dev.threads().of(0).reply("bob", "r")
    dev.reader("ada").seen(0)
    dev.set_policy(by="ada", decide_at=0.7)
    list(chat.threading(dev, classifier=Last()).rerun(name="apart").run())
    dev.threads().of(1).freeze()
    return dev


def look(log: transit.Log) -> object:
    """All that a channel shows."""
    dev = chat.channel(log, "dev")
    return (
        texts(dev.messages()),
        shape(dev.threads()),
        texts(dev.threads().of(0)),
        dev.reader("ada").counts(),
        dev.policy.decide_at,
        texts(chat.read_frozen(log.stream("dev/frozen/1"))),
    )


def test_restored_with_its_layer_a_channel_goes_on(tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    with transit.open(tmp_path / "a", remote=remote, durability="os") as log:
        a_talk(log)
        log.publish()
        before = look(log)
    named = ["dev", "dev/t/0", "dev/frozen/1", "$chat/"]
    for place, options in {"b": {}, "c": {"streams": named}}.items():
        transit.restore(remote, tmp_path / place, **options)  # type: ignore[arg-type]
        with transit.open(tmp_path / place, durability="os") as log:
            assert look(log) == before
            dev = chat.channel(log, "dev")
            say(dev, "d: 0")
            # It goes on where it stood, or looks at what it has decided once more.
            list(chat.threading(dev, classifier=Told()).run())
            assert shape(dev.threads()) == {0: [0, dev.stream.next_offset - 1], 1: [1, 2, 3]}


def test_exported_with_its_lineage_a_channel_is_there_elsewhere(tmp_path: Path) -> None:
    with transit.open(tmp_path / "a", durability="os") as log:
        a_talk(log)
        before = look(log)
    exported = command(tmp_path / "a", "export", "--all").out
    made = command(tmp_path / "b", "import", "-", stdin=exported)
    assert made.code == 0, made.err
    with transit.open(tmp_path / "b", durability="os") as log:
        assert look(log) == before
        assert log.verify().ok


def test_after_a_rebase_the_remotes_channel_goes_on_and_ours_is_a_branch(tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    with transit.open(tmp_path / "a", remote=remote, durability="os") as log:
        say(chat.channel(log, "dev"), "a: -", "b: 0")
        list(chat.threading(chat.channel(log, "dev"), classifier=Told()).run())
        log.publish()
    transit.restore(remote, tmp_path / "b")
    with transit.open(tmp_path / "b", remote=remote, durability="os") as log:
        say(chat.channel(log, "dev"), "theirs: 1")
        log.publish()
    with transit.open(tmp_path / "a", durability="os") as log:
        dev = chat.channel(log, "dev")
        say(dev, "ours: 0", "ours too: 2")
        dev.edit(2, "OURS", by="ada")
        list(chat.threading(dev, classifier=Told()).run())
        dev.override(3, parent=None, by="ada")
    with transit.open(tmp_path / "a", remote=remote, durability="os") as log:
        with pytest.raises(transit.FencedError):
            log.publish()
        moved = log.rebase_onto_remote().streams
    with transit.open(tmp_path / "a", remote=remote, durability="os") as log:
        dev = chat.channel(log, "dev")
        assert texts(dev.messages()) == ["a: -", "b: 0", "theirs: 1"]
        assert shape(dev.threads()) == {0: [0, 1]}
        # Offsets are the same in a branch: what was said of ours is said of ours there.
        ours = chat.Channel(log, log.stream(moved["dev"]))
        assert texts(ours.messages()) == ["a: -", "b: 0", "OURS", "ours too: 2"]
        name = moved[f"$chat/decisions/{dev.stream.uid}"]
        decisions = log.layer("chat").stream(name.removeprefix("$chat/"))
        threads = chat.Threads(ours, decisions).refresh()
        assert shape(threads) == {0: [0, 1, 2], 3: [3]}
        assert log.verify().ok


def files(folder: Path) -> Iterator[bytes]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


def test_a_channel_is_deleted_with_all_that_is_about_it(tmp_path: Path) -> None:
    with transit.open(tmp_path / "a", durability="os") as log:
        a_talk(log)
        other = chat.channel(log, "other")
        say(other, "x: -")
        list(chat.threading(other, classifier=Told()).run())
        with pytest.raises(transit.DependentsError, match="dev/t/0"):
            log.delete("dev", reason="asked to")
        gone = log.delete("dev", reason="asked to", cascade=True).streams
        assert {"dev", "dev/t/0", "dev/frozen/1"} <= set(gone)
        assert sum(name.startswith("$chat/") for name in gone) == 4
        log.erase()
        assert not any(SECRET.encode() in data for data in files(tmp_path / "a"))
        assert [each.name for each in chat.channels(log)] == ["other"]
        assert shape(other.threads()) == {0: [0]}
        assert not [each.name for each in log.layer("chat").streams() if "dev" in each.name]
        assert log.verify().ok


def test_one_thread_can_be_held_by_freezing_it(tmp_path: Path) -> None:
    """A frozen thread is a stream that needs the channel: nobody deletes it by accident."""
    with a_channel(tmp_path) as dev:
        say(dev, "a: -")
        list(chat.threading(dev, classifier=Told()).run())
        dev.threads().of(0).freeze()
        with pytest.raises(transit.DependentsError, match="dev/frozen/0"):
            dev.log.delete("dev", reason="asked to")


def test_an_encrypted_channel_has_no_plain_text_anywhere(tmp_path: Path) -> None:
    keyring = transit.Keyring.create(tmp_path / "keys", passphrase="p")
    remote = str(tmp_path / "remote")
    with transit.open(
        tmp_path / "a", remote=remote, durability="os", encrypt="all", keyring=keyring
    ) as log:
        dev = a_talk(log)
        dev.threads().of(1).summarise(f"{SECRET} again", by="x")
        log.publish()
        before = look(log)
    for folder in ("a", "remote"):
        assert not any(SECRET.encode() in data for data in files(tmp_path / folder))
    transit.restore(remote, tmp_path / "b", keyring=keyring)
    with transit.open(tmp_path / "b", durability="os", keyring=keyring) as log:
        assert look(log) == before


def test_a_channel_can_be_read_from_the_bucket_alone(tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    with transit.open(tmp_path / "a", remote=remote, durability="os") as log:
        a_talk(log)
        log.publish()
        before = look(log)
    with transit.open(f"file://{remote}", mode="read") as log:
        assert look(log) == before
        with pytest.raises(transit.ReadOnlyError):
            chat.channel(log, "dev").post("ada", "x")
