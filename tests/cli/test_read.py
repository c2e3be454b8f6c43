"""`transit read` and `transit tail`: which records, in which form."""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

import transit as engine
from transit.cli.values import moment_text, parse_moment

from .conftest import Command
from .shell import argv, at_terminal, environment

PAYLOADS = [b"text", b"\xff\0", '{"k": "宽"}'.encode(), b"[1,\n2]", b"", b"1e999", b'"\\ud800"']
MOMENT = 1_700_000_000_000_000_001


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with engine.open(tmp_path / "store") as log:
        stream = log.create("a")
        stream.append_many(PAYLOADS, timestamps=[MOMENT + n for n in range(len(PAYLOADS))])
        stream.append(b"last", headers={"kind": "x"}, timestamp=MOMENT + 10**10)
        branch = stream.branch("b", at=1)
        branch.append(b"own")
        log.create("empty")
        log.create("a@3").append(b"of a@3")
    return tmp_path / "store"


def test_a_record_is_told_whole(command: Command, store: Path) -> None:
    rows = command("read", "a").rows
    assert rows[0].pop("written") >= "2026"
    assert rows[0] == {
        "stream": "a", "offset": 0, "timestamp": "2023-11-14T22:13:20.000000001Z",
        "payload": "text", "encoding": "utf-8",
    }  # fmt: skip
    assert rows[-1]["headers"] == {"kind": "x"}
    decoded = [
        base64.b64decode(row["payload"]) if row["encoding"] == "base64" else row["payload"].encode()
        for row in rows
    ]
    assert decoded == [*PAYLOADS, b"last"]
    assert [row["encoding"] for row in rows] == ["utf-8", "base64", *["utf-8"] * 6]


def test_an_inherited_record_has_its_origin_and_an_own_one_none(
    command: Command, store: Path
) -> None:
    rows = command("read", "b").rows
    assert [row.get("origin") for row in rows] == [
        {"stream": "a", "offset": 0},
        {"stream": "a", "offset": 1},
        None,
    ]
    assert {row["stream"] for row in rows} == {"b"}


@pytest.mark.parametrize(
    ("words", "offsets"),
    [
        (["a"], list(range(8))), (["a@6"], [6, 7]), (["a@-2"], [6, 7]), (["a@2:4"], [2, 3]),
        (["a@-6:3"], [2]), (["a@5:99"], [5, 6, 7]), (["a@8"], []), (["a@5:5"], []), (["empty"], []),
        (["a", "--limit", "2"], [0, 1]), (["a", "b", "--limit", "9"], [*range(8), 0]),
        (["a@3:5", "b@1:2"], [3, 4, 1]), (["a", "--limit", "0"], []), (["a@3@0"], [0]),
        (["a@8", "b", "--limit", "1"], [0]),
    ],
)  # fmt: skip
def test_offsets_choose_records(
    words: list[str], offsets: list[int], command: Command, store: Path
) -> None:
    done = command("read", *words)
    assert (done.code, [row["offset"] for row in done.rows]) == (0, offsets)


@pytest.mark.parametrize(
    ("place", "code"), [("a@9", 2), ("a@-9", 2), ("a@5:2", 2), ("none", 3), ("a@x", 3)]
)
def test_what_is_not_there_is_refused(place: str, code: int, command: Command, store: Path) -> None:
    assert command("read", place).code == code


def test_neighbours_keep_their_own_headers_seconds_and_origins(
    command: Command, tmp_path: Path
) -> None:
    headers = [{"n": "1"}, {"n": "1"}, None, {"n": "2"}, {"n": "1"}]
    moments = [MOMENT, MOMENT + 1, MOMENT + 10**9, MOMENT + 10**9, MOMENT + 10**12]
    with engine.open(tmp_path / "store") as log:
        one, two = log.create("one"), log.create("two")
        one.append_many([b"%d" % n for n in range(5)], headers=headers, timestamps=moments)
        two.append(b"x")
        log.merge("m", [two, one], policy="append")
    rows = command("read", "m@1").rows
    assert [row.get("headers") for row in rows] == headers
    assert [parse_moment(row["timestamp"]) for row in rows] == moments
    assert [row["origin"] for row in rows] == [{"stream": "one", "offset": n} for n in range(5)]


def test_raw_is_payloads_with_newlines_and_null_with_nul(command: Command, store: Path) -> None:
    whole = [*PAYLOADS, b"last"]
    assert command("read", "a", "--raw").out == b"".join(each + b"\n" for each in whole)
    assert command("read", "a", "--null").out == b"".join(each + b"\0" for each in whole)


def test_values_are_json_and_what_is_none_stays_a_payload(command: Command, store: Path) -> None:
    done = command("read", "a", "--values")
    lines = done.out.splitlines()
    assert len(lines) == 8
    assert [row.get("value") for row in done.rows][2:4] == [{"k": "宽"}, [1, 2]]
    assert b'"value":1e999' in lines[5]
    assert [("payload" in row) for row in done.rows] == [
        True, True, False, False, True, False, True, True,
    ]  # fmt: skip


def test_many_records_come_whole_and_in_order(command: Command, store: Path) -> None:
    with engine.open(store) as log:
        stream = log.create("many")
        for start in range(0, 5000, 1250):
            stream.append_many([b"%d" % n for n in range(start, start + 1250)])
    rows = command("read", "many").rows
    assert [int(row["payload"]) for row in rows] == list(range(5000))
    assert command("read", "many", "--raw").out == b"".join(b"%d\n" % n for n in range(5000))


@pytest.mark.parametrize("moment", [0, -1, -(2**63), 2**63 - 1, MOMENT, 999_999_999, 10**9])
def test_a_timestamp_comes_back_from_its_text(moment: int) -> None:
    assert parse_moment(moment_text(moment)) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01", 0), ("1970-01-01T00:00:01Z", 10**9), ("1970-01-01 00:00:01.5", 15 * 10**8),
        ("1970-01-01T01:00:00+01:00", 0), ("1969-12-31T22:30:00-01:30", 0),
    ],
)  # fmt: skip
def test_a_time_may_have_a_zone_and_a_fraction(text: str, moment: int) -> None:
    assert parse_moment(text) == moment


def test_a_duration_is_a_time_ago() -> None:
    assert abs(parse_moment("2h") - (time.time_ns() - 7200 * 10**9)) < 10**10


@pytest.mark.parametrize(
    "text", ["", "x", "2026-13-01", "2026-01-32", "2026-01-01T25:00:00Z", "-1s"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|month|day|hour"):
        parse_moment(text)


# tail


@pytest.mark.parametrize(
    ("words", "offsets"),
    [
        ((), range(8)), (("-n", "2"), [6, 7]), (("-n", "0"), []), (("-n", "99"), range(8)),
        (("--since", "2123-11-15"), []), (("--since", "1990-01-01", "-n", "3"), [5, 6, 7]),
        (("--since", "2123-11-15", "-n", "2"), []), (("--since", "1990-01-01"), range(8)),
    ],
)  # fmt: skip
def test_tail_prints_the_last_records(
    words: tuple[str, ...], offsets: list[int], command: Command, store: Path
) -> None:
    assert [row["offset"] for row in command("tail", "a", *words).rows] == list(offsets)


def test_tail_prints_ten_records_unless_told_otherwise(command: Command, store: Path) -> None:
    command("append", "empty", *map(str, range(15)))
    assert [row["payload"] for row in command("tail", "empty").rows] == list(map(str, range(5, 15)))


def test_since_goes_by_when_records_were_written(command: Command, store: Path) -> None:
    with engine.open(store) as log:
        stream = log.create("w")
        for number in range(6):
            stream.append(b"%d" % number, timestamp=MOMENT - number)
        since = moment_text(stream[4].written)
    assert [row["payload"] for row in command("tail", "w", "--since", since).rows] == ["4", "5"]
    rows = command("tail", "w", "--since", since, "-n", "1").rows
    assert [row["payload"] for row in rows] == ["5"]


def test_follow_prints_what_another_process_appends_until_it_is_interrupted(store: Path) -> None:
    follower = subprocess.Popen(
        argv("tail", "empty", "--follow"), env=environment(store, {"PYTHONUNBUFFERED": ""}),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert follower.stdout
    with engine.open(store) as log:
        for number in range(3):
            log.stream("empty").append(b"%d" % number, headers={"n": str(number)})
            assert select.select([follower.stdout], [], [], 30)[0], "what was printed is held back"
            row = json.loads(follower.stdout.readline())
            assert (row["offset"], row["payload"]) == (number, str(number))
            assert row["headers"] == {"n": str(number)}
    follower.send_signal(signal.SIGINT)
    assert follower.communicate(timeout=60) == (b"", b"")
    assert follower.returncode == 130


def test_follow_gives_up_after_its_timeout(command: Command, store: Path) -> None:
    done = command("tail", "a", "-n", "1", "-f", "--timeout", "20ms")
    assert (done.code, done.error["kind"], len(done.rows)) == (124, "timeout", 1)
    assert command("tail", "a", "--timeout", "1s").code == 2


def test_a_reader_that_goes_away_ends_the_command_quietly(store: Path) -> None:
    with engine.open(store) as log:
        log.create("large").append_many([b"x" * 1000] * 5000)
    first = subprocess.Popen(
        argv("read", "large"),
        env=environment(store),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert first.stdout
    os.read(first.stdout.fileno(), 100)
    first.stdout.close()
    assert first.stderr
    assert first.stderr.read() == b""
    first.stderr.close()
    assert first.wait(60) == 141


# At a terminal


def test_at_a_terminal_a_record_is_a_line_for_people(store: Path) -> None:
    done = at_terminal(store, "read", "a@-1", "a@1:2", "--no-color")
    assert done.out.decode().splitlines() == [
        "a@7  2023-11-14T22:13:30.000000001Z  kind=x  last",
        "a@1  2023-11-14T22:13:20.000000002Z  \\xff\\x00",
    ]


@pytest.mark.slow
def test_at_a_terminal_a_large_payload_is_cut_and_raw_is_not(store: Path) -> None:
    with engine.open(store) as log:
        log.create("large").append(b"x" * 2000)
    assert at_terminal(store, "read", "large").out.endswith("x … 1500 bytes more\n".encode())
    assert at_terminal(store, "read", "large", "--raw").out == b"x" * 2000 + b"\n"
