"""What is wrong at one place of an export, and how much of it is shown.

Owns the limit of what a `Bad` shows, and which errors mean that the file itself cannot be read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transit import InvalidInputError, NotFoundError
from transit.chat.imports.items import Bad, Place

RAW_CHARACTERS_MAX = 2_000


def bad(place: Place, reason: str, raw: bytes | str) -> Bad:
    """`raw` that cannot be read, as text: what is no UTF-8 is replaced."""
    if isinstance(raw, bytes):
        # No character is longer than four bytes.
        raw = raw[: 4 * RAW_CHARACTERS_MAX].decode("utf-8", "replace")
    return Bad(place, reason, raw[:RAW_CHARACTERS_MAX])


def label(name: str) -> str:
    """A file's name as text that can be written: bytes that are no UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


@contextmanager
def told(path: Path | str) -> Iterator[None]:
    """What the operating system refuses, as errors of transit that name `path`."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: there is no such file or folder") from error
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        # A path that no system takes: one with a zero byte.
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"{path!r}: is no path: {error}") from error


def is_folder(path: Path) -> bool:
    """Whether it is a folder, else a file; what is neither would block whoever opens it."""
    with told(path):
        mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return True
    if not stat.S_ISREG(mode):
        raise InvalidInputError(f"{path}: is neither a file nor a folder")
    return False
