"""HEAD: a hint where the last commit of a remote store is.

Canonical JSON (keys sorted, no white space, UTF-8), at most 1 KiB:

    format     1
    index      number of the last commit that names an index snapshot, or null
    kind       "transit-head"
    number     number of the last commit
    store      store id, 32 hex digits

It is replaced in place, may be stale, and is never believed: it only says where a search starts.
So whatever is not as above, a newer format version too, is the same as no hint, and no error.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from transit.format.commit import Count, Hex32

FORMAT_VERSION: Final = 1
HEAD_BYTES_MAX: Final = 1024


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HEAD file."""

    kind: Literal["transit-head"]
    format: Literal[1]
    store: Hex32
    number: Count
    index: Count | None


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Head)


def encode_head(store_id: bytes, number: int, index: int | None) -> bytes:
    """The hint that `number` is the last commit, and `index` the last one with a snapshot."""
    return _encoder.encode(
        Head(
            kind="transit-head",
            format=FORMAT_VERSION,
            store=store_id.hex(),
            number=number,
            index=index,
        )
    )


def decode_head(data: bytes, store_id: bytes, place: str) -> Head | None:
    """The hint in `data`; None when it is no hint for the store with this id, 16 bytes.

    `place` is what other decoders name in their errors; a hint that is no use raises none.
    """
    if len(data) > HEAD_BYTES_MAX:
        return None
    try:
        head = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if head.store != store_id.hex() or _encoder.encode(head) != data:
        return None
    if head.index is not None and head.index > head.number:
        return None
    return head
