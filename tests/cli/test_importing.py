"""What an import does when its input is not what it was when it was checked."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from transit.cli.export_lines import opened
from transit.cli.failures import CommandError
from transit.cli.importing import Importer, Plan

RECORD = b'{"stream":"a","payload":"x"}\n'
ROOT = b'{"type":"stream","name":"a","kind":"root"}\n'
OTHER = b'{"type":"stream","name":"b","kind":"root"}\n'
NOT_A_ROOT = b'{"type":"stream","name":"a","kind":"branch","inherited":0}\n'


@pytest.mark.parametrize("after", [RECORD, OTHER, NOT_A_ROOT])
def test_a_file_that_changes_after_it_was_checked_is_refused(after: bytes, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_bytes(ROOT + RECORD)
    plan = Plan("")
    with transit.open(tmp_path / "store") as log, opened(str(file)) as source:
        plan.read([source], log.settings.record_bytes_max)
        file.write_bytes(after)
        with pytest.raises(CommandError, match="expected the stream read before"):
            list(Importer(log, plan).run([source]))
        assert not list(log.streams())
