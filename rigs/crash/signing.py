"""Checkpoints in histories: what was signed is noted before the signature is used, and judged.

The key is a callable: it marks the text in the recording first, so that a state after any crash is
judged by all that may have been signed, whether or not anything of it reached a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import transit
from rigs.crash.steps import Session, Step
from transit.proof.checkpoint import Checkpoint, sign

STORE_ID: Final = b"a signing store!"
NAME: Final = f"crash.example/{STORE_ID.hex()}"
_PRIVATE: Final = Ed25519PrivateKey.from_private_bytes(bytes(32))


def key_that(notes: Callable[[str], object]) -> transit.SigningKey:
    """The key of all histories; `notes` is told each text before it is signed."""

    def signing(message: bytes) -> bytes:
        notes(message.decode())
        return _PRIVATE.sign(message)

    return transit.SigningKey.from_callable(NAME, _PRIVATE.public_key().public_bytes_raw(), signing)


@dataclass(frozen=True)
class SignCheckpoint(Step):
    """Everything so far sealed, brought to the remote if there is one, and signed."""

    remote: bool = True

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        session.log.checkpoint(key_that(session.sign))
        return 3 if self.remote else 2


def check_signed(log: transit.Log, texts: Sequence[str]) -> str:
    """Sign once more; what is wrong beside the texts that may have been signed, "" for nothing."""
    if not texts and log.store_id != STORE_ID.hex():
        # Its making was not finished: another was made.
        return ""
    try:
        key = key_that(lambda text: None)
        made = log.checkpoint(key)
        if made.checkpoint.root != log.checkpoint(key).checkpoint.root:
            return "two roots for one size"
        for text in texts:
            log.prove_growth(sign(Checkpoint.parse(text), [key]).encode(), made)
    except transit.TransitError as error:
        return f"of {len(texts)} signed checkpoints: {type(error).__name__}: {error}"
    return ""
