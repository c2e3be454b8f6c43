"""What shows files shows envelopes, without a key and with nothing of what they hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from tests.encrypted.conftest import CANARY

Opened = Callable[..., transit.Log]


@pytest.mark.parametrize("mode", ["remote", "all"])
def test_every_file_of_an_encrypted_store_is_told(
    opened: Opened, tmp_path: Path, mode: str
) -> None:
    with opened(encrypt=mode) as log:
        stream = log.create("a", protect="stream")
        stream.append_many([CANARY] * 3)
        log.create("b").append(CANARY)
        log.seal()
        stream.append_many([CANARY] * 2)
    kinds = {}
    for path in sorted((tmp_path / "store").glob("*/*")):
        if path.suffix not in (".wal", ".seg", ".json"):
            continue
        found = transit.inspect_file(str(path), records=True)
        assert not found.findings, path
        parts = list(found.parts)
        kinds[path.suffix] = [part.kind for part in parts]
        if path.suffix == ".json" or mode == "all" or path.suffix == ".seg":
            assert CANARY not in str(parts).encode()
        envelopes = [part for part in parts if part.kind == "envelope"]
        for part in envelopes:
            assert len(str(part.fields["key"])) == 16
        if path.suffix == ".seg":
            assert [part.fields["stream"] for part in envelopes] == [0, 1, 2]
            assert [part.fields["count"] for part in envelopes] == [3, 3, 1]
        elif mode == "all" and path.suffix == ".wal":
            assert [(part.fields["lsn"], part.fields["count"]) for part in envelopes] == [(7, 2)]
            assert parts[0].fields["encryption"] == "all"
    assert ("envelope" in kinds[".wal"]) == (mode == "all")
    assert "record" not in kinds[".seg"]
