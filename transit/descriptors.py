"""Numbers of open files, each closed once, and never when it has become another file's.

Owns when a number is closed. Leaves opening, and what is done with a file, to `transit.disk`.

A number is closed when nothing refers to its `Descriptor` any more. A call that uses the number
refers to it for that long. So one thread may let go of a file that another one is just reading: the
number stays the file's until that read has returned. Python counts references without a lock, which
an interrupt could leave locked.

Programs close numbers that they do not own: daemons close all of them, after a fork or without one.
Such a number goes to the next file the process opens. Two things keep us from taking that file for
ours:

- What is written to has a number from `LASTING` on, where the limit allows that. The system gives
  the lowest number that is free, so such a number does not become another file's by chance.
- Each open file is marked by its file offset, which nothing here uses: no two have the same. A
  number that leads to another file, or to the same file opened once more, shows another offset.
  `File` looks before it calls anything durable, and no number is closed without a look.

A look costs half as much as a write, so writes do not look.
"""

from __future__ import annotations

import fcntl
import os
from itertools import count
from typing import Final

LASTING: Final = 512
"""The lowest number of what is written to: half of what a process may have open by default."""
# From 1 on, because every file is opened at 0, and below 4 GiB, where some file systems end.
_marks: Final = count(1 + int.from_bytes(os.urandom(3), "little"))


def _identity(number: int) -> tuple[int, ...]:
    """Device, inode and type of what a number leads to; () when it leads nowhere."""
    try:
        found = os.fstat(number)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mode


class Descriptor:
    """An open file's number; closed when the last reference goes. `number` is -1 for none."""

    __slots__ = ("_mark", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        try:
            self._mark: object = os.lseek(number, next(_marks), os.SEEK_SET)
        except OSError:
            # A watch has no offset: what it is has to do.
            self._mark = _identity(number)

    @property
    def is_ours(self) -> bool:
        """Whether the number still leads to the file that was opened."""
        try:
            return os.lseek(self.number, 0, os.SEEK_CUR) == self._mark
        except OSError:
            return self._mark == _identity(self.number) != ()

    def __del__(self) -> None:
        try:
            if self.is_ours:
                os.close(self.number)
        except (AttributeError, OSError, TypeError):
            # Making it was interrupted, or the interpreter ends and has no modules any more.
            return


NONE: Final = Descriptor(-1)
"""Leads nowhere: in place of a descriptor that was let go."""


def lasting(number: int) -> Descriptor:
    """The descriptor of a file just opened, moved out of the way of other files' numbers."""
    try:
        moved = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, LASTING)
    except OSError:
        # The process may not have as many files open, or has as many.
        return Descriptor(number)
    os.close(number)
    return Descriptor(moved)
