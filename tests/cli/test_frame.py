"""What holds for every verb: loading, help, the error boundary, exit codes, signals."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

import transit as engine
from transit import errors
from transit.cli import failures
from transit.cli.failures import CommandError, describe
from transit.cli.main import VERBS

from .conftest import Command
from .shell import ROOT, Done, argv, at_terminal, environment, transit

SOURCES = sorted([*(ROOT / "transit" / "cli").rglob("*.py"), ROOT / "transit" / "__main__.py"])
GUIDE = ROOT / "docs" / "guide" / "command.md"
EXIT_CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 124, 130, 141}


# What is loaded


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(None), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_loads_no_verb_and_no_rich() -> None:
    shown = python(
        "import sys; from transit.cli import main; code = main(['--help'])\n"
        "print(code, [m for m in sys.modules if m.startswith(('transit.cli.verbs', 'rich'))])"
    )
    assert shown.endswith("0 []\n")
    assert all(f"\n  {name} " in shown for name in VERBS)


def test_a_verb_in_a_pipe_loads_no_other_verb_and_no_rich(tmp_path: Path) -> None:
    transit(tmp_path / "store", "append", "a", "x", "--create")
    store = str(tmp_path / "store")
    shown = python(
        f"import sys; from transit.cli import main; main(['read', 'a', '--store', {store!r}])\n"
        "print([m for m in sys.modules if m.startswith(('transit.cli.verbs.', 'rich'))])"
    )
    assert shown.splitlines()[1] == "['transit.cli.verbs.read']"


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_has_a_command_and_help(name: str, command: Command) -> None:
    module = import_module(f"transit.cli.verbs.{VERBS[name].module}")
    assert isinstance(module.command, click.Command)
    done = command(name, "--help")
    assert done.code == 0
    assert done.out.decode().startswith(f"Usage: transit {name} ")


def test_each_module_of_a_verb_is_in_the_table() -> None:
    modules = {path.stem for path in (ROOT / "transit/cli/verbs").glob("*.py")} - {"__init__"}
    assert modules == {verb.module for verb in VERBS.values()}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def attributes(path: Path) -> Iterator[str]:
    """What is taken from the package by a dot: `transit.open`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        taken = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if taken and node.value.id == "transit":
            yield f"transit.{node.attr}"


def test_only_public_names_of_transit_are_used() -> None:
    public = {f"transit.{name}" for name in (*engine.__all__, "__version__", "trace", "views")}
    for path in SOURCES:
        for name in (*imported(path), *attributes(path)):
            allowed = name in public or name.startswith(
                # What a server sends as a zip is read as its client reads it, and variables are
                # named as they are for adapters.
                (
                    "transit.chat",
                    "transit.fleet",
                    "transit.cli",
                    "transit.environment.",
                    "transit.protocol.folders",
                    "transit.server.",
                    "transit.trace.",
                    "transit.views",
                )
            )
            assert allowed or not name.startswith("transit."), f"{path}: {name}"


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_packages_the_command_says_what_to_install(missing: str) -> None:
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        f"u.find_spec = lambda name: None if name == {missing!r} else find(name)\n"
        "from transit.cli import main; sys.exit(main(['--help']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(None), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    told = f"transit: the command needs {missing}: pip install 'transit[cli]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


def test_version_is_printed(command: Command) -> None:
    assert command("--version") == (0, f"transit {engine.__version__}\n".encode(), b"")


# Options before and after the verb


def test_options_stand_before_or_after_the_verb_and_the_last_wins(
    command: Command, tmp_path: Path
) -> None:
    assert command("--store", tmp_path / "x", "create", "a").code == 0
    assert (tmp_path / "x" / "FORMAT").exists()
    assert command("--store", tmp_path / "x", "create", "b", "--store", tmp_path / "y").code == 0
    assert (tmp_path / "y" / "FORMAT").exists()
    shown = command("streams", "--store", tmp_path / "x").rows
    assert [row["stream"] for row in shown] == ["a"]


# Usage errors


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ((), "`transit --help` shows what there is"),
        (("--bogus",), "`transit --help` shows what there is"),
        (("red", "a"), "`transit --help` shows what there is"),
        (("read",), "`transit read --help` shows what there is"),
        (("read", "a", "--limit", "x"), "`transit read --help` shows what there is"),
        (("--format", "xml", "streams"), "`transit --help` shows what there is"),
    ],
)
def test_wrong_usage_is_told_as_json_with_a_hint(
    words: tuple[str, ...], hint: str, command: Command
) -> None:
    done = command(*words)
    assert (done.code, done.out) == (2, b"")
    assert (done.error["kind"], done.error["exit_code"]) == ("usage", 2)
    assert done.error["hint"] == hint


def test_unknown_verb_is_told_the_nearest(command: Command) -> None:
    assert "Did you mean 'read'?" in command("red").error["message"]


# From exceptions to failures


def concrete() -> list[type[errors.TransitError]]:
    return [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", concrete(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_engine_keeps_its_exit_code(kind: type[errors.TransitError]) -> None:
    error = kind.__new__(kind)
    Exception.__init__(error, "told")
    failure = describe(error)
    assert (failure.exit_code, failure.type) == (kind.exit_code, kind.__name__)
    assert failure.exit_code in EXIT_CODES
    assert re.fullmatch(r"[a-z_]+", failure.kind)
    assert not failure.kind.endswith("error") or kind.__name__ == "TransitError"


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (FileNotFoundError(2, "No such file", "x"), "not_found", 3),
        (PermissionError(13, "Permission denied", b"x\xff"), "permission", 6),
        (IsADirectoryError(21, "Is a directory"), "io", 8),
        (OSError("odd"), "io", 8),
        (ZeroDivisionError("never"), "internal", 1),
        (CommandError("m", kind="k", exit_code=9, hint="h", fields={"kind": "x"}), "k", 9),
        (click.FileError("x"), "io", 8),
    ],
)
def test_other_exceptions_have_their_place(error: Exception, kind: str, code: int) -> None:
    failure = describe(error)
    assert (failure.kind, failure.exit_code) == (kind, code)
    assert failure.message


def test_public_fields_of_an_error_are_in_its_json() -> None:
    done = Done(0, b"", describe(errors.LockedError("held", pid=7)).as_json())
    assert (done.error["kind"], done.error["pid"]) == ("locked", 7)
    done = Done(0, b"", describe(errors.CorruptError("f@9", expected="1", found="2")).as_json())
    assert [done.error[key] for key in ("place", "expected", "found")] == ["f@9", "1", "2"]
    unknown = errors.OutcomeUnknownError("?", in_doubt=(("s", 1, 2),))
    assert Done(0, b"", describe(unknown).as_json()).error["in_doubt"] == [["s", 1, 2]]


def test_text_that_is_not_unicode_is_shown_as_an_escape() -> None:
    failure = describe(errors.NotFoundError("no \udcff"))
    assert "no \\udcff" in failure.as_text(color=False)
    assert Done(0, b"", failure.as_json()).error["message"] == "no \\udcff"


def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("never")

    monkeypatch.setattr("transit.cli.opening.Session.open_read", fail)


def test_an_unexpected_error_is_internal_and_shown_in_full_with_debug_only(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    done = command("streams")
    assert (done.code, done.error["kind"], done.err.count(b"\n")) == (1, "internal", 1)
    assert "--debug" in done.error["hint"]
    assert b"Traceback" in command("streams", "--debug").err


# Exit codes, each by a real process


def folder_store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    with engine.open(store) as log:
        log.create("a").append(b"x")
    return store


def done_(store: Path) -> Done:
    return transit(store, "read", "a")


def partly_failed(store: Path) -> Done:
    return transit(store, "append", "a", "--errors", "skip", stdin=b"1\nno\n")


def usage(store: Path) -> Done:
    return transit(None, "streams", cwd=store.parent)


def not_found(store: Path) -> Done:
    return transit(store, "read", "b")


def exists(store: Path) -> Done:
    return transit(store, "create", "a")


def locked(store: Path) -> Done:
    with engine.open(store):
        return transit(store, "append", "a", "x")


def forbidden(store: Path) -> Done:
    if os.geteuid():
        store.chmod(0)
        done = transit(store, "read", "a")
        store.chmod(0o700)
        return done
    (store.parent / "transit.toml").write_text("")
    os.chown(store.parent / "transit.toml", 12345, -1)
    return transit(store, "read", "a")


def corrupt(store: Path) -> Done:
    chain = transit(store, "export", "a", "--as", "chain").out
    return transit(store, "import", "--into", "x", stdin=chain.replace(b'"x"', b'"y"'))


def input_failed(store: Path) -> Done:
    return transit(store, "append", "a", "--file", store)


def retention_gap(store: Path) -> Done:
    with engine.open(store, remote=store.parent / "remote") as log:
        log.publish()
        log.evict(bytes_max=0)
    return transit(store, "read", "a")


def conflict(store: Path) -> Done:
    return transit(store, "append", "a", "x", "--expect", 7)


def fenced(store: Path) -> Done:
    remote = str(store.parent / "remote")
    with engine.open(store, remote=remote) as log:
        log.publish()
    other = store.parent / "other"
    shutil.copytree(store, other)
    for folder in (store, other):
        with engine.open(folder) as log:
            log.stream("a").append(b"more")
    assert transit(store, "publish", "--remote", remote).code == 0
    return transit(other, "publish", "--remote", remote)


def unreachable(store: Path) -> Done:
    env = {
        "TRANSIT_ENDPOINT_URL": "http://127.0.0.1:1",
        "TRANSIT_LIMITS_REMOTE_TIMEOUT_S": "1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
    }
    return transit(store, "read", "a", "--remote", "s3://bucket/x", env=env)


def finished(store: Path) -> Done:
    assert transit(store, "finish", "a").code == 0
    return transit(store, "append", "a", "x")


def untrusted(store: Path) -> Done:
    for name in ("key", "other"):
        assert transit(store, "key", "new", "example.com/runs", "-o", name).code == 0
    assert transit(store, "checkpoint", "--key", "key", "-o", "note").code == 0
    vkey = transit(store, "key", "show", "other").out.decode().strip()
    return transit(store, "proof", "check", "note", "--vkey", vkey)


def erased(store: Path) -> Done:
    assert transit(store, "trim", "a", "--before", "1").code == 0
    return transit(store, "read", "a@0")


def held(store: Path) -> Done:
    assert transit(store, "hold", "a", "--reason", "case").code == 0
    return transit(store, "delete", "a", "--reason", "r")


def needed(store: Path) -> Done:
    assert transit(store, "branch", "a", "b").code == 0
    return transit(store, "delete", "a", "--reason", "r")


def sealed(store: Path) -> Done:
    key_file = engine.Keyring.new_key_file(store.parent / "key")
    ring = engine.Keyring.create(store.parent / "ring", key_file=key_file)
    with engine.open(store, encrypt="remote", keyring=ring) as log:
        log.seal()
    return transit(store, "append", "a", "x")


def timed_out(store: Path) -> Done:
    return transit(store, "tail", "a", "-f", "--timeout", "50ms")


def interrupted(store: Path) -> Done:
    command = subprocess.Popen(
        argv("tail", "a", "-f"), env=environment(store),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert command.stdout
    command.stdout.readline()
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=60)
    assert (out, err) == (b"", b"")
    return Done(command.returncode, out, err)


def nobody_reads(store: Path) -> Done:
    command = subprocess.Popen(
        argv("read", "a"), env=environment(store), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout
    assert command.stderr
    command.stdout.close()
    err = command.stderr.read()
    command.stderr.close()
    command.wait(60)
    assert err == b""
    return Done(command.returncode, b"", err)


PRODUCED: dict[int, Callable[[Path], Done]] = {
    0: done_, 1: partly_failed, 2: usage, 3: not_found, 4: exists, 5: locked, 6: forbidden,
    7: corrupt, 8: input_failed, 9: retention_gap, 10: conflict, 11: fenced, 12: unreachable,
    13: finished, 14: untrusted, 15: erased, 16: held, 17: needed, 18: sealed,
    124: timed_out,
    130: interrupted, 141: nobody_reads,
}  # fmt: skip


def test_every_exit_code_is_produced_by_a_test() -> None:
    assert PRODUCED.keys() == EXIT_CODES


@pytest.mark.slow
@pytest.mark.parametrize("code", PRODUCED)
def test_exit_code_of(code: int, tmp_path: Path) -> None:
    done = PRODUCED[code](folder_store(tmp_path))
    assert done.code == code, done
    if 0 < code < 130:
        assert done.error["exit_code"] == code
        assert set(done.error) >= {"kind", "type", "message", "hint"}


def test_exit_codes_are_documented() -> None:
    table = re.findall(r"(?:^| )(\d+)  +[a-z]", failures.__doc__ or "", re.MULTILINE)
    assert set(map(int, table)) == EXIT_CODES
    rows = re.findall(r"^\| (\d+) \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert list(map(int, rows)) == sorted(EXIT_CODES)


def test_guide_names_every_verb() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    assert [name for name in VERBS if f"transit {name}" not in guide] == []


# At a terminal


def test_an_error_at_a_terminal_is_told_in_words(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    done = at_terminal(store, "read", "b", "--no-color")
    first, second = done.out.decode().splitlines()
    assert done.code == 3
    assert first.startswith("error: ")
    assert first.endswith("there is no stream 'b'")
    assert second.startswith("hint: `transit streams` lists")


def test_without_a_verb_a_terminal_shows_which_there_are(tmp_path: Path) -> None:
    done = at_terminal(tmp_path / "store")
    assert done.code == 2
    assert all(f"\n  {name} ".encode() in done.out for name in VERBS)


@pytest.mark.parametrize("words", [("read", "b"), ("read", "--bogus")])
@pytest.mark.parametrize("option", [("--format", "json"), ("--format=json",)])
def test_asked_for_json_an_error_at_a_terminal_is_json(
    tmp_path: Path, words: tuple[str, ...], option: tuple[str, ...]
) -> None:
    done = at_terminal(folder_store(tmp_path), *words, *option)
    assert done.out.startswith(b'{"error":{"kind":')
