"""Lines that are not quite JSON: taken, or refused with what is wrong and at which byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from transit.cli.json_lines import problem_of

from .conftest import Command

MARK = b"\xef\xbb\xbf"
REFUSED = {
    MARK + b"1": "a byte-order mark (byte 0) that does not stand at the beginning of the input",
    b'"\\ud800"': "\\ud800 is half of a character: a lone surrogate (byte 1)",
    b'["\\udc00x"]': "\\udc00 is half of a character: a lone surrogate (byte 2)",
    b'["a\\\\","\\uDABC"]': "\\uDABC is half of a character: a lone surrogate (byte 8)",
    b'"\xed\xa0\x80"': "not UTF-8: b'\\xed' (byte 1)",
    "1".encode("utf-16"): "UTF-16, not UTF-8",
    "1".encode("utf-32"): "UTF-32, not UTF-8",
    b'{"a":"\x00"}': "invalid character b'\\x00' (byte 6)",
    b"NaN": "invalid character b'N' (byte 0)",
    b'{"a":1} x': "trailing characters b'x' (byte 9)",
    b'{"a":1}{"b":2}': "trailing characters b'\"' (byte 8)",
    b"": "an empty line",
    b" \t\r": "an empty line",
    b'{"a":': "it ends within a value (byte 5)",
    b"[" * 200_000: "nested too deeply",
}
TAKEN = [
    b'"\\ud83d\\ude00"', b'"\\\\ud800"', b'"\\u0000"', b'{"a":1}\r', b"1" * 5000, b"1e999",
    b'{"a":1,"a":2}', b"[" * 500 + b"]" * 500,
]  # fmt: skip


@pytest.mark.parametrize("line", REFUSED, ids=lambda line: repr(line[:16]))
def test_a_line_that_is_refused_is_told_what_is_wrong_and_where(line: bytes) -> None:
    assert problem_of(line) == REFUSED[line]


@pytest.mark.parametrize("line", TAKEN, ids=lambda line: repr(line[:16]))
def test_a_line_that_is_strange_and_valid_is_taken_byte_for_byte(
    command: Command, line: bytes
) -> None:
    assert problem_of(line) == ""
    assert command("append", "s", "--create", "-", stdin=line + b"\n").code == 0
    assert command("read", "s", "--raw").out == line + b"\n"


@pytest.mark.parametrize("line", [line for line in REFUSED if b"\n" not in line], ids=repr)
def test_append_names_the_line_and_keeps_what_came_before(command: Command, line: bytes) -> None:
    done = command("append", "s", "--create", "-", stdin=b"1\n" + line + b"\n2\n")
    assert done.code == 2
    assert done.error["message"].startswith(
        f"standard input, line 2: not JSON: {REFUSED[line]}; 1 record"
    )
    assert command("read", "s", "--raw").out == b"1\n"


def test_a_byte_order_mark_at_the_beginning_is_left_away(command: Command, tmp_path: Path) -> None:
    assert command("append", "s", "--create", "-", stdin=MARK + b'{"a":1}\n2').code == 0
    assert command("read", "s", "--raw").out == b'{"a":1}\n2\n'
    exported = command("export", "s").out
    assert command("import", "--into", "again/", "--new-uids", stdin=MARK + exported).code == 0
    assert command("read", "again/s", "--raw").out == b'{"a":1}\n2\n'
    # Without JSON nothing is known of what the bytes mean.
    assert command("append", "s", "--input", "lines", "-", stdin=MARK + b"x\n").code == 0
    assert command("read", "s@2", "--raw").out == MARK + b"x\n"
    (tmp_path / "transit.toml").write_bytes(MARK + b'durability = "os"\n')
    rows = {row["key"]: row["value"] for row in command("config").rows}
    assert rows["durability"] == "os"


def test_import_says_what_is_wrong_in_a_line_and_where(command: Command) -> None:
    assert command("append", "s", "--create", "1").code == 0
    stream, record = command("export", "s").out.splitlines()
    broken = record.replace(b'"payload":"1"', b'"payload":"\\ud800"')
    done = command("import", stdin=b"\n".join([stream, broken, b""]))
    assert done.code == 2
    assert "standard input, line 2" in done.error["message"]
    assert "\\ud800 is half of a character" in done.error["message"]
    done = command("import", stdin=json.dumps({"unknown": 1}).encode())
    assert "neither a stream nor a record" in done.error["message"]
