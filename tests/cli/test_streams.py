"""`transit branch`, `merge`, `streams`, `show` and `completion`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import transit as engine
from transit.cli.main import VERBS

from .conftest import Command
from .shell import argv, environment, transit


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with engine.open(tmp_path / "store") as log:
        stream = log.create("a", metadata={"n": 1, "x": None})
        for number in range(4):
            stream.append(b"%d" % number, timestamp=10**18 + number)
        log.create("empty")
    return tmp_path / "store"


# branch


@pytest.mark.parametrize(
    ("place", "fork"), [("a", 3), ("a@0", 0), ("a@-1", 3), ("a@-4", 0), ("empty", None)]
)
def test_branch_inherits_up_to_the_offset(
    place: str, fork: int | None, command: Command, store: Path
) -> None:
    done = command("branch", place, "new", "--meta", "reason=retry")
    assert done.rows == [
        {
            "stream": "new",
            "kind": "branch",
            "parent": place.partition("@")[0],
            "fork_offset": fork,
            "records": 0 if fork is None else fork + 1,
            "metadata": {"reason": "retry"},
        }
    ]
    with engine.open(store, mode="read") as log:
        assert len(log.stream("new")) == done.rows[0]["records"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("a@4", "n"), 2), (("a@-5", "n"), 2), (("a@0:1", "n"), 2), (("none", "n"), 3),
        (("a", "empty"), 4), (("empty@0", "n"), 2), (("a", "$n"), 2),
    ],
)  # fmt: skip
def test_branch_refuses(words: tuple[str, ...], code: int, command: Command, store: Path) -> None:
    assert command("branch", *words).code == code
    assert len(command("streams").rows) == 2


# merge


@pytest.fixture
def forked(store: Path) -> Path:
    with engine.open(store) as log:
        for number, name in enumerate(("b", "c")):
            branch = log.stream("a").branch(name, at=1)
            branch.append(name.encode(), timestamp=2 * 10**18 - number)
    return store


@pytest.mark.parametrize(
    ("policy", "words", "payloads"),
    [
        ("append", (), "01bc"),
        ("interleave", (), "01cb"),
        ("select", ("--param", "selected=c"), "01c"),
        ("base", (), "01"),
        ("append", ("--base", "a@0"), "01bc"),
    ],
)
def test_merge_makes_what_the_policy_says(
    policy: str, words: tuple[str, ...], payloads: str, command: Command, forked: Path
) -> None:
    planned = command("merge", "m", "b", "c", "--policy", policy, *words, "--dry-run")
    assert planned.rows[0]["dry_run"] is True
    assert command("show", "m").code == 3
    done = command("merge", "m", "b", "c", "--policy", policy, *words, "--meta", "k=v")
    assert done.rows == [{**planned.rows[0], "dry_run": False}]
    assert done.rows[0]["records"] == sum(span["count"] for span in done.rows[0]["spans"])
    read = command("read", "m").rows
    assert "".join(row["payload"] for row in read) == payloads
    shown = command("show", "m").rows[0]
    assert (shown["policy"], shown["metadata"]) == (policy, {"k": "v"})


def test_merge_takes_heads_at_offsets(command: Command, forked: Path) -> None:
    done = command("merge", "m", "b", "a@-2", "--policy", "append")
    assert done.rows[0]["base"] == {"stream": "a", "offset": 1}
    assert [row["payload"] for row in command("read", "m").rows] == ["0", "1", "b", "2"]


def test_merge_with_the_same_id_finds_the_same_stream(command: Command, forked: Path) -> None:
    words = ("merge", "m", "b", "c", "--policy", "append", "--merge-id", "once")
    assert command(*words).rows == command(*words).rows
    assert command("merge", "n", *words[2:]).code == 4


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("m", "b", "c"), 2), (("m", "b", "--policy", "append"), 2),
        (("m", "b", "b", "--policy", "append"), 2), (("m", "b", "x", "--policy", "append"), 3),
        (("m", "b", "c", "--policy", "odd"), 3), (("m", "b", "c@0:1", "--policy", "append"), 2),
        (("m", "b", "c", "--policy", "select"), 2), (("m", "b", "c@9", "--policy", "append"), 2),
        (("m", "b", "c", "--policy", "append", "--base", "a@2"), 2),
        (("a", "b", "c", "--policy", "append"), 4),
        (("m", "b", "c", "--policy", "fast-forward"), 10),
    ],
)  # fmt: skip
def test_merge_refuses(words: tuple[str, ...], code: int, command: Command, forked: Path) -> None:
    assert command("merge", *words).code == code
    assert len(command("streams").rows) == 4


# streams, show


def test_streams_are_listed_in_order_of_creation(command: Command, forked: Path) -> None:
    rows = command("streams").rows
    assert [row["stream"] for row in rows] == ["a", "empty", "b", "c"]
    assert rows[0]["metadata"] == {"n": 1, "x": None}
    assert len(rows[2].pop("uid")) == 32
    assert rows[2] == {
        "stream": "b",
        "kind": "branch",
        "records": 3,
        "finished": False,
        "parents": [{"stream": "a", "offset": 1}],
        "metadata": {},
    }
    assert [row["stream"] for row in command("streams", "e").rows] == ["empty"]
    assert command("streams", "none").out == b""


def test_show_tells_every_fact(command: Command, forked: Path) -> None:
    with engine.open(forked) as log:
        merged = log.merge("m", [log.stream("b"), log.stream("c")], policy="append")
        merged.append(b"after")
    root, empty, merge = (command("show", name).rows[0] for name in ("a", "empty", "m"))
    assert (root["kind"], root["records"], root["own"]) == ("root", 4, 4)
    assert root["last_timestamp"] == "2001-09-09T01:46:40.000000003Z"
    assert root["children"] == ["b", "c"]
    assert (empty["records"], empty["last_timestamp"], empty["children"]) == (0, None, [])
    assert (merge["kind"], merge["records"], merge["own"], merge["spans"]) == ("merge", 5, 1, 3)
    assert (merge["policy"], merge["policy_version"], merge["params"]) == ("append", 1, {})
    assert merge["base"] == {"stream": "a", "offset": 1}
    assert merge["parents"] == [{"stream": "b", "offset": 2}, {"stream": "c", "offset": 2}]
    assert command("show", "none").code == 3


# cursors


def test_cursors_are_listed_with_how_far_behind_they_are(command: Command, forked: Path) -> None:
    with engine.open(forked) as log:
        log.stream("a").cursor("index").advance(1, state=b'{"n":1}')
        log.stream("b").cursor("index").advance(3)
        log.stream("b").cursor("other").advance(0, state=b"\xff")
        log.layer("room").create("s").cursor("c").advance(0, state=b"")
    first = {
        "cursor": "index", "stream": "a", "position": 1, "lag": 3,
        "state": '{"n":1}', "encoding": "utf-8",
    }  # fmt: skip
    done = command("cursors")
    assert done.rows[0] == first
    assert [(row["cursor"], row["stream"], row["lag"]) for row in done.rows] == [
        ("index", "a", 3), ("index", "b", 0), ("other", "b", 3),
    ]  # fmt: skip
    assert (done.rows[1]["state"], done.rows[1]["encoding"]) == (None, None)
    assert (done.rows[2]["state"], done.rows[2]["encoding"]) == ("/w==", "base64")
    assert [row["stream"] for row in command("cursors", "--prefix", "i").rows] == ["a", "b"]
    assert [row["cursor"] for row in command("cursors", "b", "--prefix", "o").rows] == ["other"]
    assert [row["state"] for row in command("cursors", "$room/s").rows] == [""]
    assert command("cursors", "--format", "table").out.count(b"\n") == 4
    assert command("cursors", "none").code == 3


# completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_asks_the_command(shell: str, command: Command) -> None:
    done = command("completion", shell)
    assert done.code == 0
    assert b"_TRANSIT_COMPLETE" in done.out
    assert command("completion", "csh").code == 2


def completed(store: Path, *words: str) -> list[str]:
    line = ["transit", *words]
    done = subprocess.run(
        argv(),
        env=environment(
            store,
            {
                "_TRANSIT_COMPLETE": "bash_complete",
                "COMP_WORDS": " ".join(line),
                "COMP_CWORD": str(len(line) - 1),
            },
        ),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.slow
def test_a_shell_completes_verbs_options_and_streams(forked: Path) -> None:
    assert completed(forked, "s") == [name for name in VERBS if name.startswith("s")]
    assert "--follow" in completed(forked, "tail", "--f")
    assert completed(forked, "read", "e") == ["empty"]
    assert completed(forked, "branch", "") == ["a", "empty", "b", "c"]
    assert completed(Path("none"), "--store", str(forked), "show", "b") == ["b"]
    assert completed(forked.parent / "none", "read", "e") == []


def test_the_script_for_bash_completes(forked: Path) -> None:
    script = transit(forked, "completion", "bash").out.decode()
    probe = (
        "COMP_WORDS=(transit show e); COMP_CWORD=2; _transit_completion transit; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    shim = forked.parent / "bin"
    shim.mkdir()
    (shim / "transit").write_text(f'#!/bin/sh\nexec {" ".join(argv())} "$@"\n')
    (shim / "transit").chmod(0o755)
    path = {"PATH": f"{shim}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{probe}"], env=environment(forked, path),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["empty"], done.stderr
