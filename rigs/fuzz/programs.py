"""What is tried with any bytes by whole programs: opening, inspecting, traces, imports, settings.

As in `rigs.fuzz.formats`: errors of transit's, or of its command, may come out, and
nothing else.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple, cast

import transit
from rigs.fuzz.folder import written
from rigs.fuzz.reseal import STORE
from transit.cli.configuration import Effective, from_file
from transit.cli.exchange import RecordEntry, appendable
from transit.cli.export_lines import Source
from transit.cli.importing import Plan
from transit.cli.values import parse_moment
from transit.format.commit import encode_format
from transit.inspection import inspect_file
from transit.log import recover
from transit.trace.events import (
    Unknown,
    decode_event,
    decode_json,
    encode_json,
    packed_fields,
)
from transit.trace.packing import Packing
from transit.trace.parts import KnownParts
from transit.trace.unpacking import HistoryParts

PLACE: Final = "input"
_READ_MAX: Final = 200
_RECORD_BYTES_MAX: Final = 64 * 1024


def inspected(data: bytes) -> None:
    """A file of a store, whichever it is."""
    with written({"file": data}) as folder:
        report = inspect_file(folder / "file", records=True)
        size = 0
        for part in islice(report.parts, 100 * _READ_MAX):
            assert part.place >= 0
            assert part.size >= 0
            size = max(size, part.place)
        assert size <= len(data)
        assert report.ok == (not report.findings)


def store(data: bytes) -> None:
    """A store whose one WAL file has these bytes: opened to be read, and read."""
    files = {"FORMAT": encode_format(STORE), "wal/00000000000000000000.wal": data}
    with (
        _no_second_looks(),
        written(files) as folder,
        transit.open(folder, mode="read") as log,
    ):
        for stream in islice(log.streams(), _READ_MAX):
            _read(log, stream)
        report = log.verify()
        assert report.ok == (not report.findings)


@contextlib.contextmanager
def _no_second_looks() -> Iterator[None]:
    """No file changes here while it is read: waiting for that would take most of the time."""
    looks = recover.LOOK_AGAIN_S
    recover.LOOK_AGAIN_S = ()  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        recover.LOOK_AGAIN_S = looks  # type: ignore[misc]


def _read(log: transit.Log, stream: transit.Stream) -> None:
    try:
        records = list(islice(stream.read(), _READ_MAX))
        assert [record.offset for record in records] == list(range(len(records)))
        assert len(records) == min(stream.next_offset, _READ_MAX)
        list(islice(stream.batches(), 3))
        assert log.stream(stream.name) == stream
        log.lineage.children(stream)
        assert stream.cursor("c").position >= 0
    except transit.TransitError:
        # One stream's damage is no other stream's.
        return


def trace_event(data: bytes) -> None:
    """A record's payload as an event; it is never an error, and encodes to what it decodes from."""
    event = decode_event(data)
    if isinstance(event, Unknown):
        return
    try:
        again = encode_json(event)
    except transit.InvalidInputError:
        # Numbers that JSON has no text for, from text that only the standard library reads.
        return
    assert encode_json(decode_event(again)) == again


class _Payload(NamedTuple):
    payload: bytes


class _Records:
    """As much of a stream as parts need: one record a line."""

    def __init__(self, lines: list[bytes]) -> None:
        self._records = [_Payload(line) for line in lines]

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[_Payload]:
        return iter(self._records[start:stop])


def trace_parts(data: bytes) -> None:
    """A history of packed events, one a line: read, and taken up by a writer that goes on."""
    lines = data.split(b"\n")
    stream = cast(transit.Stream, _Records(lines))
    KnownParts().catch_up(stream)
    history = HistoryParts(stream)
    history.until(len(lines))
    for offset, line in enumerate(lines):
        event = decode_event(line)
        forms = {
            field: form
            for field in packed_fields(event)
            if (form := getattr(event, field)) is not None
        }
        try:
            history.unpack(offset, forms, PLACE)
        except transit.CorruptError:
            continue


def trace_packing(data: bytes) -> None:
    """Values, one a line of JSON: packed one after another, and the same when they are read."""
    known, history = KnownParts(), HistoryParts(cast(transit.Stream, _Records([])))
    for offset, line in enumerate(data.split(b"\n")):
        try:
            value = decode_json(line)
            text = encode_json(value)
        except ValueError:
            return
        packing = Packing(known)
        form = packing.pack(value)
        payload = packing.finish(encode_json({"event": "custom", "name": "n", "data": form}))
        known.passed(packing.parts.digests, packing.lists.digests)
        history.add(payload)
        if form is None:
            continue
        event = decode_event(payload)
        found = history.unpack(offset, {"data": getattr(event, "data", None)}, PLACE)
        assert found is not None
        assert encode_json(found["data"]) == text


def imported(data: bytes) -> None:
    """An export: read as an import does before it writes."""
    source = Source(PLACE, io.BytesIO(data))
    for place, entry in source.entries(_RECORD_BYTES_MAX):
        if isinstance(entry, RecordEntry):
            appendable(entry, place)
    Plan("").read([source], _RECORD_BYTES_MAX)


def configured(data: bytes) -> None:
    """A configuration file."""
    with written({"transit.toml": data}) as folder:
        path = str(folder / "transit.toml")
        assert Effective(from_file(path), path).rows()


def moments(data: bytes) -> None:
    """A time as people write it."""
    assert isinstance(parse_moment(data.decode(errors="replace")), int)
