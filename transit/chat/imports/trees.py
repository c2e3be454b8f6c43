"""The files of an export: one file, a folder, or a zip archive, under one shape.

Owns what is refused before it is read. Names are labels: nothing is ever written, and no name is
turned into a path. A symlink that leads out of its folder is not followed, and what is no regular
file is not opened. An archive is refused as a whole if a member is encrypted, says that it is
larger than `MEMBER_BYTES_MAX`, or shares its bytes with another one; a member never gives more than
it says.
"""

from __future__ import annotations

import io
import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from transit import InvalidInputError
from transit.chat.imports.documents import (
    Entry,
    Unreadable,
    are_lines,
    document,
    lines,
    whole_list,
)
from transit.chat.imports.faults import is_folder, label, told

MEMBER_BYTES_MAX = 1 << 30
MEMBERS_MAX = 1_000_000
_ENCRYPTED = 0x1
_OF_ARCHIVES = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error)
# What macOS puts into archives.
_LITTER = re.compile(r"(^|/)(__MACOSX/|\._)")


class Tree(Protocol):
    """Files with names like `general/2020-01-01.json`."""

    path: Path

    def names(self) -> Sequence[str]:
        """Those of JSON documents, in the order of their numbers and letters."""

    def open(self, name: str) -> BinaryIO:
        """The file's bytes; raises InvalidInputError if they may not or cannot be read."""


def tree(path: str | Path) -> Tree:
    """The files at `path`."""
    path = Path(path)
    if is_folder(path):
        return _Folder(path)
    with told(path):
        archive = zipfile.is_zipfile(path)
    return _Archive(path) if archive else _File(path)


def is_alone(files: Tree) -> bool:
    """Whether a file was given, not a folder or an archive."""
    return isinstance(files, _File)


def files_of(files: Tree) -> Sequence[str]:
    """The names of `files`; raises InvalidInputError if there are none."""
    names = files.names()
    if not names:
        raise InvalidInputError(f"{files.path}: there is no file with JSON in it")
    return names


def records(files: Tree, name: str) -> Iterator[Entry]:
    """The records of a list, or of lines; a file that cannot be read is one entry that says so."""
    try:
        with files.open(name) as stream:
            if are_lines(start_of(stream)):
                yield from lines(stream, name)
                return
            entries = document(stream, name, "messages").entries
            if entries is None:
                yield Entry(1, b"", Unreadable("it holds no list of records"))
                return
            yield from entries
    except InvalidInputError as error:
        yield Entry(1, b"", Unreadable(str(error)))


def whole(files: Tree, name: str) -> bytes | None:
    """The bytes of a list that can be split at once; None where `records` has to find out."""
    try:
        with files.open(name) as stream:
            return whole_list(stream)
    except InvalidInputError:
        return None


def start_of(stream: BinaryIO, size: int = 1 << 16) -> bytes:
    """The first bytes, and back to the beginning."""
    start = stream.read(size)
    stream.seek(0)
    return start


def in_order(name: str) -> tuple[tuple[tuple[str, int], ...], int]:
    """Sorts numbers in names by their value, and `x [part 2].json` after `x.json`."""
    part = re.search(r" \[part (\d{1,9})\]", name)
    if part:
        name = name.replace(part[0], "")
    pieces = re.findall(r"([^0-9]*)([0-9]{0,18})", name)
    return tuple((text, int(digits or -1)) for text, digits in pieces), int(part[1]) if part else 1


def _is_document(name: str) -> bool:
    return name.lower().endswith((".json", ".jsonl", ".ndjson")) and not _LITTER.search(name)


class _File:
    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> Sequence[str]:
        return [label(self.path.name)]

    def open(self, name: str) -> BinaryIO:
        with told(self.path):
            return self.path.open("rb")


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._paths = self._found()

    def names(self) -> Sequence[str]:
        return list(self._paths)

    def open(self, name: str) -> BinaryIO:
        path = self._paths[name]
        with told(path):
            if not path.resolve().is_relative_to(self.path.resolve()):
                raise InvalidInputError(f"{name}: is a link that leads out of the folder")
            if not stat.S_ISREG(path.stat().st_mode):
                raise InvalidInputError(f"{name}: is no regular file")
            return path.open("rb")

    def _found(self) -> Mapping[str, Path]:
        found = {}
        for folder, _, files in os.walk(self.path):
            for file in files:
                path = Path(folder, file)
                name = label(path.relative_to(self.path).as_posix())
                if _is_document(name):
                    found[name] = path
        return {name: found[name] for name in sorted(found, key=in_order)}


class _Archive:
    def __init__(self, path: Path) -> None:
        self.path = path
        with told(path), _unpacked(str(path)):
            self._zip = zipfile.ZipFile(path)
        members = {}
        for member in self._zip.infolist():
            name = label(member.filename).replace("\\", "/")
            if _is_document(name) and not member.is_dir():
                members[name] = member
        self._members = {name: members[name] for name in sorted(members, key=in_order)}
        self._check()

    def names(self) -> Sequence[str]:
        return list(self._members)

    def open(self, name: str) -> BinaryIO:
        with _unpacked(name):
            return io.BufferedReader(_Unpacking(self._zip.open(self._members[name]), name))

    def _check(self) -> None:
        if len(self._zip.infolist()) > MEMBERS_MAX:
            raise InvalidInputError(f"{self.path}: has more than {MEMBERS_MAX} members")
        end = 0
        for member in sorted(self._zip.infolist(), key=lambda each: each.header_offset):
            if member.header_offset < end:
                raise InvalidInputError(
                    f"{self.path}: {label(member.filename)!r} shares bytes with another member, "
                    "as in an archive made to grow without end; unpack what you trust of it"
                )
            end = member.header_offset + member.compress_size
        for name, member in self._members.items():
            if member.flag_bits & _ENCRYPTED:
                raise InvalidInputError(
                    f"{self.path}: {name!r} is encrypted; unpack it and read the folder"
                )
            if member.file_size > MEMBER_BYTES_MAX:
                raise InvalidInputError(
                    f"{self.path}: {name!r} says it has {member.file_size} bytes, and a member may "
                    f"have {MEMBER_BYTES_MAX}; unpack it and read the folder if you trust it"
                )


class _Unpacking(io.RawIOBase):
    """A member as it is unpacked; damage in it is an error of transit."""

    def __init__(self, member: object, name: str) -> None:
        self._member: BinaryIO = member  # type: ignore[assignment]
        self._name = name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        with _unpacked(self._name):
            return self._member.seek(offset, whence)

    def tell(self) -> int:
        return self._member.tell()

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        with _unpacked(self._name):
            piece = self._member.read(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._member.close()
        super().close()


@contextmanager
def _unpacked(name: str) -> Iterator[None]:
    """Damage of an archive, and what `zipfile` does not know, as errors of transit."""
    try:
        yield
    except InvalidInputError:
        raise
    # NotImplementedError, a RuntimeError: a compression that is not known.
    except (*_OF_ARCHIVES, EOFError, RuntimeError, ValueError, OSError) as error:
        raise InvalidInputError(f"{name}: the archive is damaged: {error}") from error
