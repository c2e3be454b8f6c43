"""What is tried with any bytes by the decoders of keyrings and of envelopes.

As `rigs.fuzz.formats`: what comes out is written again, and must be what went in.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import msgspec

from transit.errors import TransitError
from transit.format.compression import compress
from transit.format.envelope import (
    TAG_BYTES,
    Envelope,
    chunk_in,
    encode_header,
    end_of,
    envelope_at,
    is_envelope,
)
from transit.format.record import Columns, encode_chunk
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


class _Clear:
    """Opens every envelope without a key, so that what is in it is decoded whatever it is."""

    def opened(self, envelope: Envelope, place: str) -> bytes:
        """What stands in place of the ciphertext."""
        return envelope.body[:-TAG_BYTES]

    def hidden_key(self, key: int) -> int:
        """The key itself."""
        return key


def envelope(data: bytes) -> None:
    """Envelopes that fill the bytes, what they say outside, and the chunks in them."""
    start = 0
    while start < len(data):
        end = end_of(data, start, "block")
        if is_envelope(data, start):
            found = envelope_at(data, start, "block")
            head = encode_header(
                found.stream, found.first, found.count, found.codec, found.chunk_bytes,
                len(found.body), found.last_written,
            )  # fmt: skip
            again = b"".join((head, found.key_id, found.salt, found.commitment, found.body))
            assert again == data[start:end]
            with suppress(TransitError):
                chunk = chunk_in(found, _Clear(), "block")
                assert len(chunk.data) == found.chunk_bytes
                chunk.check("block")
        start = end


def envelope_seeds() -> dict[str, list[bytes]]:
    """Envelopes of a chunk as it is, of a compressed one, and several in a row."""
    columns = Columns((b"a", b"bc" * 200), [1, 400], [5, 6], None, 9)
    chunk = b"".join(encode_chunk(7, 3, columns))
    made = []
    for codec, data in ((0, chunk), (1, compress(chunk, 3))):
        head = encode_header(7, 3, 2, codec, len(chunk), len(data) + TAG_BYTES, 9)
        made.append(head + b"k" * 8 + b"s" * 24 + b"c" * 32 + data + bytes(TAG_BYTES))
    return {"chunk_envelope": [*made, made[1] + made[0] + chunk]}
