"""Cuts: which root each store of a fleet had when it was looked at.

The one consistent thing to say of a fleet. A cut is a small value: kept, compared, signed; a query
that names one is about the same records whenever it is run.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from transit import Head, InvalidInputError, TransitError


class Cut(msgspec.Struct, frozen=True):
    """A head for each store, by its id, and why there is none of some."""

    stores: Mapping[str, Head]
    missing: Mapping[str, str] = {}

    def encode(self) -> bytes:
        """Canonical JSON: equal cuts have equal bytes."""
        return msgspec.json.encode(self, order="sorted")

    @classmethod
    def decode(cls, data: bytes) -> Cut:
        """A cut that was kept; `InvalidInputError` for what is none."""
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInputError(f"no cut of a fleet: {error}") from None


def told(error: TransitError) -> str:
    """What an error says, as text that can be kept: the paths in it may have names of any bytes."""
    return str(error).encode(errors="backslashreplace").decode()
