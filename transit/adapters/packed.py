"""Records whose values repeat what earlier records of the stream said, as model calls do.

A value of 4 KiB or more that is JSON of every kind is cut into parts as `transit.trace` cuts it, so
that a conversation is written once and not in every call. A reader puts it together again. Owns
what such records look like: the JSON of a `Custom` event of `transit.trace`, with the header
`packed`. Others are as `encoding` has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from blake3 import blake3

from transit import CorruptError, Log, Record, ReentrantCallError, Stream
from transit.adapters.encoding import Encoded, decode, stored, whole
from transit.trace.artifacts import read_stored, store_bytes
from transit.trace.events import Custom, Event, decode_event
from transit.trace.packed import Make, PackedEvents
from transit.trace.parts import KnownParts
from transit.trace.unpacking import HistoryParts
from transit.trace.writing import RECORD_BYTES, encode_event, packed_event

PACKED: Final = "packed"
PACKED_BYTES_MIN: Final = 4096
# An object with this member would be taken for a message, which is one part.
_ROLE: Final = "role"
_SET_APART: Final = "role of an object that is no message"


class PackedWriter:
    """Writes the records of one stream. Safe for threads."""

    def __init__(self, log: Log, stream: Stream, durability: str) -> None:
        self._log, self.stream, self._durability = log, stream, durability
        self._packed = PackedEvents(stream, durability, KnownParts(), self._fit, lambda _: None)

    def write(self, kind: str, given: Encoded) -> None:
        """Append a record with the header `kind`."""
        headers = {"kind": kind, **given.headers}
        if len(given.payload) < PACKED_BYTES_MIN or given.value is None:
            self._plain(given, headers)
            return
        value = _set_apart(given.value)

        def make(packing: Any) -> Event:
            return packed_event(Custom(name=kind, data=value), packing)

        self._packed.write(make, {**headers, PACKED: "true"})

    def _plain(self, given: Encoded, headers: Mapping[str, str]) -> None:
        kept = stored(self._log, given, self._durability)
        said = {**headers, **kept.headers}
        try:
            receipt = self.stream.append(kept.payload, headers=said, durability=self._durability)
        except ReentrantCallError:
            # In the middle of another call of this thread: it is written when that ends.
            self.stream.submit(kept.payload, headers=said, durability=self._durability)
        else:
            self._packed.pass_over(receipt.offset)

    def _fit(self, make: Make, payload: bytes) -> bytes:
        """What is new of a value may be too large for a record: all of it is an artifact then."""
        if len(payload) <= RECORD_BYTES:
            return payload
        event = make(_Whole())  # type: ignore[arg-type]
        assert isinstance(event, Custom)
        data = msgspec.json.encode(event.data)
        name = store_bytes(self._log, data, blake3(data).hexdigest(), self._durability)
        return encode_event(msgspec.structs.replace(event, data=None, large={"data": name}))


class PackedReader:
    """The values of the records of one stream, given all of them in order."""

    def __init__(self, stream: Stream, log: Log | None = None) -> None:
        self._log = log
        self._parts = HistoryParts(stream)
        self._name = stream.name

    def take_none(self, record: Record) -> None:
        """Pass over the next record, which has no value or none that is asked for."""
        self._parts.add(record.payload)

    def take(self, record: Record) -> Any:
        """The value of the next record. What is too large is left out where no log was given."""
        self.take_none(record)
        if record.headers.get(PACKED) != "true":
            if self._log is None:
                return decode(record.payload)
            return decode(whole(self._log, record.payload, record.headers))
        event = decode_event(record.payload)
        place = f"{self._name}@{record.offset}"
        if not isinstance(event, Custom):
            raise CorruptError(place, expected="packed values", found=type(event).__name__)
        if event.large:
            if self._log is None:
                return {"artifact": event.large["data"]}
            return _put_back(decode(read_stored(self._log, event.large["data"])))
        values = self._parts.unpack(record.offset, {"data": event.data}, place)
        if values is None:
            raise CorruptError(place, expected="packed values", found="others")
        return _put_back(values["data"])


def values_of(log: Log, stream: Stream) -> Iterator[tuple[Record, Any]]:
    """The records of a stream with their values."""
    reader = PackedReader(stream, log)
    for record in stream.read():
        yield record, reader.take(record)


class _Whole:
    """Packs nothing: values stay as they are."""

    def pack(self, value: object) -> object:
        return value


def _set_apart(value: Any) -> Any:
    if isinstance(value, dict) and _ROLE in value:
        return {(_SET_APART if key == _ROLE else key): each for key, each in value.items()}
    return value


def _put_back(value: Any) -> Any:
    if isinstance(value, dict) and _SET_APART in value:
        return {(_ROLE if key == _SET_APART else key): each for key, each in value.items()}
    return value
