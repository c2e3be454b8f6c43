"""Why a line is not JSON, said so that it can be found: what is wrong and at which byte.

Also the byte-order mark, with which some programs begin a file: it belongs to the file and not to
its first line, so it is left away there, and refused anywhere else.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

import msgspec

MARK: Final = codecs.BOM_UTF8
_OTHER_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
# What a decoder says of an escape that is half of a character.
_OF_ESCAPES: Final = ("surrogate", "truncated", "escape")
_SPACE: Final = b" \t\r\n"
_BYTE: Final = re.compile(r"\(byte ([0-9]+)\)")
# A `\uD8…` without its other half, or the other half alone; an even count of backslashes before.
_LONE: Final = re.compile(
    rb"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)


def problem_of(line: bytes) -> str:
    """What keeps `line` from being one JSON value, with the byte where it shows; "" when it is."""
    try:
        line.decode()
        msgspec.json.decode(line, type=msgspec.Raw)
    except UnicodeDecodeError as error:
        return _not_utf8(line, error)
    except (msgspec.DecodeError, RecursionError) as error:
        return said(line, error)
    return ""


def said(line: bytes, error: Exception) -> str:
    """The message for `error`, which a decoder raised for `line`."""
    if not line.strip(_SPACE):
        return "an empty line"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if line.startswith(MARK):
        return "a byte-order mark (byte 0) that does not stand at the beginning of the input"
    lone = _LONE.search(line)
    if lone is not None and any(word in str(error) for word in _OF_ESCAPES):
        escape = lone[1].decode()
        return f"{escape} is half of a character: a lone surrogate (byte {lone.start(1)})"
    if "truncated" in str(error):
        return f"it ends within a value (byte {len(line)})"
    return _with_byte(line, str(error).removeprefix("JSON is malformed: "))


def _not_utf8(line: bytes, error: UnicodeDecodeError) -> str:
    for mark, name in _OTHER_MARKS:
        if line.startswith(mark):
            return f"{name}, not UTF-8"
    return f"not UTF-8: {line[error.start : error.start + 1]!r} (byte {error.start})"


def _with_byte(line: bytes, message: str) -> str:
    """`message` with the byte itself, where it names the place of one."""
    found = _BYTE.search(message)
    if found is None or not message.startswith(("invalid character", "trailing characters")):
        return message
    at = min(int(found[1]), len(line) - 1)
    return f"{message[: found.start()]}{line[at : at + 1]!r} {message[found.start() :]}"
