"""The "chain" spelling of an export: each line holds the digest of the line before it.

A line is a JSON object:

    hash          BLAKE3, 64 hex digits, of the canonical JSON of the line without "hash"
    parent_hash   the hash of the line before; null on a stream's first line
    event_type    "transit.stream" on a stream's first line; else the header "kind", or "record"
    data          the payload as text; on the first line what the stream is, as JSON in text
    encoding      "utf-8" or "base64": how `data` is to be read, never guessed
    timestamp     RFC 3339 with nanoseconds; null on the first line
    headers       an object, empty without headers
    stream        the stream's name
    offset        the record's offset; null on the first line

Canonical JSON: keys sorted, no spaces, UTF-8, nothing escaped that need not be. In Python's words:
`json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()`.

The first line says how many records follow, so a chain that was cut short is found too. A chain
proves that its lines belong together, not who wrote them: for that, keep the last hash elsewhere.
"""

from __future__ import annotations

from typing import Final

import msgspec
from blake3 import blake3

from transit.cli.exchange import RecordEntry, StreamEntry, damaged
from transit.cli.records import Encoding, RecordLine

STREAM_EVENT: Final = "transit.stream"
RECORD_EVENT: Final = "record"
KIND_HEADER: Final = "kind"

_encoder: Final = msgspec.json.Encoder(order="sorted")


class _Content(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line without its hash: what the hash is of."""

    parent_hash: str | None
    event_type: str
    data: str
    encoding: Encoding
    timestamp: str | None
    headers: dict[str, str]
    stream: str
    offset: int | None


class ChainLine(_Content, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of a chain."""

    hash: str


_CONTENT_FIELDS: Final = _Content.__struct_fields__
_line_decoder: Final = msgspec.json.Decoder(ChainLine)
_facts_decoder: Final = msgspec.json.Decoder(StreamEntry)


class ChainWriter:
    """Turns entries into the lines of chains, one chain a stream."""

    def __init__(self) -> None:
        self._last: str | None = None

    def stream(self, entry: StreamEntry) -> bytes:
        """The first line of a stream's chain."""
        self._last = None
        return self._line(
            event_type=STREAM_EVENT,
            data=_encoder.encode(entry).decode(),
            encoding="utf-8",
            timestamp=None,
            headers={},
            stream=entry.name,
            offset=None,
        )

    def record(self, record: RecordLine) -> bytes:
        """The line of a record."""
        return self._line(
            event_type=record.headers.get(KIND_HEADER, RECORD_EVENT),
            data=record.payload,
            encoding=record.encoding,
            timestamp=record.timestamp,
            headers=record.headers,
            stream=record.stream,
            offset=record.offset,
        )

    def _line(self, **fields: object) -> bytes:
        content = {"parent_hash": self._last, **fields}
        self._last = blake3(_encoder.encode(content)).hexdigest()
        return _encoder.encode({"hash": self._last, **content}) + b"\n"


class ChainReader:
    """Turns lines of chains back into entries; an error (`damaged`) where a link does not
    hold.

    Lines may be written with other spaces or key orders: the hash is of the canonical form.
    """

    def __init__(self) -> None:
        self._last: str | None = None

    def entry(self, data: bytes, place: str) -> StreamEntry | RecordEntry:
        """The entry of one line at `place`; `ValueError` for what is no line of a chain."""
        line = _line_decoder.decode(data)
        content = {name: getattr(line, name) for name in _CONTENT_FIELDS}
        found = blake3(_encoder.encode(content)).hexdigest()
        if found != line.hash:
            raise damaged(place, expected=f"hash {line.hash}", found=found)
        if line.parent_hash is not None and line.parent_hash != self._last:
            raise damaged(place, expected=f"parent_hash {self._last}", found=str(line.parent_hash))
        self._last = line.hash
        if line.parent_hash is None:
            return _facts(line, place)
        return RecordEntry(
            stream=line.stream,
            offset=line.offset,
            timestamp=line.timestamp,
            payload=line.data,
            encoding=line.encoding,
            headers=line.headers,
        )


def _facts(line: ChainLine, place: str) -> StreamEntry:
    if line.event_type != STREAM_EVENT:
        raise damaged(
            place, expected=f"a first line, {STREAM_EVENT}", found=f"{line.event_type}, no parent"
        )
    entry = _facts_decoder.decode(line.data)
    if entry.own is None:
        raise damaged(place, expected="the count of records", found="none")
    return entry
