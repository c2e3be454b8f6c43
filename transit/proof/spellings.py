"""Base64 and decimal numbers in their one spelling, as all texts of proofs have them.

Two texts that say the same must be the same bytes: else a signature, or a file's digest, binds less
than it seems to. So base64 is that of RFC 4648, section 4, padded, without white space and without
bits left over, and a number has no sign, no leading zero, and ASCII digits.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error
from typing import Final

from transit.errors import ProofError
from transit.proof.tree import HASH_BYTES, TREE_SIZE_MAX

NUMBER_MAX: Final = TREE_SIZE_MAX
"""The largest size, index and time: 2**63 - 1."""
_DIGITS: Final = re.compile("0|[1-9][0-9]{0,18}")
_SHOWN_CHARS: Final = 80


def base64_of(data: bytes) -> str:
    """`data` in base64."""
    return b64encode(data).decode("ascii")


def strict_base64(text: str) -> bytes | None:
    """The bytes that `text` says in the one spelling of base64, None where it is another text."""
    try:
        data = b64decode(text.encode("ascii"), validate=True)
    except (Error, ValueError):
        return None
    return data if base64_of(data) == text else None


def strict_number(text: str) -> int | None:
    """The number that `text` says, in 0..2**63 - 1, None where it is another text."""
    number = int(text) if _DIGITS.fullmatch(text) else -1
    return number if 0 <= number <= NUMBER_MAX else None


def hash_in(text: str, place: str) -> bytes:
    """The hash of 32 bytes that `text` says in base64, else `ProofError`."""
    data = strict_base64(text)
    if data is None:
        raise ProofError(f"{place}: expected base64 in its one spelling, found {shown(text)}")
    if len(data) != HASH_BYTES:
        raise ProofError(f"{place}: expected {HASH_BYTES} bytes, found {len(data)}")
    return data


def number_in(text: str, place: str) -> int:
    """The number that `text` says, else `ProofError`."""
    number = strict_number(text)
    if number is None:
        raise ProofError(
            f"{place}: expected a decimal number up to 2^63 - 1 in its one spelling, "
            f"found {shown(text)}"
        )
    return number


def shown(text: str) -> str:
    """`text` as a message may show it: in ASCII, cut when it is long.

    Two names that look alike are told apart by it.
    """
    return ascii(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…")
