"""Hostile bytes that once were a plain ValueError, or cost an audit too much memory."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from rigs.apart import measured
from rigs.fuzz.hostile_files import folder, lineage_body, wal
from rigs.hostile.hostile import TIME, Bucket, Parts, in_frame
from transit.cli.configuration import from_file
from transit.cli.failures import CommandError
from transit.cli.values import parse_moment, parse_size
from transit.format.record import CHUNK
from transit.format.segment import Extent


@pytest.mark.parametrize("payload", [b"abc", b"-5", b"\xff", b"9" * 5000, b""])
def test_a_cursor_of_junk_is_damage(payload: bytes, tmp_path: Path) -> None:
    files = folder(
        wal(
            [
                lineage_body(Bucket.named("$cursors/1/c"), first=2),
                (in_frame(2, 0, [payload]), 1),
            ]
        )
    )
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    with transit.open(tmp_path, mode="read") as log, pytest.raises(transit.CorruptError):
        assert log.stream("one").cursor("c").position


def test_durations_and_sizes_without_end_are_value_errors() -> None:
    for text in ("9" * 400 + "d", "9" * 400):
        with pytest.raises(ValueError, match=r"large|not a time"):
            parse_moment(text)
        with pytest.raises(ValueError, match=r"large|not a size"):
            parse_size(text)


def test_a_number_of_many_digits_in_a_configuration_is_told(tmp_path: Path) -> None:
    path = tmp_path / "transit.toml"
    path.write_text("[limits]\nseal_bytes = " + "9" * 100_000)
    with pytest.raises(CommandError):
        from_file(str(path))


def test_an_audit_of_a_header_table_of_millions_takes_little_memory() -> None:
    def change(parts: Parts) -> None:
        table = b"[" + b"{}," * 4_000_000 + b"{}]"
        parts.raws = [CHUNK.pack(1, 3, 2, 0, 0, 0, 1, TIME, 0, len(table), 0) + table]
        parts.extents = [Extent(1, 3, TIME, 2, 0, 0)]
        parts.records = 2

    bucket = Bucket().begin()
    bucket.add([(1, 3, [b""])], change=change)
    spent = measured(lambda: transit.audit(bucket.shelf))
    assert spent.memory_bytes < 256 * 10**6
