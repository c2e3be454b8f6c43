"""The lines of an export, read as often as is wanted.

Owns what a line may be and how long: a stream's, a record's, or one of a chain.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final

import msgspec

from transit.cli.chain import ChainReader
from transit.cli.exchange import STREAM_TYPE, RecordEntry, StreamEntry, damaged
from transit.cli.failures import CommandError
from transit.cli.json_lines import MARK, problem_of
from transit.cli.standard import STDIN, standard_input

# A byte of a payload takes at most six of JSON; the rest is for everything else in a line.
LINE_FACTOR: Final = 6
_LINE_REST: Final = 1024 * 1024

Entry = StreamEntry | RecordEntry
_record_decoder: Final = msgspec.json.Decoder(RecordEntry)
_stream_decoder: Final = msgspec.json.Decoder(StreamEntry)
_any_decoder: Final = msgspec.json.Decoder()


class Source:
    """An input that is read more than once; see `opened`."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self.name = name
        self._file = file

    def entries(self, record_bytes_max: int) -> Iterator[tuple[str, Entry]]:
        """Each line's place and entry; `CommandError` for one that is none."""
        size_max = record_bytes_max * LINE_FACTOR + _LINE_REST
        self._file.seek(0)
        chain: ChainReader | None = None
        number = 0
        while line := self._file.readline(size_max + 1):
            number += 1
            place = f"{self.name}, line {number}"
            if number == 1:
                line = line.removeprefix(MARK)
            if len(line) > size_max:
                raise CommandError(f"{place}: longer than {size_max} bytes")
            if number == 1 and _is_chain(line):
                chain = ChainReader()
            yield (
                place,
                _plain_entry(line, place) if chain is None else _chained(chain, line, place),
            )


@contextmanager
def opened(path: str) -> Iterator[Source]:
    """The file at `path`, or the standard input; what cannot be read twice is copied first."""
    if path == STDIN:
        with _copied(standard_input()) as file:
            yield Source("standard input", file)
        return
    with open(path, "rb") as file:
        if file.seekable():
            yield Source(path, file)
            return
        with _copied(file) as copy:
            yield Source(path, copy)


@contextmanager
def _copied(file: IO[bytes]) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy)
        yield copy


def _is_chain(line: bytes) -> bool:
    """Whether the first line is one of a chain, even a damaged one."""
    try:
        _stream_decoder.decode(line)
    except (ValueError, RecursionError):
        return any(mark in line for mark in (b'"hash"', b'"parent_hash"', b'"event_type"'))
    return False


def _chained(chain: ChainReader, line: bytes, place: str) -> Entry:
    try:
        return chain.entry(line, place)
    except (ValueError, RecursionError) as error:
        found = problem_of(line) or str(error)
        raise damaged(place, expected="a line of a chain", found=found) from None


def _plain_entry(line: bytes, place: str) -> Entry:
    try:
        return _record_decoder.decode(line)
    except (ValueError, RecursionError) as error:
        problem = str(error)
    try:
        known = _any_decoder.decode(line)
        if isinstance(known, dict) and known.get("type") == STREAM_TYPE:
            return _stream_decoder.decode(line)
    except (ValueError, RecursionError) as error:
        problem = str(error)
    raise CommandError(
        f"{place}: neither a stream nor a record: {problem_of(line) or problem}",
        hint="`transit export` writes what can be imported; `transit append` takes other lines",
    )
