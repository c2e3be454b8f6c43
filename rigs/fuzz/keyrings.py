"""What is tried with any bytes by the decoder of keyrings (see `rigs.fuzz.formats`)."""

from __future__ import annotations

from typing import Final

import msgspec

from transit.keyring.document import (
    STORE,
    ByKeyFile,
    ByPassphrase,
    ByService,
    Document,
    Entry,
    authenticate,
    decode,
    encode,
    new_document,
)

MAC_KEY: Final = b"m" * 32


def document(data: bytes) -> None:
    """A keyring's file, written again by one who has the master secret."""
    found = decode(data, "keyring")
    again = encode(found, MAC_KEY)
    assert len(again) == len(data)
    read = decode(again, "keyring")
    assert msgspec.structs.replace(read, mac="") == msgspec.structs.replace(found, mac="")
    authenticate(read, MAC_KEY, "keyring")


def resealed(data: bytes) -> bytes:
    """Changed bytes with the MAC that they should have, where they are a keyring."""
    try:
        return encode(msgspec.json.decode(data, type=Document), MAC_KEY)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return data


def _entry(number: int, owner: str, **fields: object) -> Entry:
    entry = Entry(
        id=f"{number:016x}",
        owner=owner,
        made=number,
        state="current",
        wrapped=bytes(60),
        destroyed=None,
        reason="",
    )
    return msgspec.structs.replace(entry, **fields)


def keyring_seeds() -> dict[str, list[bytes]]:
    """Seeds for it."""
    entries = (
        _entry(1, STORE, state="old"),
        _entry(2, STORE),
        _entry(3, f"stream:{'0a' * 16}"),
        _entry(4, "subject:ä", state="destroyed", wrapped=None, destroyed=5, reason="why\n"),
    )
    seeds = []
    for unlock in (
        ByPassphrase(salt=bytes(16), n=2**15, r=8, p=1),
        ByKeyFile(),
        ByService(wrapped=b"handle"),
    ):
        empty = new_document(b"k" * 16, unlock, MAC_KEY, bytes(60))
        full = msgspec.structs.replace(empty, store="0b" * 16, generation=9, keys=entries)
        seeds += [encode(empty, MAC_KEY), encode(full, MAC_KEY)]
    return {"keyring": seeds}
