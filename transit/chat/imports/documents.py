"""JSON of exports: a document that holds a list of records, or a record a line.

Owns what is read although it is not quite JSON, and what is not. A record that is damaged is told
in its place, and the next one is read: a cut file gives what is before the cut. What comes out can
always be written as JSON again:

- a lone surrogate stays as its escape, the six characters `\\ud83d`;
- a number that 64 bits do not hold stays as its digits, a text;
- a record nested deeper than `DEPTH_MAX` is refused.

A document of up to `WHOLE_BYTES_MAX` is split by msgspec, and by the scanner if msgspec finds a
fault in it. A larger one is scanned as it is read, and no more than one record of it is in memory.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple, NoReturn

import msgspec

from transit import InvalidInputError
from transit.chat.imports.scanner import CutShortError, Scanner

WHOLE_BYTES_MAX = 64 << 20
RECORD_BYTES_MAX = 64 << 20
DEPTH_MAX = 100

_BOM = b"\xef\xbb\xbf"
_decoder = msgspec.json.Decoder()
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_map_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
# A number outside a text of more digits than 64 bits surely hold; a quick look says where none is.
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_RUN = b"0" * 19
_LONG_NUMBER = re.compile(rb"[\s:,\[-]\d{19}")
_FAR_FLOAT = (float("inf"), float("-inf"))


class Unreadable(msgspec.Struct, frozen=True):
    """Why bytes are no record."""

    reason: str


class Entry(NamedTuple):
    """A record of a document: its number from 1, its bytes, and what they say."""

    number: int
    raw: bytes
    value: object


class Document(NamedTuple):
    """What is beside the list, and the list; None if there is no such list."""

    head: Mapping[str, object]
    entries: Iterator[Entry] | None


def decode(raw: bytes) -> object:
    """What JSON says, or `Unreadable`."""
    try:
        try:
            value = _decoder.decode(raw)
        except ValueError:
            return _clean(_decode_oddities(raw), 0)
        if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX or (
            _LONG_RUN in raw.translate(_DIGITS) and _LONG_NUMBER.search(raw)
        ):
            return _clean(value, 0)
    except RecursionError:
        return Unreadable(f"it is nested deeper than {DEPTH_MAX} levels")
    except UnicodeDecodeError as error:
        return Unreadable(f"it is not UTF-8 at byte {error.start}")
    except ValueError as error:
        return Unreadable(f"it is not JSON: {error}")
    return value


def document(stream: BinaryIO, name: str, key: str) -> Document:
    """A list, or an object with a list at `key`, of the file called `name`."""
    data = stream.read(WHOLE_BYTES_MAX + 1)
    data = _without_bom(data, name)
    if len(data) <= WHOLE_BYTES_MAX:
        try:
            return _split(data, key)
        # RecursionError: far too deep; what is before it can be read.
        except (ValueError, RecursionError):
            stream = io.BytesIO()
    return _scan(Scanner(stream, data, RECORD_BYTES_MAX), name, key)


def whole_list(stream: BinaryIO) -> bytes | None:
    """A document that is a list, and not too large to be split at once; None for others."""
    data = stream.read(WHOLE_BYTES_MAX + 1).removeprefix(_BOM)
    return data if len(data) <= WHOLE_BYTES_MAX and data.lstrip()[:1] == b"[" else None


def lines(stream: BinaryIO, name: str) -> Iterator[Entry]:
    """A record a line; empty lines are counted and passed over."""
    number = 0
    while line := stream.readline(RECORD_BYTES_MAX + 1):
        number += 1
        if number == 1:
            line = _without_bom(line, name)
        if len(line) > RECORD_BYTES_MAX:
            yield Entry(number, line, Unreadable(f"it is longer than {RECORD_BYTES_MAX} bytes"))
            skip_line(stream)
        elif stripped := line.strip():
            yield Entry(number, stripped, decode(stripped))


def skip_line(stream: BinaryIO) -> None:
    """Read up to the end of a line that is too long."""
    while (piece := stream.readline(1 << 20)) and not piece.endswith(b"\n"):
        pass


def are_lines(start: bytes) -> bool:
    """Whether a file that begins so has a record a line, not one document."""
    rows = start.removeprefix(_BOM).split(b"\n")[:20]
    whole = [row for row in rows if row.startswith(b"{") and row.rstrip().endswith(b"}")]
    return len(whole) > 1 or (len(whole) == 1 and any(row.strip() for row in rows[1:]))


def _without_bom(data: bytes, name: str) -> bytes:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidInputError(f"{name}: is UTF-16; save it as UTF-8 and read that")
    return data.removeprefix(_BOM)


def _split(data: bytes, key: str) -> Document:
    if data.lstrip()[:1] != b"{":
        return Document({}, _each(_list_decoder.decode(data)))
    members = _map_decoder.decode(data)
    raw = members.pop(key, None)
    head = {name: decode(bytes(member)) for name, member in members.items()}
    if raw is None or bytes(memoryview(raw)[:1]) != b"[":
        return Document(head, None)
    return Document(head, _each(_list_decoder.decode(raw)))


def _each(raws: list[msgspec.Raw]) -> Iterator[Entry]:
    for number, raw in enumerate(raws, 1):
        data = bytes(raw)
        yield Entry(number, data, decode(data))


def _scan(scanner: Scanner, name: str, key: str) -> Document:
    first = scanner.peek()
    if not first:
        raise InvalidInputError(f"{name}: is empty; an export in JSON was expected")
    if first not in b"[{":
        raise InvalidInputError(f"{name}: is not JSON of an export: it is no list and no object")
    scanner.take()
    if first == b"[":
        return Document({}, _scanned(scanner))
    head: dict[str, object] = {}
    while scanner.peek() == b'"':
        try:
            member = decode(scanner.value())
            if scanner.peek() != b":":
                break
            scanner.take()
            if member == key and scanner.peek() == b"[":
                scanner.take()
                return Document(head, _scanned(scanner))
            head[str(member)] = decode(scanner.value())
        except CutShortError as error:
            raise InvalidInputError(f"{name}: is not JSON: {error}") from error
        if scanner.peek() == b",":
            scanner.take()
    if scanner.peek() != b"}":
        raise InvalidInputError(f"{name}: is not JSON at member {len(head) + 1}")
    return Document(head, None)


def _scanned(scanner: Scanner) -> Iterator[Entry]:
    """The records up to the end of the list, whatever is between them."""
    number = 0
    while (byte := scanner.peek()) != b"]":
        if byte == b",":
            scanner.take()
            continue
        number += 1
        try:
            raw = scanner.value()
        except CutShortError as error:
            yield Entry(number, scanner.rest(), Unreadable(str(error)))
            return
        yield Entry(number, raw, decode(raw))


def _decode_oddities(raw: bytes) -> object:
    return json.loads(
        raw.decode("utf-8"), parse_int=_whole, parse_float=_real, parse_constant=_refuse
    )


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) < 30 else digits


def _real(digits: str) -> float | str:
    return digits if float(digits) in _FAR_FLOAT else float(digits)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _clean(value: object, depth: int) -> object:
    """The same, of what can be written as JSON; raises RecursionError where it is too deep."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    if not isinstance(value, dict | list):
        return value
    if depth == DEPTH_MAX:
        raise RecursionError
    if isinstance(value, list):
        return [_clean(each, depth + 1) for each in value]
    return {escaped(name): _clean(each, depth + 1) for name, each in value.items()}


def escaped(text: str) -> str:
    """`text` with lone surrogates, which cannot be written, as their escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
