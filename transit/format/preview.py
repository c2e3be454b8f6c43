"""What other transits wrote, older and newer, so that their files are told from damaged ones.

0.1.0 was a preview. Its files state format version 1, as today's do, but differ: frames had
no time, commits no times of writing. They are known by their magics, FORMAT by its kind and a
commit by its shape, and count as version 0. Nothing here reads them any further.

A newer transit that writes version 1 so that this one cannot go on (an encrypted block, a segment
from which chunks were erased) says so in the commit: `needs`, names of what a reader has to know,
in the commit or in what it says of a segment. That is told as what it is, with the names.
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
# What this reader knows.
_KNOWN: Final = ("envelopes",)
_NAME_MAX: Final = 64
_NAMES_SHOWN: Final = 8
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
    plain = whole_commit(data)
    segments = segments_in(plain) if plain is not None else []
    return bool(segments) and all("written" not in each for each in segments)


def whole_commit(data: bytes) -> dict[str, object] | None:
    """What a commit of any transit says that is as it was written; None for all other bytes."""
    stated = _CHECKSUM.match(data)
    if stated is None:
        return None
    # What was damaged since is damage.
    blank = data[: stated.start(1)] + b"0" * 16 + data[stated.end(1) :]
    if f"{checksum(blank):016x}".encode() != stated[1]:
        return None
    try:
        plain = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(plain, dict) or plain.get("format") != 1 or _encoder.encode(plain) != data:
        return None
    return plain


def segments_in(plain: dict[str, object]) -> list[dict[str, object]]:
    """The segments that such a commit names; none where it names anything else."""
    segments = plain.get("segments")
    if not isinstance(segments, list) or not all(isinstance(each, dict) for each in segments):
        return []
    return segments


def refuse_needs(data: bytes, place: str) -> None:
    """Raise `UnsupportedVersionError` when `data` is a whole commit that says what it needs."""
    plain = whole_commit(data)
    if plain is None:
        return
    needs: list[str] = []
    for each in (plain, *segments_in(plain)):
        said = each.get("needs")
        if isinstance(said, list):
            needs += [name for name in said if isinstance(name, str) and len(name) <= _NAME_MAX]
    needs = [name for name in needs if name not in _KNOWN]
    if needs:
        first = tuple(dict.fromkeys(needs))[:_NAMES_SHOWN]
        raise UnsupportedVersionError(place, found=_SUPPORTED, supported=_SUPPORTED, needs=first)
