"""The three standard streams of the process, which a caller may have closed.

A closed one (`>&-`, `<&-`, `2>&-`) is an output that takes everything and shows nothing, and an
input that cannot be read. Its number is taken before anything else is opened: otherwise the next
file, a store's WAL perhaps, would get it, and what any library or child process prints would go
into that file.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Final, TextIO, cast

from transit.cli.failures import IO, CommandError

if TYPE_CHECKING:
    from io import BufferedReader

STDIN: Final = "-"
_NUMBERS: Final = (0, 1, 2)


def take_closed() -> None:
    """Take the numbers of closed streams, and give outputs that are missing a place to go."""
    for number in _NUMBERS:
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, which is this one; a child process does not get it.
            os.open(os.devnull, os.O_WRONLY)
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    for stream in (sys.stdout, sys.stderr):
        # What the terminal's encoding cannot say is shown as an escape, instead of failing.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def standard_input() -> BufferedReader:
    """The standard input's bytes; `CommandError` when it is closed."""
    if sys.stdin is None:
        raise CommandError(
            "the standard input is closed",
            kind="io",
            exit_code=IO,
            hint="give a file, or a pipe: transit … < FILE",
        )
    return cast("BufferedReader", sys.stdin.buffer)


def unwritten(error: OSError) -> OSError:
    """`error` of a write to the standard output, which then says so; a broken pipe stays one."""
    if isinstance(error, BrokenPipeError) or error.filename is not None:
        return error
    return OSError(error.errno, error.strerror, "standard output")


def drop(stream: TextIO) -> None:
    """Send what is still buffered nowhere: the interpreter flushes once more when it ends."""
    # A stream without a file needs none.
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
