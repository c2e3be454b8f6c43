"""What transit 0.1.0 wrote, so that its files are told from damaged ones.

0.1.0 was a preview. Its files state format version 1, as today's do, but differ: frames had
no time, commits no times of writing. They are known by their magics, FORMAT by its kind and a
commit by its shape, and count as version 0. Nothing here reads them any further.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from transit.errors import UnsupportedVersionError
from transit.format.checksum import checksum

VERSION: Final = 0
MAGICS: Final = (b"TRANSWAL", b"TRANSSEG", b"TRANSEND", b"TRANSIDX")

_SUPPORTED: Final = 1
_FORMAT: Final = re.compile(rb'\{"format":1,"kind":"transit","store":"[0-9a-f]{32}"\}')
_CHECKSUM: Final = re.compile(rb'\{"checksum":"([0-9a-f]{16})",')
_encoder = msgspec.json.Encoder(order="sorted")


def refuse_magic(magic: bytes, place: str) -> None:
    """Raise `UnsupportedVersionError` when `magic` is one of 0.1.0."""
    if magic in MAGICS:
        raise UnsupportedVersionError(place, found=VERSION, supported=_SUPPORTED)


def refuse_document(data: bytes, place: str) -> None:
    """Raise `UnsupportedVersionError` when `data` is a FORMAT file or a whole commit of 0.1.0."""
    if _FORMAT.fullmatch(data) or _is_commit(data):
        raise UnsupportedVersionError(place, found=VERSION, supported=_SUPPORTED)


def _is_commit(data: bytes) -> bool:
    stated = _CHECKSUM.match(data)
    if stated is None:
        return False
    # Only as it was written: what was damaged since is damage.
    blank = data[: stated.start(1)] + b"0" * 16 + data[stated.end(1) :]
    if f"{checksum(blank):016x}".encode() != stated[1]:
        return False
    try:
        plain = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    segments = plain.get("segments")
    return (
        plain.get("format") == 1
        and isinstance(segments, list)
        and all(isinstance(each, dict) and "written" not in each for each in segments)
        and _encoder.encode(plain) == data
    )
