"""Encrypted stores to be looked at."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit import Keyring

CANARY = b"canary-0815"


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    return ring_of(tmp_path / "ring")


def ring_of(path: Path) -> Keyring:
    return Keyring.create(path, key_file=Keyring.new_key_file(f"{path}.key"))


def files_with(folder: Path, found: bytes = CANARY) -> list[str]:
    """The files below a folder that have some bytes in them, by name."""
    return sorted(
        os.path.relpath(path, folder)
        for path in folder.rglob("*")
        if path.is_file() and found in path.read_bytes()
    )


@pytest.fixture
def opened(tmp_path: Path, ring: Keyring) -> Callable[..., transit.Log]:
    """Opens the encrypted store in `store` that is published to `remote`."""

    def open_(**how: object) -> transit.Log:
        given = {"remote": tmp_path / "remote", "keyring": ring, **how}
        return transit.open(tmp_path / "store", **given)  # type: ignore[arg-type]

    return open_
