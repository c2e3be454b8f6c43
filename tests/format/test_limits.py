"""The limits and versions of the formats, as their tables state them: a change is a new version."""

from __future__ import annotations

from types import ModuleType

import msgspec
import pytest

from transit.format import commit, frame, head, headers, lineage, names, record, segment, snapshot

KIB = 1024
LIMITS: list[tuple[ModuleType, str, int, str]] = [
    (commit, "COMMIT_BYTES_MAX", 65_535, "at most 65,535 bytes"),
    (commit, "FORMAT_BYTES_MAX", 4 * KIB, ""),
    (frame, "BODY_BYTES_MAX", 2**32 - 1, "4     4  body size, bytes"),
    (frame, "ALIGNMENT", 8, "A frame starts at a multiple of 8"),
    (frame, "FRAME_BYTES", 64, "64     .  body"),
    (frame, "DATA", 0, "kind: 0 data"),
    (frame, "MARK", 1, "1 mark"),
    (frame, "END", 2, "2 end"),
    (head, "HEAD_BYTES_MAX", KIB, "at most 1 KiB"),
    (lineage, "LINEAGE_ID", 0, "stream 0 (`$lineage`)"),
    (lineage, "METADATA_BYTES_MAX", 64 * KIB, ""),
    (names, "NAME_BYTES_MAX", 512, "1 to 512 bytes"),
    (record, "COUNT_MAX", 4_194_304, "1 to 4,194,304"),
    (headers, "HEADER_BYTES_MAX", 64 * KIB, ""),
    (segment, "BLOCK_BYTES_MAX", KIB**3, "chunks are at most 1 GiB"),
    (segment, "FOOTER_BYTES_MAX", 64 * KIB**2, "the footer 64 MiB"),
    (segment, "STORED", 0, "codec: 0 stored as it is"),
    (segment, "ZSTD", 1, "1 zstd"),
    (snapshot, "SNAPSHOT_BYTES_MAX", KIB**3, "at most 1 GiB"),
    (snapshot, "LAYERS_MAX", 64, "at most 64 layers"),
]


@pytest.mark.parametrize(
    ("module", "name", "value", "said"), LIMITS, ids=[name for _, name, *_ in LIMITS]
)
def test_a_limit_is_what_the_table_says(
    module: ModuleType, name: str, value: int, said: str
) -> None:
    assert getattr(module, name) == value
    assert said in " ".join((module.__doc__ or "").split()) or said in (module.__doc__ or "")


@pytest.mark.parametrize("module", [commit, frame, head, segment, snapshot])
def test_every_format_is_of_version_1(module: ModuleType) -> None:
    assert module.FORMAT_VERSION == 1


def test_the_names_of_a_stores_files_are_as_they_were() -> None:
    folders = (names.WAL_DIR, names.SEGMENT_DIR, names.COMMIT_DIR, names.INDEX_DIR, names.CACHE_DIR)
    assert folders == ("wal", "segments", "commits", "index", "cache")
    assert (names.HEAD_FILE, names.FORMAT_FILE, names.REMOTE_FILE) == ("HEAD", "FORMAT", "REMOTE")


@pytest.mark.parametrize("module", [commit, head, lineage, segment, snapshot])
def test_what_was_decoded_cannot_be_changed(module: ModuleType) -> None:
    kinds = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    ]
    assert kinds
    assert [kind.__name__ for kind in kinds if not kind.__struct_config__.frozen] == []


@pytest.mark.parametrize("module", [commit, head, lineage])
def test_what_is_decoded_from_json_has_named_fields_and_no_unknown_ones(module: ModuleType) -> None:
    for kind in vars(module).values():
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            assert kind.__struct_config__.forbid_unknown_fields, kind
            assert kind.__match_args__ == (), kind
