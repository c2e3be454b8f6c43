"""Documents of proofs: canonical JSON (keys sorted, no white space), in one spelling alone."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from transit.errors import ProofError

T = TypeVar("T")


class Document(Generic[T]):
    """How values of class `kind` are written in file `name`. bytes_max: of one, in bytes."""

    def __init__(self, kind: type[T], name: str, bytes_max: int) -> None:
        self._name = name
        self._bytes_max = bytes_max
        self._encoder = msgspec.json.Encoder(order="sorted")
        self._decoder = msgspec.json.Decoder(kind)

    def encode(self, value: T) -> bytes:
        """The value's canonical bytes."""
        return self._encoder.encode(value)

    def decode(self, data: bytes) -> T:
        """The value in `data`; `ProofError` when there is none, or in another spelling."""
        if len(data) > self._bytes_max:
            raise ProofError(f"{self._name}: more than {self._bytes_max} bytes")
        try:
            value = self._decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProofError(f"{self._name}: not of its shape: {error}") from None
        if self.encode(value) != data:
            raise ProofError(f"{self._name}: not canonical JSON")
        return value
