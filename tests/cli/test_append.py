"""`transit create` and `transit append`: what becomes a record, and what is told about it."""

from __future__ import annotations

import json
import os
import subprocess
import time
import tracemalloc
from io import BufferedIOBase, BytesIO
from pathlib import Path

import pytest

import transit as engine
from transit.cli.lines import Line, read_lines, read_whole

from .conftest import Command
from .shell import DEADLINE_S, argv, at_terminal, environment, transit


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def payloads(store: Path, stream: str = "a") -> list[bytes]:
    with engine.open(store, mode="read") as log:
        return [record.payload for record in log.stream(stream).read()]


# create


def test_create_makes_all_streams_or_none(command: Command, store: Path) -> None:
    made = command("create", "a", "b/c", "--meta", "who=me=you", "--meta", "x=", "--codec", "json")
    facts = {"who": "me=you", "x": ""}
    assert made.rows == [
        {"stream": name, "kind": "root", "codec": "json", "metadata": facts}
        for name in ("a", "b/c")
    ]
    assert command("create", "new", "a").code == 4
    with engine.open(store, mode="read") as log:
        assert [stream.name for stream in log.streams()] == ["a", "b/c"]
        assert dict(log.stream("a").metadata) == facts


@pytest.mark.parametrize("words", [("$a",), (" a",), ("a", "--meta", "x"), ("a", "--meta", "=x")])
def test_create_refuses_what_cannot_be(words: tuple[str, ...], command: Command) -> None:
    assert command("create", *words).code == 2


def test_metadata_given_twice_is_refused(command: Command) -> None:
    done = command("create", "a", "--meta", "x=1", "--meta", "x=2")
    assert (done.code, "'x' is given twice" in done.error["message"]) == (2, True)


# append: arguments


def test_each_argument_is_a_record_byte_for_byte(store: Path) -> None:
    given = [b"", b"plain", b"two\nlines", b"\xff\xfe", '{"k": "宽"}'.encode()]
    transit(store, "create", "a")
    line = [os.fsencode(word) for word in argv("append", "a", "--")] + given
    done = subprocess.run(line, env=environment(store), capture_output=True, check=True)
    assert json.loads(done.stdout) == {
        "stream": "a", "first": 0, "last": 4, "count": 5, "durability": "local",
    }  # fmt: skip
    assert payloads(store) == given


def test_headers_and_durability_are_those_asked_for(command: Command, store: Path) -> None:
    words = ("--header", "kind=x", "--header", "b=c=d", "--durability", "os", "--create")
    assert command("append", "a", "1", "2", *words).rows[0]["durability"] == "os"
    with engine.open(store, mode="read") as log:
        headers = [dict(record.headers) for record in log.stream("a").read()]
    assert headers == [{"kind": "x", "b": "c=d"}] * 2


def test_append_makes_a_stream_only_when_told_to(command: Command, store: Path) -> None:
    assert command("create", "a").code == 0
    missing = command("append", "b", "x")
    assert (missing.code, missing.error["kind"]) == (3, "not_found")
    assert command("append", "b", "x", "--create").code == 0
    assert command("append", "b", "y", "--create").rows[0]["first"] == 1


def test_expect_holds_across_frames_and_refuses_another_offset(
    command: Command, store: Path
) -> None:
    lines = b"".join(b"%d\n" % n for n in range(25_000))
    assert command("append", "a", "--create", "--expect", 0, stdin=lines).rows[0]["count"] == 25_000
    done = command("append", "a", "x", "--expect", 3)
    assert done.code == 10
    assert [done.error[key] for key in ("stream", "expected", "found")] == ["a", 3, 25_000]


# append: input


def test_lines_of_a_pipe_are_kept_byte_for_byte(command: Command, store: Path) -> None:
    data = b'{"a" : 1}\n[1, 2]\r\n  "x"  \n12'
    assert command("append", "a", "--create", stdin=data).rows[0]["count"] == 4
    assert payloads(store) == [b'{"a" : 1}', b"[1, 2]\r", b'  "x"  ', b"12"]


def test_dash_is_the_standard_input_and_stands_alone(command: Command, store: Path) -> None:
    assert command("append", "a", "-", "--create", stdin=b"1\n").code == 0
    assert command("append", "a", "-", "x").code == 2
    assert payloads(store) == [b"1"]


def test_arguments_come_before_files_in_the_order_given(
    command: Command, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"2\n3\n")
    (tmp_path / "g").write_bytes(b"5")
    words = ("append", "a", "one", "--file", "f", "--file", "-", "--file", "g", "--create")
    assert command(*words, stdin=b"4\n").rows[0]["count"] == 5
    assert payloads(store) == [b"one", b"2", b"3", b"4", b"5"]


def test_lines_take_any_bytes(command: Command, store: Path) -> None:
    data = b"not json\n\n\xff\n\0"
    assert command("append", "a", "--create", "--input", "lines", stdin=data).code == 0
    assert payloads(store) == [b"not json", b"", b"\xff", b"\0"]


def test_whole_input_is_one_record(command: Command, store: Path) -> None:
    data = b"a\nb\n\xff\n"
    assert command("append", "a", "--create", "--input", "whole", stdin=data).code == 0
    assert command("append", "a", "--input", "whole", stdin=b"").code == 0
    assert payloads(store) == [data, b""]


def test_empty_input_appends_nothing(command: Command, store: Path) -> None:
    done = command("append", "a", "--create", stdin=b"")
    assert (done.code, done.out) == (0, b"")
    assert payloads(store) == []


def test_the_first_bad_line_stops_and_says_what_was_appended(command: Command, store: Path) -> None:
    done = command("append", "a", "--create", stdin=b'1\n"two"\n{no\n4\n')
    assert done.code == 2
    assert (done.rows[0]["count"], done.rows[0]["last"]) == (2, 1)
    assert done.error["message"].startswith("standard input, line 3: not JSON")
    assert (done.error["line"], done.error["appended"]) == (3, 2)
    assert payloads(store) == [b"1", b'"two"']


def test_bad_lines_are_skipped_and_counted_when_told_to(
    command: Command, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"1\nno\n\n\xff\n5\n")
    done = command("append", "a", "--create", "--errors", "skip", "--file", "f")
    assert done.code == 1
    assert (done.rows[0]["count"], done.rows[0]["skipped"]) == (2, 3)
    assert done.error["kind"] == "partly_failed"
    assert (done.error["appended"], done.error["skipped"]) == (2, 3)
    assert "f, line 2" in done.error["message"]
    assert payloads(store) == [b"1", b"5"]


def test_nothing_but_bad_lines_is_told_too(command: Command) -> None:
    done = command("append", "a", "--create", "--errors", "skip", stdin=b"no\n")
    assert (done.code, done.rows[0]["count"], done.rows[0]["skipped"]) == (1, 0, 1)


def test_a_line_over_the_limit_is_a_bad_one(
    command: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSIT_LIMITS_RECORD_BYTES_MAX", "8")
    words = ("append", "a", "--create", "--errors", "skip")
    assert command(*words, stdin=b"12345678\n123456789\n1\n").code == 1
    assert payloads(store) == [b"12345678", b"1"]
    assert command("append", "a", "--input", "whole", stdin=b"123456789").code == 2
    assert command("append", "a", "123456789").code == 2


def test_small_frames_still_take_many_lines(
    command: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSIT_LIMITS_RECORD_BYTES_MAX", "64")
    monkeypatch.setenv("TRANSIT_LIMITS_FRAME_BYTES_MAX", "1024")
    data = b"".join(b"%d\n" % n for n in range(1000))
    done = command("append", "a", "--create", stdin=data)
    assert (done.code, done.err) == (0, b"")
    assert payloads(store) == data.splitlines()


def test_a_failure_in_between_still_tells_what_was_appended(
    command: Command, store: Path, tmp_path: Path
) -> None:
    done = command("append", "a", "1", "--create", "--file", tmp_path / "none")
    assert (done.code, done.error["kind"]) == (3, "not_found")
    assert done.rows[0]["count"] == 1


def test_a_terminal_without_data_is_wrong_usage(store: Path) -> None:
    transit(store, "create", "a")
    done = at_terminal(store, "append", "a")
    assert (done.code, b"nothing to append" in done.out) == (2, True)


def test_a_slow_pipe_is_not_held_back(store: Path) -> None:
    command = subprocess.Popen(
        argv("append", "a", "--create"), env=environment(store),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert command.stdin
    for number in range(3):
        command.stdin.write(b"%d\n" % number)
        command.stdin.flush()
        deadline = time.monotonic() + DEADLINE_S
        while not (store / "FORMAT").exists() or len(seen(store)) <= number:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    out, _ = command.communicate(timeout=60)
    assert json.loads(out)["count"] == 3


def seen(store: Path) -> list[bytes]:
    with engine.open(store, mode="read") as log:
        return [r.payload for r in log.stream("a").read()] if "a" in log else []


# lines


def in_pieces(data: bytes, size: int) -> BufferedIOBase:
    class Pieces(BytesIO):
        def read1(self, _: int | None = -1, /) -> bytes:
            return self.read(size)

    return Pieces(data)


@pytest.mark.parametrize("size", range(1, 12))
def test_lines_do_not_depend_on_how_they_arrive(size: int) -> None:
    data = b'1\n\n"ab"\n1234567890\n12345678\n{"a"}\n\xff\n9'
    found = [line for part in read_lines(in_pieces(data, size), 8, True) for line in part]
    assert [line.number for line in found] == list(range(1, 9))
    assert [line.data for line in found] == [b"1", b"", b'"ab"', b"", b"12345678", b"", b"", b"9"]
    problems = [line.problem.partition(":")[2].strip() or line.problem for line in found]
    assert problems[1] == "an empty line"
    assert found[3].problem == "10 bytes; the limit is 8"
    assert problems[6] == "not UTF-8: b'\\xff' (byte 0)"


def test_an_endless_line_takes_no_memory() -> None:
    class Endless(BytesIO):
        left = 100

        def read1(self, size: int | None = -1, /) -> bytes:
            self.left -= 1
            return b"x" * (1 << 20) if self.left else b""

    tracemalloc.start()
    ((line,),) = read_lines(Endless(), 10, False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    assert line == Line(1, b"", f"{99 << 20} bytes; the limit is 10")


def test_whole_input_over_the_limit_is_none() -> None:
    assert read_whole(in_pieces(b"1234", 1), 4) == b"1234"
    assert read_whole(in_pieces(b"12345", 1), 4) is None
