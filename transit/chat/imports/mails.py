"""Where the mails of a mailbox begin and end.

Owns the rule by which a line parts two mails; see `transit.chat.imports.mbox`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MAIL_BYTES_MAX = 64 << 20
_LINE_BYTES_MAX = 1 << 20

_ENVELOPE = re.compile(rb"From (?:\s*$|- |\s*\S+@|.*\d\d:\d\d)")
_HEADER = re.compile(rb"[\x21-\x39\x3b-\x7e]{1,200}[ \t]*:|>From ")


class Mail(NamedTuple):
    """A mail: its number from 1, the line before it, its bytes; and why they are not all."""

    number: int
    envelope: str
    raw: bytes
    fault: str = ""


def mails(file: BinaryIO) -> Iterator[Mail]:
    """The mails of a mailbox, one after the other."""
    number, envelope = 0, b""
    held: list[bytes] = []
    size = 0
    after_empty = True
    line = file.readline(_LINE_BYTES_MAX)
    if line.startswith(b"\xef\xbb\xbf"):
        line = line[3:]
    while line:
        following = file.readline(_LINE_BYTES_MAX)
        if after_empty and _ENVELOPE.match(line) and _HEADER.match(following):
            # Without a number, there are only empty lines so far.
            if number:
                yield _mail(number, envelope, held, size)
            number, envelope, held, size = number + 1, line, [], 0
        else:
            number = number or (1 if line.strip() else 0)
            size += len(line)
            if size <= MAIL_BYTES_MAX:
                held.append(line)
        after_empty = not line.strip(b"\r\n")
        line = following
    if number:
        yield _mail(number, envelope, held, size)


def _mail(number: int, envelope: bytes, held: list[bytes], size: int) -> Mail:
    fault = ""
    if size > MAIL_BYTES_MAX:
        fault = f"the mail has {size} bytes, and {MAIL_BYTES_MAX} are read"
    # The empty line before the next mail is not part of this one.
    if held and not held[-1].strip(b"\r\n"):
        held.pop()
    parting = envelope.rstrip(b"\r\n").decode("utf-8", "replace")
    return Mail(number, parting, b"".join(held), fault)
