"""A file to import, read within bounds: its lines, its one JSON document, or the members of a zip.

Owns what is refused whatever the format: lines, documents and members that are too large, too deep,
not UTF-8 or not JSON, each named with its place. NaN and the infinities, which JSON lacks and many
programs write, are read as the texts "NaN", "Infinity" and "-Infinity". Lines and members are read
one at a time; only a document is in memory as a whole.
"""

from __future__ import annotations

import json
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from blake3 import blake3

from transit import InvalidInputError

MIB: Final = 1024 * 1024
LINE_BYTES_MAX: Final = 64 * MIB
DOCUMENT_BYTES_MAX: Final = 512 * MIB
MEMBERS_MAX: Final = 200_000
# What a zip may become in all: logs that repeat themselves shrink far, and bombs further.
ZIP_BYTES_MAX: Final = 1024 * MIB
ZIP_FACTOR_MAX: Final = 1000
# Deeper than any program writes, and within what every step here can descend into.
DEPTH_MAX: Final = 200
_LOOK_LINES: Final = 20
_ZIP_MARK: Final = b"PK\x03\x04"
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_READ_BYTES: Final = MIB
# The method that programs write Zstandard members with; Python's own module knows it from 3.14 on.
_ZSTD_METHOD: Final = 93
_LOCAL_HEADER_BYTES: Final = 30

JsonObject = dict[str, object]


class Line(NamedTuple):
    """A line that is not blank: its number from 1, where it begins, its bytes."""

    number: int
    start: int
    data: bytes


class Tally:
    """What was found in a source.

    records: lines, messages, steps, spans or events, as the format has them. raw: those among them
    that no type of event says anything of. skipped: those left out because they are bad.
    problems: the places of these, the first hundred.
    """

    PROBLEMS_MAX: Final = 100

    def __init__(self, skip_bad: bool = False) -> None:
        self._skip_bad = skip_bad
        self.records = 0
        self.raw = 0
        self.skipped = 0
        self.problems: list[str] = []

    def bad(self, place: str, problem: str) -> None:
        """Count what cannot be used, or refuse the file for it: `InvalidInputError`."""
        if not self._skip_bad:
            error = InvalidInputError(f"{place}: {problem}" if place else problem)
            error.add_note("`--skip-bad`, or skip_bad=True, leaves it out and counts it")
            raise error
        self.skipped += 1
        if len(self.problems) < self.PROBLEMS_MAX:
            self.problems.append(f"{place}: {problem}" if place else problem)


class Source:
    """One file; `name` is how messages call it, `stem` its name without endings.

    label: goes before places in a file that was found by another: which of them it is.
    """

    def __init__(self, path: str | Path, tally: Tally | None = None, label: str = "") -> None:
        self.path = Path(path)
        self.label = label
        self.name = str(path)
        self.tally = Tally() if tally is None else tally

    @property
    def stem(self) -> str:
        """The file's name without `.jsonl`, `.traj.json`, `.trajectory.json` and the like."""
        name = self.path.name
        for ending in (".json", ".jsonl", ".ndjson", ".eval", ".traj", ".trajectory"):
            name = name.removesuffix(ending) or name
        return name

    @cached_property
    def size(self) -> int:
        """Of the file, bytes."""
        return self.path.stat().st_size

    @cached_property
    def digest(self) -> str:
        """BLAKE3 of the file, 64 hex digits."""
        digest = blake3()
        with self.path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    def bad(self, place: str, problem: str) -> None:
        """As `Tally.bad`, of a place in this file."""
        self.tally.bad(f"{self.name}, {place}", problem)

    def refuse(self, problem: str) -> InvalidInputError:
        """The error for a file that cannot be used at all."""
        return InvalidInputError(f"{self.name}: {problem}")

    # A document

    @cached_property
    def is_zip(self) -> bool:
        """Whether it begins as a zip does."""
        with self.path.open("rb") as file:
            return file.read(len(_ZIP_MARK)) == _ZIP_MARK

    @cached_property
    def document(self) -> object:
        """The JSON value that the file is; `InvalidInputError` when it is none."""
        if self.size > DOCUMENT_BYTES_MAX:
            raise self.refuse(f"a document of more than {DOCUMENT_BYTES_MAX} bytes")
        return decode(self.path.read_bytes().removeprefix(_UTF8_MARK), self.name)

    @cached_property
    def whole(self) -> object:
        """The document, None where the file is none: a zip, lines, or no JSON."""
        if self.is_zip or self.is_lines:
            return None
        try:
            return self.document
        except InvalidInputError:
            return None

    # Lines

    @cached_property
    def is_lines(self) -> bool:
        """Whether it holds JSON values a line, more than one; some may be bad."""
        good, number = 0, 0
        if self.is_zip or self._is_one_line:
            return False
        for line in self.lines():
            number += 1
            if number > _LOOK_LINES:
                break
            try:
                good += isinstance(decode(line.data, self.name), dict)
            except InvalidInputError:
                continue
        # A document that is written over many lines has hardly a line that is a whole object.
        return number > 1 and 2 * good >= min(number, _LOOK_LINES)

    @cached_property
    def _is_one_line(self) -> bool:
        """Whether it begins with more than a line may have: then it can only be a document."""
        with self.path.open("rb") as file:
            return len(file.readline(LINE_BYTES_MAX + 1)) > LINE_BYTES_MAX

    @cached_property
    def first_objects(self) -> list[JsonObject]:
        """The objects among the first lines: what tells the formats with lines apart."""
        found: list[JsonObject] = []
        if self.is_zip or self._is_one_line:
            return found
        for line in self.lines():
            if line.number > _LOOK_LINES or len(found) == _LOOK_LINES:
                break
            try:
                value = decode(line.data, self.name)
            except InvalidInputError:
                continue
            if isinstance(value, dict):
                found.append(value)
        return found

    def lines(self) -> Iterator[Line]:
        """The lines that are not blank; `InvalidInputError` for one that is too long."""
        with self.path.open("rb") as file:
            number = start = 0
            while data := file.readline(LINE_BYTES_MAX + 1):
                number += 1
                if len(data) > LINE_BYTES_MAX:
                    raise self.refuse(f"line {number}: longer than {LINE_BYTES_MAX} bytes")
                size = len(data)
                if number == 1:
                    data = data.removeprefix(_UTF8_MARK)
                if data := data.strip():
                    yield Line(number, start, data)
                start += size

    def line_at(self, start: int) -> bytes:
        """The line that begins there."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.readline(LINE_BYTES_MAX + 1).removeprefix(_UTF8_MARK).strip()

    def objects(self) -> Iterator[tuple[int, int, JsonObject]]:
        """Number, beginning and value of each line that is an object; others are bad."""
        for line in self.lines():
            self.tally.records += 1
            place = f"line {line.number}"
            try:
                value = decode(line.data, f"{self.name}, {place}")
            except InvalidInputError as error:
                self.tally.bad("", str(error))
                continue
            if isinstance(value, dict):
                yield line.number, line.start, value
            else:
                self.bad(place, f"not an object but {type(value).__name__}")

    def value_of(self, data: bytes) -> object:
        """The JSON value of a line that `lines` gave."""
        return decode(data, self.name)

    # A zip

    @contextmanager
    def members(self) -> Iterator[Members]:
        """The members of the zip that the file is; `InvalidInputError` when it is none."""
        try:
            with self.path.open("rb") as file, zipfile.ZipFile(file) as opened:
                if len(opened.infolist()) > MEMBERS_MAX:
                    raise self.refuse(f"a zip of more than {MEMBERS_MAX} members")
                whole = sum(each.file_size for each in opened.infolist())
                if whole > max(ZIP_BYTES_MAX, ZIP_FACTOR_MAX * self.size):
                    raise self.refuse(f"a zip of {self.size} bytes that would become {whole}")
                yield Members(self, opened)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise self.refuse(f"not a whole zip: {error}") from None


class Members:
    """An open zip: what JSON each member is, read within bounds whatever the zip says of sizes."""

    def __init__(self, source: Source, opened: zipfile.ZipFile) -> None:
        self._source = source
        self._opened = opened
        # A name that is there twice was replaced: the last one counts, as for every reader.
        self.names = list(dict.fromkeys(each.filename for each in opened.infolist()))

    def value(self, name: str) -> object:
        """The JSON value of a member."""
        place = f"{self._source.name}, member {name}"
        return decode(self._bytes(name, place), place)

    def _bytes(self, name: str, place: str) -> bytes:
        info = self._opened.getinfo(name)
        if info.file_size > DOCUMENT_BYTES_MAX:
            raise InvalidInputError(f"{place}: more than {DOCUMENT_BYTES_MAX} bytes")
        if info.flag_bits & 1:
            raise InvalidInputError(f"{place}: encrypted")
        try:
            if info.compress_type == _ZSTD_METHOD:
                return self._zstd(info, place)
            with self._opened.open(info) as member:
                # Never more than the size that was looked at above.
                return member.read(info.file_size)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise InvalidInputError(f"{place}: not readable: {error}") from None

    def _zstd(self, info: zipfile.ZipInfo, place: str) -> bytes:
        with self._source.path.open("rb") as file:
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER_BYTES)
            if len(header) < _LOCAL_HEADER_BYTES or not header.startswith(_ZIP_MARK):
                raise InvalidInputError(f"{place}: no header where it should be")
            skipped = int.from_bytes(header[26:28], "little") + int.from_bytes(
                header[28:30], "little"
            )
            file.seek(info.header_offset + _LOCAL_HEADER_BYTES + skipped)
            packed = file.read(info.compress_size)
        try:
            data = unzstd(packed, info.file_size)
        except ValueError as error:
            raise InvalidInputError(f"{place}: not readable: {error}") from None
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise InvalidInputError(f"{place}: its checksum is another")
        return data


def unzstd(packed: bytes, size_max: int) -> bytes:
    """The content of Zstandard frames up to a size; `ValueError` when they are none."""
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdDecompressor, ZstdError  # few zips need it
    else:
        from backports.zstd import ZstdDecompressor, ZstdError  # few zips need it

    pieces: list[bytes] = []
    left = size_max
    try:
        # A member may be several frames, one after the other.
        while packed and left >= 0:
            one = ZstdDecompressor()
            pieces.append(one.decompress(packed, left + 1))
            left -= len(pieces[-1])
            if not one.eof:
                raise ValueError("not whole, or larger than it says")
            packed = one.unused_data
    except ZstdError as error:
        raise ValueError(str(error)) from None
    return b"".join(pieces)


def decode(data: bytes, place: str) -> object:
    """The JSON value in `data`; `InvalidInputError` with `place` when there is none."""
    try:
        value: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = _plainly(data, place)
    if _depth_estimate(data) > DEPTH_MAX and depth_of(value) > DEPTH_MAX:
        raise InvalidInputError(f"{place}: nested more than {DEPTH_MAX} deep")
    return value


def _plainly(data: bytes, place: str) -> object:
    """The same by the standard library: NaN, half a surrogate pair, or no JSON at all."""
    try:
        return json.loads(data.decode("utf-8"), parse_constant=str)
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{place}: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise InvalidInputError(f"{place}: nested more than {DEPTH_MAX} deep") from None
    except ValueError as error:
        raise InvalidInputError(f"{place}: not JSON: {error}") from None


def _depth_estimate(data: bytes) -> int:
    """At least how deep it is: quick to tell, and nearly always enough."""
    return data.count(b"{") + data.count(b"[")


def depth_of(value: object) -> int:
    """How deep lists and objects are nested in `value`, counted without descending by calls."""
    deepest = 0
    waiting: list[tuple[object, int]] = [(value, 1)]
    while waiting:
        each, depth = waiting.pop()
        if isinstance(each, dict):
            inner: Iterator[object] = iter(each.values())
        elif isinstance(each, list):
            inner = iter(each)
        else:
            continue
        deepest = max(deepest, depth)
        if deepest > DEPTH_MAX:
            return deepest
        waiting.extend((item, depth + 1) for item in inner if isinstance(item, dict | list))
    return deepest
