"""A key file, a keyring unlocked by it, and a key service that is here."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from transit import KeyInfo, Keyring

STORE_ID = bytes(range(16))
UID = "0a" * 16
STREAM = f"stream:{UID}"


class KeyService:
    """What a key service does: gives a handle for bytes, and the bytes for a handle."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._known: dict[bytes, bytes] = {}

    def wrap(self, data: bytes) -> bytes:
        self.asked.append("wrap")
        handle = secrets.token_bytes(40)
        self._known[handle] = data
        return handle

    def unwrap(self, handle: bytes) -> bytes:
        self.asked.append("unwrap")
        return self._known[handle]


def told(ring: Keyring) -> tuple[KeyInfo, ...]:
    """What a keyring says of its keys."""
    return ring.keys()


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    return Keyring.new_key_file(tmp_path / "master.key")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the keyring is."""
    (tmp_path / "keys").mkdir()
    return tmp_path / "keys" / "ring.json"


@pytest.fixture
def ring(file: Path, key_file: str) -> Keyring:
    return Keyring.create(file, key_file=key_file)


@pytest.fixture
def service() -> KeyService:
    return KeyService()
