"""`transit chat`: imports of other systems, the classifiers that are there, and comparisons."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

import transit
from rigs.server.serving import served

from .conftest import Command
from .shell import at_terminal
from .shell import transit as shell

LOG = """\
=== ada has joined #dev
[12:00] <ada> why does the wheel not build?
[12:01] <bob> ada: which python?
[12:02] <ada> bob: 3.14
[12:03] <cleo> lunch?
[12:04] <dan> cleo: at one
"""
MATRIX = [
    {"type": "m.room.message", "event_id": "$1", "sender": "@ada:x", "room_id": "!r:x",
     "origin_server_ts": 1_700_000_000_000, "content": {"msgtype": "m.text", "body": "hello"}},
    {"type": "m.room.message", "event_id": "$2", "sender": "@bob:x", "room_id": "!r:x",
     "origin_server_ts": 1_700_000_001_000,
     "content": {"msgtype": "m.text", "body": "hi",
                 "m.relates_to": {"m.in_reply_to": {"event_id": "$1"}}}},
]  # fmt: skip


@pytest.fixture
def irc(tmp_path: Path) -> Path:
    path = tmp_path / "2004-11-15.txt"
    path.write_text(LOG)
    return path


@pytest.fixture
def imported(command: Command, irc: Path) -> Command:
    """The command with a channel `dev` of an imported log."""
    done = command("chat", "import", irc, "--channel", "dev", "--date", "2004-11-15")
    assert done.code == 0, done.err
    return command


def test_an_import_says_what_it_did_and_repeats_without_harm(command: Command, irc: Path) -> None:
    words = ("chat", "import", irc, "--channel", "dev", "--date", "2004-11-15", "--prefix", "irc/")
    channel, total = command(*words).rows
    assert channel == {"kind": "channel", "channel": "irc/dev", "added": 6}
    assert (total["kind"], total["new"], total["known"], total["bad"]) == ("imported", 6, 0, 0)
    total = command(*words).rows[-1]
    assert (total["new"], total["known"]) == (0, 6)
    rows = command("chat", "read", "irc/dev").rows
    assert [row["author"] for row in rows[1:4]] == ["ada", "bob", "ada"]
    assert rows[1]["time"].startswith("2004-11-15T12:00:00")
    assert rows[0]["system"] is True


def test_over_a_server_too(
    command: Command, irc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transit.open(tmp_path / "store", durability="os") as log, served(log) as url:
        monkeypatch.setenv("TRANSIT_STORE", url)
        done = command("chat", "import", irc, "--channel", "dev", "--date", "2004-11-15")
        assert done.rows[-1]["new"] == 6, done.err
        assert len(command("chat", "run", "dev", "--classifier", "rule").rows) == 6


def test_bad_records_end_it_or_are_told(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "room.jsonl"
    lines = [json.dumps(each) for each in MATRIX]
    path.write_text("\n".join([lines[0], '{"type": broken\x1b[31m', lines[1]]) + "\n")
    words = ("chat", "import", path, "--from", "matrix")
    done = command(*words)
    assert done.code == 2
    assert "room.jsonl:2" in done.error["message"]
    assert "--skip-bad" in done.error["message"]
    # What came before it is there, and told.
    assert done.rows[-1]["new"] == 1
    done = command(*words, "--skip-bad")
    (bad,) = [row for row in done.rows if row["kind"] == "bad"]
    assert bad["place"].endswith("room.jsonl:2")
    assert (done.rows[-1]["new"], done.rows[-1]["known"], done.rows[-1]["bad"]) == (1, 1, 1)
    shown = command(*words, "--skip-bad", "--format", "table").out
    assert b"room.jsonl:2" in shown
    assert b"\x1b" not in shown


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["none.txt"], 3),
        (["2004-11-15.txt", "--date", "soon"], 2),
        (["2004-11-15.txt", "--from", "none"], 2),
        (["2004-11-15.txt", "--from", "slack"], 2),
        (["unknown.bin"], 2),
    ],
)
def test_what_cannot_be_imported_is_told(
    command: Command, irc: Path, tmp_path: Path, words: list[str], code: int
) -> None:
    (tmp_path / "unknown.bin").write_bytes(bytes(range(256)))
    done = command("chat", "import", *words)
    assert done.code == code, done.err
    assert done.error["message"]


def test_no_file_steers_a_terminal(tmp_path: Path) -> None:
    folder = "gen\x1b[31meral\x1b]0;title\x07"
    with zipfile.ZipFile(tmp_path / "slack.zip", "w") as archive:
        archive.writestr("channels.json", json.dumps([{"id": "C1", "name": folder}]))
        archive.writestr("users.json", "[]")
        archive.writestr(f"{folder}/2020-01-01.json", '[{"type": "message", "ts": "\x1b[31m"')
    store = tmp_path / "store"
    for words, code in ((["slack.zip"], 2), (["slack.zip", "--skip-bad"], 0)):
        done = at_terminal(store, "chat", "import", *words, "--no-color")
        assert done.code == code, done.out
        assert b"2020-01-01.json" in done.out
        assert b"\x1b[31m" not in done.out
        assert b"\x1b]" not in done.out
        assert b"\x07" not in done.out


def test_a_terminal_shows_a_word_of_what_came(tmp_path: Path, irc: Path) -> None:
    path = tmp_path / "store"
    done = at_terminal(path, "chat", "import", irc, "--channel", "dev", "--date", "2004-11-15")
    assert done.code == 0
    assert "6 records new, `transit chat run dev` finds the threads" in done.out.decode()


@pytest.mark.parametrize("classifier", ["linear", "rule"])
def test_classifiers_that_are_there_find_threads(imported: Command, classifier: str) -> None:
    done = imported("chat", "threads", "dev", "--run", classifier, "--decide-at", "0")
    assert done.code == 0, done.err
    assert {1: 3, 4: 2}.items() <= {row["offset"]: row["messages"] for row in done.rows}.items()


def test_the_platforms_word_is_a_classifier(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "room.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in MATRIX))
    assert command("chat", "import", path, "--channel", "!r:x").code == 0
    (channel,) = command("chat", "channels").rows
    rows = command("chat", "run", channel["channel"], "--classifier", "source:matrix").rows
    assert [(row["parent"], row["classifier"]) for row in rows] == [
        (None, "source:matrix"), (0, "source:matrix"),
    ]  # fmt: skip


def test_a_policy_says_what_runs_without_a_word(imported: Command) -> None:
    (row,) = imported("chat", "policy", "dev").rows
    assert (row["classifier"], row["decide_at"], row["by"]) == ("linear", 0.8, "")
    words = ("--classifier", "rule", "--decide-at", "0.25", "--by", "ada")
    assert imported("chat", "policy", "dev", *words).code == 0
    (row,) = imported("chat", "policy", "dev").rows
    assert (row["classifier"], row["decide_at"], row["by"]) == ("rule", 0.25, "ada")
    rows = imported("chat", "run", "dev").rows
    assert {(each["classifier"], each["threshold"]) for each in rows} == {("rule", 0.25)}
    assert imported("chat", "policy", "dev", "--by", "ada").code == 2
    assert imported("chat", "policy", "dev", "--classifier", "x").code == 2


def test_a_run_is_compared_with_what_is_in_force(imported: Command) -> None:
    assert imported("chat", "run", "dev", "--classifier", "rule", "--decide-at", "0").code == 0
    words = ("--classifier", "rule", "--decide-at", "0", "--name", "same")
    assert imported("chat", "rerun", "dev", *words).code == 0
    (row,) = imported("chat", "compare", "dev", "same").rows
    assert (row["run"], row["messages"], row["answers"], row["threads"]) == ("same", 6, 0, 0)
    assert row["link"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert row["exact"]["f1"] == row["vi"] == row["one_to_one"] == 1.0
    assert imported("chat", "override", "dev@5", "--starts", "--by", "x").code == 0
    (row,) = imported("chat", "compare", "dev", "same").rows
    assert (row["answers"], row["differing"]) == (1, [5])
    shown = imported("chat", "compare", "dev", "same", "--format", "table").out.decode()
    assert "precision 83.3 %" in shown


def test_a_run_is_compared_with_an_annotation(command: Command, tmp_path: Path) -> None:
    lines = [f"[12:{number % 60:02}] <ada{number}> hello {number}" for number in range(1000)]
    lines += ["[13:00] <bob> who?", "[13:01] <cleo> bob: me", "[13:02] <dan> bob: not me"]
    log, gold = tmp_path / "log.txt", tmp_path / "log.annotation.txt"
    log.write_text("\n".join(lines) + "\n")
    gold.write_text("1000 1000 -\n1000 1001 -\n1000 1002 -\n")
    words = ("--channel", "dev", "--date", "2004-11-15", "--from", "irc")
    assert command("chat", "import", log, *words).code == 0
    assert command("chat", "run", "dev", "--classifier", "rule", "--decide-at", "0").code == 0
    (row,) = command("chat", "compare", "dev", "--gold", gold).rows
    assert (row["messages"], row["answers"]) == (3, 0)
    assert row["link"]["f1"] == 1.0
    assert command("chat", "override", "dev@1002", "--answers", "1001", "--by", "x").code == 0
    (row,) = command("chat", "compare", "dev", "--gold", gold).rows
    assert row["differing"] == [1002]
    gold.write_text("what\n")
    done = command("chat", "compare", "dev", "--gold", gold)
    assert (done.code, "log.annotation.txt:1" in done.error["message"]) == (2, True)


def test_formats_are_those_of_the_room() -> None:
    # Imported here: the room has readers that the others need not.
    from transit.chat.imports import FORMATS
    from transit.cli.chats import importing

    assert ("auto", *FORMATS) == importing.FORMATS
    assert shell(None, "chat", "import", "--help").code == 0
