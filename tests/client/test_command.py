"""`transit --store http://…`: the verbs over a connection."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from rigs.server.serving import Serving
from tests.cli.shell import Done
from transit import trace
from transit.cli.main import run as main
from transit.server.refusals import RefusedError

Command = Callable[..., Done]


@pytest.fixture
def command(
    serving: Serving,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> Command:
    """Runs `transit WORDS` on the server's store."""
    monkeypatch.setenv("TRANSIT_STORE", serving.url)
    monkeypatch.chdir(tmp_path)

    def call(*words: object, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main([str(word) for word in words])
        return Done(code, *capsysbinary.readouterr())

    return call


def test_the_verbs_of_streams_and_records(command: Command, opened: transit.Log) -> None:
    assert command("create", "a").code == 0
    assert command("append", "a", "one", "two").rows[0]["count"] == 2
    assert command("append", "new/é", "--create", stdin=b'{"x": 1}\n').code == 0
    assert [row["payload"] for row in command("read", "a").rows] == ["one", "two"]
    assert command("branch", "a@0", "b").code == 0
    assert command("append", "b", "three").code == 0
    assert command("merge", "m", "a", "b", "--policy", "append").code == 0
    assert [row["stream"] for row in command("streams").rows] == ["a", "new/é", "b", "m"]
    assert command("diff", "a", "b").code == 0
    assert command("why", "b@0").code == 0
    assert command("log").code == 0
    assert command("log", "--graph").code == 0
    assert command("find", "--text", "x").code in (0, 3)
    assert command("cursors").code == 0
    assert command("show", "a").code == 0
    assert command("tail", "a").rows[-1]["payload"] == "two"
    assert command("finish", "b").code == 0
    assert command("append", "b", "x").code == 13
    assert command("hide", "b").code == 0
    assert "b" not in opened
    assert command("seal").code == 0
    assert command("verify").code == 0
    assert command("status").rows[0]["streams"] == 3
    exported = command("export", "--all").out
    assert command("import", "-", stdin=exported).code in (0, 1, 4)


def test_what_needs_the_folder_says_so(command: Command) -> None:
    for words in (("evict", "--bytes-max", "0"), ("doctor",), ("audit",), ("serve",)):
        done = command(*words)
        assert done.code == 2
        assert "is a server" in done.error["message"]
        assert "on the server's machine" in done.error["hint"]
    assert command("publish").code == 2  # The store that is served has no remote.


def test_what_the_server_proves_is_made_checked_and_taken_along(
    command: Command, opened: transit.Log, tmp_path: Path
) -> None:
    opened.create("a").append_many([b"one", b"two"])
    opened.create("b").append(b"three")
    opened.merge("m", ["a", "b"], policy="select", params={"selected": "a"})
    with trace.task(opened, "run") as task:
        task.message("user", "hello")
    key = transit.SigningKey.generate(f"example.com/{opened.store_id}")
    (tmp_path / "old").write_bytes(opened.checkpoint(key).note)
    made: dict[str, tuple[object, ...]] = {
        "one": ("proof", "make", "a@1"),
        "end": ("proof", "make", "a", "--records", "0:", "--end"),
        "choice": ("proof", "fork-choice", "m", "--checkpoint", "old"),
        "run.zip": ("exhibit", "run"),
        "grown": ("proof", "growth", "old"),
    }
    vkey = ("--vkey", key.verifying.to_text())
    for place, words in made.items():
        assert command(*words, "-o", place).code == 0, words
        more = ("--old", "old") if place == "grown" else ()
        checked = command("proof", "check", place, *vkey, *more)
        assert checked.code == 0, checked.err
        assert checked.rows[0]["holds"] is True
    assert command("proof", "make", "a@7", "-o", "none").code == 2
    assert command("proof", "make", "none@0", "-o", "none").code == 3
    refused = command("checkpoint", "--key", "key")
    assert (refused.code, "is a server" in refused.error["message"]) == (2, True)


def test_records_are_kept_and_let_go(command: Command, opened: transit.Log) -> None:
    for name in ("a", "b"):
        opened.create(name).append_many([b"0", b"1", b"2"])
    assert command("hold", "a", "--reason", "law").rows[0]["holds"] == ["law"]
    assert command("hold", "a").rows[0]["holds"] == ["law"]
    held = command("delete", "a", "--reason", "wish")
    assert (held.code, held.error["holds"]) == (16, ["law"])
    assert command("delete", "a", "--reason", "wish", "--dry-run").code == 16
    assert command("hold", "a", "--release", "law").rows[0]["holds"] == []
    assert command("hold", "a", "--release", "law").code == 3
    assert command("retain", "b", "--count-max", "2").rows[0]["retention"]["count_max"] == 2
    assert [row["before"] for row in command("retain").rows] == [1]
    assert [row["before"] for row in command("retain", "--apply").rows] == [1]
    assert command("trim", "b", "--before", "2").rows[0]["records"] == 1
    assert command("delete", "a", "--reason", "wish", "--basis", "gdpr-17").rows[0]["records"] == 3
    assert command("read", "a").code == 3
    (stream,) = opened.hidden("a")
    assert [each.what for each in stream.became()] == ["held", "released", "deleted"]
    for verb in ("erase", "gc"):
        assert command(verb).code == 2


def test_a_server_that_is_not_there_is_12(command: Command) -> None:
    done = command("--store", "http://127.0.0.1:9", "streams")
    assert done.code == 12
    assert done.error["kind"] == "remote_unavailable"


def test_the_token_comes_from_the_environment_or_a_file_and_is_never_shown(
    command: Command, serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    route = serving.app.routes.find

    def find(request: object) -> object:
        given = request.headers.get("authorization", "")  # type: ignore[attr-defined]
        seen.append(given)
        if given != "Bearer right-token":
            raise RefusedError(401, "the token is not known")
        return route(request)  # type: ignore[arg-type]

    serving.app.routes.find = find  # type: ignore[assignment,method-assign]
    done = command("streams")
    assert done.code == 6
    assert "TRANSIT_TOKEN" in done.error["hint"]
    (tmp_path / "transit.toml").write_text('token_file = "secret"\n')
    (tmp_path / "secret").write_text("right-token\n")
    assert command("streams").code == 0
    monkeypatch.setenv("TRANSIT_TOKEN", "wrong-token")
    done = command("streams")
    assert done.code == 6
    assert seen[-1] == "Bearer wrong-token"
    shown = json.dumps(command("config").rows)
    for secret in ("right-token", "wrong-token"):
        assert secret not in shown
        assert secret.encode() not in done.err
    monkeypatch.delenv("TRANSIT_TOKEN")
    for content in ("", " \n", "x" * 5000):
        (tmp_path / "secret").write_text(content)
        assert "holds no token" in command("streams").error["message"]
