"""Running the command inside the test process: as in a pipe, in milliseconds."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from transit.cli import main

from .shell import Done

Command = Callable[..., Done]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Command:
    """Runs `transit WORDS` on the store `tmp_path / "store"`, in `tmp_path`, with `stdin`."""
    for name in list(os.environ):
        if name.startswith("TRANSIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TRANSIT_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)

    def call(*words: object, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main([str(word) for word in words])
        return Done(code, *capsysbinary.readouterr())

    return call
