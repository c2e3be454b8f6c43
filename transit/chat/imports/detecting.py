"""Which format an export has, from its first bytes and the names of its files.

Owns what each format is told by. A guess is made only where one format fits.
"""

from __future__ import annotations

import re
from pathlib import Path

from transit import InvalidInputError
from transit.chat.imports import slack
from transit.chat.imports.faults import told
from transit.chat.imports.lines import line_of
from transit.chat.imports.trees import is_alone, start_of, tree

FORMATS = ("irc", "slack", "discord", "mbox", "matrix")

_FILES_MAX = 20
_LINES_MAX = 50
_KEY = re.compile(rb'"(guild|channel|messages|room_name|origin_server_ts|event_id|sender)"\s*:')


def detect(path: str | Path) -> str:
    """The name of the format at `path`; raises InvalidInputError if it cannot be told."""
    path = Path(path)
    files = tree(path)
    if not is_alone(files):
        if slack.root_of(files) is not None:
            return "slack"
        for name in files.names()[:_FILES_MAX]:
            try:
                with files.open(name) as stream:
                    found = _of_json(start_of(stream))
            except InvalidInputError:
                # The reader tells of it; other files may say what they are.
                continue
            if found:
                return found
        raise _unknown(path)
    with told(path), path.open("rb") as file:
        start = file.read(1 << 16).removeprefix(b"\xef\xbb\xbf")
    found = _of_json(start) if start.lstrip()[:1] in (b"{", b"[") else None
    found = found or _of_text(start)
    if found is None:
        raise _unknown(path)
    return found


def _of_json(start: bytes) -> str | None:
    keys = set(_KEY.findall(start))
    if {b"guild", b"channel"} <= keys:
        return "discord"
    if b"room_name" in keys or {b"origin_server_ts", b"sender"} <= keys:
        return "matrix"
    return None


def _of_text(start: bytes) -> str | None:
    if start.startswith(b"From "):
        return "mbox"
    lines = start.decode("latin-1").splitlines()[:_LINES_MAX]
    taken = [line_of(line, frozenset()) for line in lines]
    spoken = [line for line in taken if line.author or line.marker or line.day]
    return "irc" if 2 * len(spoken) > len([line for line in lines if line.strip()]) else None


def _unknown(path: Path) -> InvalidInputError:
    return InvalidInputError(
        f"{path}: its format cannot be told; give format=, one of {', '.join(FORMATS)}"
    )
