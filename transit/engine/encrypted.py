"""What an open store says of its encryption: the side of a log that knows its keyring."""

from __future__ import annotations

from transit.config import Encrypted
from transit.handle.handle import Handle
from transit.keyring import Keyring


class EncryptedLog:
    """The side of a log that says what is encrypted of what is written here."""

    _handle: Handle

    @property
    def keyring(self) -> Keyring | None:
        """The keyring that the store was opened with; over a connection None."""
        keys = self._handle.catalog.keys
        return None if keys is None else keys.keyring

    @property
    def encryption(self) -> Encrypted:
        """What is encrypted of what is written: "none", "remote" (all that is sealed), "all"."""
        return self._handle.encrypted
