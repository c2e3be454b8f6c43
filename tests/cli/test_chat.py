"""`transit chat`: talking in channels, reading them, and what a reader has seen."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from rigs.server.serving import served
from transit import chat

from .conftest import Command
from .shell import at_terminal, running
from .shell import transit as shell

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b2J and\nmore\u202e\r\x00end"
STEERING = (b"\x1b]", b"\x07", b"\x9b", b"\x00", "\u202e".encode(), b"\x1b[31m")


@pytest.fixture(params=["folder", "server"])
def room(
    request: pytest.FixtureRequest,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Command]:
    """The command with a channel `dev` of five messages, on a folder or on a server's store."""
    path = tmp_path / "store"
    with transit.open(path, durability="os") as log:
        dev = chat.channel(log, "dev", purpose="the build")
        dev.post("ada", "why does the wheel not build?", name="Ada L.")
        dev.post("cleo", "lunch at one?")
        dev.post("bob", "ada: which python?", id="m-2", answers=0)
        dev.edit(1, "lunch at two?", by="cleo")
        dev.react(1, "+1", by="bob")
        dev.post("dan", "spam")
        dev.remove(5, by="mod", reason="off topic")
        dev.post("eve", "who broke the report?")
        if request.param == "server":
            with served(log) as url:
                monkeypatch.setenv("TRANSIT_STORE", url)
                yield command
                return
    yield command


def test_what_is_posted_is_read(command: Command) -> None:
    done = command("chat", "post", "dev", "ada", "hello", "--purpose", "the build")
    assert done.code == 0, done.err
    assert (done.rows[0]["message"], done.rows[0]["offset"]) == ("dev@0", 0)
    said = b"two\nlines\n"
    words = ("--name", "Bob B.", "--answers", "0", "--header", "turn=3", "--id", "x")
    assert command("chat", "post", "dev", "bob", "-", *words, stdin=said).code == 0
    first, second = command("chat", "read", "dev").rows
    assert (first["author"], first["text"], first["thread"], first["decided"]) == (
        "ada", "hello", None, False,
    )  # fmt: skip
    assert {key: second[key] for key in ("text", "name", "answers", "headers", "id")} == {
        "text": "two\nlines", "name": "Bob B.", "answers": 0, "headers": {"turn": "3"}, "id": "x",
    }  # fmt: skip
    (row,) = command("chat", "channels").rows
    assert (row["channel"], row["messages"], row["people"], row["purpose"]) == (
        "dev", 2, 2, "the build",
    )  # fmt: skip
    assert command("chat", "channels", "x").rows == []


def test_posting_again_is_harmless_and_another_text_is_refused(room: Command) -> None:
    words = ("chat", "post", "dev", "ada", "once", "--id", "a-1")
    assert room(*words).rows[0]["offset"] == room(*words).rows[0]["offset"]
    done = room("chat", "post", "dev", "ada", "twice", "--id", "a-1")
    assert (done.code, done.error["kind"]) == (4, "already_exists")


def test_edits_reactions_and_removals_are_shown(room: Command) -> None:
    rows = room("chat", "read", "dev").rows
    assert [row["offset"] for row in rows] == [0, 1, 2, 5, 7]
    lunch, spam = rows[1], rows[3]
    assert lunch["text"] == "lunch at two?"
    assert [each["text"] for each in lunch["edits"]] == ["lunch at two?"]
    assert lunch["reactions"] == {"+1": ["bob"]}
    assert (spam["removed"], spam["removed_by"], spam["text"]) == (True, "mod", "")
    shown = room("chat", "read", "dev", "--format", "table").out.decode()
    assert "lunch at two?  edited · +1 1" in shown
    assert "(removed by mod: off topic)" in shown
    assert "spam" not in shown


def test_a_part_is_read(room: Command) -> None:
    def offsets(*words: object) -> list[int]:
        done = room("chat", "read", "dev", *words)
        assert done.code == 0, done.err
        return [row["offset"] for row in done.rows]

    assert offsets("--from", "2") == [2, 5, 7]
    assert offsets("--from", "1", "--to", "5") == [1, 2]
    assert offsets("--last", "2") == [5, 7]
    assert offsets("--last", "0") == []
    assert offsets("--from", "1h") == [0, 1, 2, 5, 7]
    assert offsets("--from", "2100-01-01") == []
    assert offsets("--to", "1h") == []
    assert offsets("--from", "99") == []


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["read", "none"], 3, "chat channels"),
        (["read", "plain"], 2, "chat channels"),
        (["post", "none", "ada", "x"], 3, "--purpose"),
        (["post", "dev", "ada", ""], 2, ""),
        (["post", "dev", "ada", "x", "--answers", "3"], 3, "chat read dev"),
        (["post", "dev", "ada", "x", "--header", "kind=y"], 2, ""),
        (["post", "dev", b"\xff".decode("utf-8", "surrogateescape"), "x"], 2, "--help"),
        (["read", "dev", "--timeout", "1s"], 2, "--help"),
        (["read", "dev", "--from", "soon"], 2, "--help"),
        (["reply", "dev@3", "ada", "x"], 3, "chat read dev"),
        (["reply", "dev", "ada", "x"], 2, "--help"),
        (["seen", "dev@-9", "ada"], 3, "chat read dev"),
        (["unread", "none", "ada"], 3, "chat channels"),
    ],
)
def test_what_cannot_be_is_told_with_what_to_type(
    room: Command, words: list[str], code: int, hint: str
) -> None:
    assert room("create", "plain").code == 0
    done = room("chat", *words)
    assert done.code == code, done.err
    assert hint in done.error["hint"]


def test_text_that_is_none_is_refused(room: Command) -> None:
    done = room("chat", "post", "dev", "ada", "-", stdin=b"caf\xe9")
    assert done.code == 2
    assert "byte 3" in done.error["message"]


def test_replies_are_in_a_branch_and_are_read_with_their_thread(room: Command) -> None:
    (row,) = room("chat", "reply", "dev@0", "bob", "3.14", "--id", "r").rows
    assert (row["message"], row["thread"]) == ("dev/t/0@1", "dev@0")
    again = room("chat", "reply", "dev@0", "bob", "3.14", "--id", "r").rows[0]
    assert again["message"] == row["message"]
    # A reply names the thread as well as its first message does.
    assert room("chat", "reply", "dev/t/0@-1", "ada", "thanks").rows[0]["message"] == "dev/t/0@2"
    shown = room("chat", "show", "dev/t/0@2").rows
    assert shown[0]["replies"] == 2
    assert [each["text"] for each in shown[1:]] == [
        "why does the wheel not build?", "3.14", "thanks",
    ]  # fmt: skip
    assert "↳ 2 replies" in room("chat", "read", "dev", "--format", "table").out.decode()


def test_what_was_seen_is_not_unread(room: Command) -> None:
    assert room("chat", "reply", "dev@0", "bob", "3.14").code == 0
    for offset in (1, 2, 7):
        assert room("chat", "override", f"dev@{offset}", "--starts", "--by", "x").code == 0
    counts = {row["thread"]: row["unread"] for row in room("chat", "unread", "dev", "ada").rows}
    assert counts == {"dev@0": 1, "dev@1": 1, "dev@2": 1, "dev@7": 1}
    assert room("chat", "unread", "dev", "ada").rows[0]["next"] == "dev/t/0@1"
    (row,) = room("chat", "seen", "dev@1", "ada").rows
    assert (row["unread"], row["unread_all"]) == (0, 3)
    (row,) = room("chat", "seen", "dev@0", "ada", "--thread").rows
    assert (row["unread"], row["unread_all"]) == (0, 2)
    table = room("chat", "unread", "dev", "ada", "--format", "table").out.decode()
    assert "dev@7" in table
    assert "who broke the report?" in table


def test_no_text_steers_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with transit.open(path, durability="os") as log:
        dev = chat.channel(log, "dev", purpose=HOSTILE)
        dev.post("e\x1b]0;x\x07vil", HOSTILE, name=HOSTILE)
        dev.react(0, HOSTILE, by=HOSTILE)
        dev.threads().of(0).reply("ada", HOSTILE)
        dev.threads().of(0).summarise(HOSTILE, by=HOSTILE)
        dev.override(0, parent=None, by=HOSTILE, reason=HOSTILE)
        dev.threads().of(0).resolve(by=HOSTILE, reason=HOSTILE)
        dev.threads().of(0).freeze(reason=HOSTILE, by=HOSTILE)
        dev.post("ada", "gone")
        dev.remove(dev.stream.next_offset - 1, by=HOSTILE, reason=HOSTILE)
    for words in (
        ["channels"], ["read", "dev"], ["threads", "dev"], ["show", "dev@0"],
        ["frozen", "dev/frozen/0"], ["unread", "dev", "x"],
    ):  # fmt: skip
        for done in (
            at_terminal(path, "chat", *words),
            shell(path, "chat", *words, "--format", "table"),
        ):
            assert done.code == 0, done.out
            assert not [each for each in STEERING if each in done.out], words
        rows = shell(path, "chat", *words).rows
        assert rows


def test_a_terminal_shows_threads_in_colours_and_days(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with transit.open(path, durability="os") as log:
        dev = chat.channel(log, "dev")
        dev.post("ada", "first\tand " + "long " * 40)
        dev.post("bob", "second 谢谢" * 30)
        dev.override(1, parent=0, by="x")
    shown = at_terminal(path, "chat", "read", "dev").out.decode()
    assert "── 20" in shown
    assert "\x1b[36m● 0" in shown
    assert "\x1b[36m│ 0" in shown
    assert "\x1b" not in at_terminal(path, "chat", "read", "dev", "--no-color").out.decode()
    lines = at_terminal(path, "chat", "read", "dev", "--no-color").out.decode().splitlines()
    assert max(map(len, lines)) <= 100
    empty = at_terminal(path, "chat", "post", "new", "ada", "x", "--purpose", "p")
    assert empty.code == 0
    assert "`transit chat run new`" in at_terminal(path, "chat", "read", "new").out.decode()


def test_long_texts_are_folded_unless_they_are_wanted_whole(room: Command) -> None:
    text = "\n".join(f"line {number}" for number in range(60))
    assert room("chat", "post", "dev", "ada", "-", stdin=text.encode()).code == 0
    folded = room("chat", "read", "dev", "--last", "1", "--format", "table").out.decode()
    assert "line 39" in folded
    assert "line 40" not in folded
    assert "(--full)" in folded
    whole = room("chat", "read", "dev", "--last", "1", "--full", "--format", "table").out.decode()
    assert "line 59" in whole


@pytest.mark.parametrize("over", ["folder", "server"])
def test_what_comes_is_printed_while_it_is_followed(tmp_path: Path, over: str) -> None:
    path = tmp_path / "store"
    with transit.open(path, durability="os") as log, served(log) as url:
        dev = chat.channel(log, "dev")
        dev.post("ada", "before")
        lines: list[bytes] = []
        words = ("chat", "read", "dev", "--follow", "--store", path if over == "folder" else url)
        with (
            running(path, *words) as one,
            running(path, *words, "--format", "table") as other,
        ):
            assert one.stdout is not None
            assert other.stdout is not None
            assert json.loads(one.stdout.readline())["text"] == "before"
            other.stdout.readline()
            assert b"before" in other.stdout.readline()
            dev.post("bob", "now")
            dev.edit(1, "then", by="bob")
            dev.react(1, "+1", by="ada")
            dev.remove(1, by="mod", reason="no")
            dev.override(1, parent=0, by="ada", reason="so")
            dev.threads().of(0).reply("cleo", "a reply")
            rows = [json.loads(one.stdout.readline()) for _ in range(6)]
            assert [row["kind"] for row in rows[:4]] == ["message", "edit", "reaction", "removal"]
            assert {row["kind"] for row in rows[4:]} == {"override", "reply"}
            # How many lines depends on when the reply came: the first message may count it.
            for line in other.stdout:
                lines.append(line)
                if b"a reply" in b"".join(lines) and b"said by" in b"".join(lines):
                    break
            for process in (one, other):
                process.terminate()
                process.communicate()
    said = b"".join(lines).decode()
    for each in ("1 edited by bob: then", "1 +1 given by ada", "1 removed by mod: no",
                 "1 answers 0 · said by ada: so", "↳ 0: cleo: a reply"):  # fmt: skip
        assert each in said


def test_two_that_follow_see_the_same(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with transit.open(path, durability="os") as log, served(log) as url:
        dev = chat.channel(log, "dev")
        with (
            running(path, "chat", "read", "dev", "-f", "--store", url) as one,
            running(path, "chat", "read", "dev", "-f", "--store", url) as other,
        ):
            writer = threading.Thread(
                target=lambda: [dev.post("ada", f"{number}") for number in range(20)]
            )
            writer.start()
            for process in (one, other):
                assert process.stdout is not None
                rows = [json.loads(process.stdout.readline()) for _ in range(20)]
                assert [row["text"] for row in rows] == [f"{number}" for number in range(20)]
            writer.join()
            for process in (one, other):
                process.terminate()
                process.communicate()


def test_a_reader_gives_up_in_time(room: Command) -> None:
    done = room("chat", "read", "dev", "--follow", "--timeout", "50ms")
    assert (done.code, done.error["kind"]) == (124, "timeout")
    assert len(done.rows) == 5


def test_names_of_channels_are_completed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with transit.open(path, durability="os") as log:
        chat.channel(log, "dev")
        log.create("deed")
    asked = {
        "_TRANSIT_COMPLETE": "bash_complete", "COMP_WORDS": "transit chat read de",
        "COMP_CWORD": "3",
    }  # fmt: skip
    assert shell(path, env=asked).out.split() == [b"plain,dev"]
