"""Writing: events as records of one stream, whatever the values in them are.

Owns the way of an event to the log: redaction, encoding, artifacts for what is too large for a
record, parts for what the history may hold, and the sums that the end of the run tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

import msgspec
from blake3 import blake3

from transit import InvalidInputError, Log, ReentrantCallError, Stream
from transit.trace.artifacts import store_bytes
from transit.trace.events import (
    CallChunk,
    CallRequest,
    CallResult,
    Event,
    Message,
    ToolRequest,
    ToolResult,
    encode_json,
    is_always_packed,
    packed_fields,
)
from transit.trace.models import with_cached
from transit.trace.packed import TAKEN_UP, PackedEvents
from transit.trace.packing import Packing
from transit.trace.parts import KnownParts
from transit.trace.redaction import Redaction
from transit.trace.sums import Sums
from transit.trace.values import encode_plain, plain

Make = Callable[[Packing], Event]
# A record that would be larger has its values in artifacts.
RECORD_BYTES: Final = 4 * 1024 * 1024
# Calls with values below this are written as they are.
_PACKED_BYTES: Final = 512
_VALUES: Final[dict[type, tuple[str, ...]]] = {
    ToolRequest: ("arguments",),
    ToolResult: ("result",),
}


class Options(msgspec.Struct, frozen=True):
    """How a run is recorded.

    durability: what each record waits for. redaction: what is replaced. strict: whether what cannot
    be recorded is the program's affair, and raises.
    """

    durability: str = "os"
    redaction: Redaction | None = None
    strict: bool = False


class EventWriter:
    """Writes the events of one run. Safe for threads."""

    def __init__(
        self, log: Log, stream: Stream, options: Options, known: KnownParts | None = None
    ) -> None:
        self._log = log
        self._stream = stream
        self._options = options
        self._policy, self._durability = options.redaction, options.durability
        self.sums = Sums(stream.name)
        known = KnownParts() if known is None else known
        self._packed = PackedEvents(stream, options.durability, known, self._fitted, self.sums.add)

    def write(self, event: Event, headers: Mapping[str, str] | None, timestamp: int | None) -> int:
        """Append an event that has no parts: its offset."""
        if self._policy is not None:
            event = redacted(event, self._policy)
        payload = encode_event(event)
        if len(payload) > RECORD_BYTES:
            payload = self._without_large(event)
        try:
            receipt = self._stream.append(
                payload, headers=headers, timestamp=timestamp, durability=self._durability
            )
        except ReentrantCallError:
            self._stream.submit(payload, headers=headers, timestamp=timestamp)
            self.sums.add(event)
            return TAKEN_UP
        self._packed.pass_over(receipt.offset)
        self.sums.add(event)
        return receipt.offset

    def write_packed(
        self, make: Make, headers: Mapping[str, str] | None, timestamp: int | None
    ) -> int:
        """Append an event that refers to parts the history holds, and brings the others along.

        Appended under the condition that the history is the one the references are about; when
        another writer was faster, they are worked out again.
        """
        wanted = make if self._policy is None else _redacting(make, self._policy)
        return self._packed.write(wanted, headers, timestamp)

    def write_call(
        self,
        event: CallRequest | CallChunk | CallResult,
        headers: Mapping[str, str] | None,
        timestamp: int | None = None,
    ) -> int:
        """Append an event of a call, with parts where its values are large."""
        if not fields_to_pack(event):
            return self.write(event, headers, timestamp)
        return self.write_packed(lambda packing: packed_event(event, packing), headers, timestamp)

    def write_later(self) -> None:
        """Write what was taken up in the middle of another call."""
        self._packed.write_later()

    def known_until(self, stop: int) -> KnownParts:
        """What the history before `stop` holds."""
        return self._packed.known_until(stop)

    # Large values

    def _fitted(self, make: Make, payload: bytes) -> bytes:
        """The payload of an event with parts, if need be without them."""
        if len(payload) <= RECORD_BYTES:
            return payload
        event = make(cast(Packing, _Whole()))
        return self._without_large(event)

    def _without_large(self, event: Event) -> bytes:
        """The payload of an event whose large values are in artifacts."""
        large: dict[str, str] = {}
        for field in packed_fields(event) or _VALUES.get(type(event), ()):
            data = encode_plain(getattr(event, field))
            if len(data) > RECORD_BYTES // 4:
                digest = blake3(data).hexdigest()
                large[field] = store_bytes(self._log, data, digest, self._options.durability)
        without: dict[str, object] = dict.fromkeys(large)
        return encode_event(msgspec.structs.replace(event, **without, large=large))


def fields_to_pack(event: Event) -> tuple[str, ...]:
    """The fields of an event that are to be packed: of calls those whose values are large."""
    fields = packed_fields(event)
    if is_always_packed(event):
        return fields
    # All or none: a reader sees only that a record brings parts.
    values = {name: value for name in fields if (value := getattr(event, name)) is not None}
    is_large = any(_left_of(value, _PACKED_BYTES) < 0 for value in values.values())
    return tuple(values) if is_large else ()


def packed_event(event: Event, packing: Packing) -> Event:
    """An event whose values are whole, with its fields packed."""
    event = with_cached(event)
    # A message is a part by itself, which later requests refer to.
    pack = packing.pack_whole if isinstance(event, Message) else packing.pack
    packed = {field: pack(getattr(event, field)) for field in fields_to_pack(event)}
    return msgspec.structs.replace(event, **packed) if packed else event


def _left_of(form: object, room: int) -> int:
    """What is left of `room` bytes for the JSON of a value, about; negative: it is larger."""
    if type(form) is str:
        return room - len(form)
    if type(form) is dict:
        for key, member in form.items():
            room = _left_of(member, room - len(key) - 4)
            if room < 0:
                return room
        return room
    if type(form) is list:
        for item in form:
            room = _left_of(item, room - 1)
            if room < 0:
                return room
    return room - 4


class _Whole:
    """Packs nothing: values stay as they are."""

    def pack(self, value: object) -> object:
        return value

    def pack_whole(self, value: object) -> object:
        return value


_encoder: Final = msgspec.json.Encoder()


def encode_event(event: Event) -> bytes:
    """An event as the JSON of its record; values that JSON does not have are in plain form."""
    try:
        data = _encoder.encode(event)
        if b"null" not in data:
            return data
    except Exception:
        # Its values say themselves how they are recorded.
        pass
    values = {name: getattr(event, name) for name in _VALUES.get(type(event), ())}
    made = {name: plain(value) for name, value in values.items() if value is not None}
    return encode_json(msgspec.structs.replace(event, **made) if made else event)


def redacted(event: Event, policy: Redaction) -> Event:
    """An event as a policy lets it be recorded."""
    values = {name: getattr(event, name) for name in _VALUES.get(type(event), ())}
    cleaned = {name: policy.value(each) for name, each in values.items() if each is not None}
    hidden = sum(count for _, count in cleaned.values())
    if cleaned:
        event = msgspec.structs.replace(
            event, **{name: each for name, (each, _) in cleaned.items()}
        )
    tree = msgspec.to_builtins(event)
    members, count = policy.event(tree)
    if not count + hidden:
        return event
    members["redacted"] = event.redacted + count + hidden
    try:
        found: Event = msgspec.convert(members, type(event))
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"redacted, it is no {tree['event']} any more: {error}") from None
    return found


def _redacting(make: Make, policy: Redaction) -> Make:
    def made(packing: Packing) -> Event:
        clean = _Clean(packing, policy)
        event = make(cast(Packing, clean))
        fields = packed_fields(event)
        forms = {field: getattr(event, field) for field in fields}
        empty: dict[str, object] = dict.fromkeys(fields)
        rest = redacted(msgspec.structs.replace(event, **empty), policy)
        count = rest.redacted + clean.count
        return msgspec.structs.replace(rest, **forms, redacted=count)

    return made


class _Clean:
    """Packs values as a policy lets them be recorded."""

    def __init__(self, packing: Packing, policy: Redaction) -> None:
        self._packing = packing
        self._policy = policy
        self.count = 0

    def pack(self, value: object) -> object:
        return self._packing.pack(self._cleaned(value))

    def pack_whole(self, value: object) -> object:
        return self._packing.pack_whole(self._cleaned(value))

    def _cleaned(self, value: object) -> object:
        value, count = self._policy.value(value)
        self.count += count
        return value
