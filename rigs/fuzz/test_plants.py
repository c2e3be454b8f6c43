"""Decoders that are wrong on purpose are found by the same inputs that find nothing otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rigs.fuzz import formats
from rigs.fuzz.targets import TARGETS, inputs, violation
from transit.format import (
    commit,
    compression,
    cursor,
    frame,
    life,
    lineage,
    names,
    record,
    segment,
    snapshot,
)
from transit.format.segment import SegmentIndex
from transit.trace import events

SEEDS = Path(__file__).parent / "seeds"
COUNT = 6000

Patch = pytest.MonkeyPatch


def columns_are_not_checked(patch: Patch) -> None:
    patch.setattr(record.Chunk, "check", lambda self, place: None)


def payload_sizes_need_not_add_up(patch: Patch) -> None:
    def sizes(self: Any, place: str = "chunk") -> list[int]:
        at, width = self._sizes_at
        if not width:
            return [self._size] * self.count
        column = memoryview(self.data)[at : at + self.count * width]
        return [
            int.from_bytes(column[n * width : (n + 1) * width], "little") for n in range(self.count)
        ]

    patch.setattr(record.Chunk, "sizes", sizes)


def two_chunks_may_be_of_one_stream(patch: Patch) -> None:
    found = frame.frame_chunks

    def doubled(header: Any, data: bytes, at: int, place: str) -> list[Any]:
        return [*found(header, data, at, place)] * 2

    patch.setattr(formats.frame, "frame_chunks", doubled)
    patch.setattr("transit.log.recover.frame_chunks", doubled)


def padding_is_not_looked_at(patch: Patch) -> None:
    def valid(header: Any, data: bytes, at: int, seed: int) -> bool:
        body = data[at + frame.FRAME_BYTES :][: header.body_bytes]
        return bool(frame.checksum(body, seed + header.position) == header.body_checksum)

    patch.setattr(formats.frame, "body_is_valid", valid)


def any_spelling_of_lineage_will_do(patch: Patch) -> None:
    patch.setattr(lineage, "_encoder", _Echo(lineage._encoder))
    patch.setattr(formats, "encode_lineage", msgspec.json.Encoder(order="sorted").encode)


def any_stream_may_have_a_life(patch: Patch) -> None:
    patch.setattr(life, "_problem", lambda life: "")


def any_number_is_a_position(patch: Patch) -> None:
    patch.setattr(cursor, "_RECORD", re.compile(rb"([0-9]{1,18})(?:\n(.*))?", re.DOTALL))


class _Echo:
    """An encoder whose result equals everything."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder

    def encode(self, value: object) -> Any:
        return _Same(self._encoder.encode(value))


class _Same(bytes):
    def __ne__(self, other: object) -> bool:
        return False


def depth_is_no_error_of_ours(patch: Patch) -> None:
    def decode(payload: bytes, stream_id: int) -> object:
        return msgspec.json.decode(payload, type=lineage.LineageRecord)

    patch.setattr(formats, "decode_lineage", decode)


def any_digits_are_a_number(patch: Patch) -> None:
    patch.setattr(names, "_WAL_NAME", re.compile(r"(\d+)\.wal"))


def an_index_has_any_size(patch: Patch) -> None:
    def init(self: Any, data: bytes, place: str) -> None:
        extents, keys = segment.INDEX.unpack_from(data)
        whole = segment.INDEX.size + extents * 36 + keys * 16
        real(self, data[:whole].ljust(min(whole, 10_000), b"\0"), place)

    real = SegmentIndex.__init__
    patch.setattr(SegmentIndex, "__init__", init)


def a_block_has_any_size(patch: Patch) -> None:
    def decompress(data: bytes, raw_bytes: int, place: str) -> bytes:
        return compression.ZstdDecompressor().decompress(data)

    patch.setattr(segment, "decompress", decompress)


def footers_are_not_followed(patch: Patch) -> None:
    patch.setattr(snapshot, "_check_footer", lambda *given: None)
    patch.setattr(snapshot, "_check_rows", lambda *given: None)


def a_commit_may_have_any_tree(patch: Patch) -> None:
    def decode(data: bytes, place: str) -> Any:
        return msgspec.json.decode(data, type=commit.Commit)

    patch.setattr(formats, "decode_commit", decode)


def names_of_members_are_unicode(patch: Patch) -> None:
    def convert(value: object, kind: Any) -> object:
        try:
            return real(value, kind)
        except UnicodeEncodeError as error:
            raise AttributeError("half a surrogate pair") from error

    real = msgspec.convert
    patch.setattr(events.msgspec, "convert", convert)


PLANTS: list[tuple[str, Callable[[Patch], None]]] = [
    ("chunks", columns_are_not_checked),
    ("chunks", payload_sizes_need_not_add_up),
    ("frame", padding_is_not_looked_at),
    ("wal", two_chunks_may_be_of_one_stream),
    ("lineage", any_spelling_of_lineage_will_do),
    ("lineage", depth_is_no_error_of_ours),
    ("life", any_stream_may_have_a_life),
    ("cursor", any_number_is_a_position),
    ("names", any_digits_are_a_number),
    ("index", an_index_has_any_size),
    ("block", a_block_has_any_size),
    ("snapshot", footers_are_not_followed),
    ("commit", a_commit_may_have_any_tree),
    ("trace_event", names_of_members_are_unicode),
]


@pytest.mark.parametrize(("name", "plant"), PLANTS, ids=[plant.__name__ for _, plant in PLANTS])
def test_a_planted_bug_is_found(
    name: str, plant: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    target = TARGETS[name]
    seeds = [path.read_bytes() for path in sorted((SEEDS / name).glob("*"))]
    plant(monkeypatch)
    assert any(violation(target, data) for data in islice(inputs(target, seeds, "plant"), COUNT))
