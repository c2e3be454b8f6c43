"""Finds where values of a JSON text begin and end, piece by piece, without decoding them.

Owns the memory that this takes: the value at hand and one piece. Brackets are counted, texts are
passed over; whether what lies between is JSON, the decoder of the value finds out.
"""

from __future__ import annotations

import re
from typing import BinaryIO

PIECE_BYTES = 1 << 20

_SPACE = re.compile(rb"[ \t\r\n]*+")
# The second quote is one whose text does not end in what is here yet.
_NESTING = re.compile(rb'"[^"\\]*+(?:(?>\\.[^"\\]*+))*+"|["\[\]{}]', re.DOTALL)
_SCALAR = re.compile(rb'[^ \t\r\n,\]\[{}":]*+')
_QUOTE, _OPENING = ord('"'), b"[{"


class CutShortError(Exception):
    """The value does not end, or not in time."""


class Scanner:
    """A JSON text that begins with `data` and goes on in `stream`."""

    def __init__(self, stream: BinaryIO, data: bytes, value_bytes_max: int) -> None:
        self._stream = stream
        self._data = data
        self._value_bytes_max = value_bytes_max
        self._at = 0
        # Where the value at hand begins: what is before is not needed any more.
        self._start = 0

    def peek(self) -> bytes:
        """The next byte that is no space; empty at the end."""
        while True:
            found = _SPACE.match(self._data, self._at)
            self._at = self._start = found.end() if found else self._at
            if self._at < len(self._data):
                return self._data[self._at : self._at + 1]
            if not self._more():
                return b""

    def take(self) -> None:
        """Pass over one byte."""
        self._at += 1

    def value(self) -> bytes:
        """The bytes of the value that begins here, and pass over it."""
        first = self.peek()
        if not first:
            raise CutShortError("the file ends before its list does")
        if first in b'"[{':
            self._nesting()
        else:
            self._scalar()
        return self._data[self._start : self._at]

    def rest(self) -> bytes:
        """The beginning of the value that does not end."""
        return self._data[self._start : self._start + 10_000]

    def _nesting(self) -> None:
        depth = 0
        while True:
            for token in _NESTING.finditer(self._data, self._at):
                byte = self._data[token.start()]
                if byte == _QUOTE:
                    if token.end() - token.start() == 1:
                        break
                else:
                    depth += 1 if byte in _OPENING else -1
                self._at = token.end()
                if depth == 0:
                    return
            else:
                self._at = len(self._data)
            self._more_of_value()

    def _scalar(self) -> None:
        while True:
            found = _SCALAR.match(self._data, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._data):
                # A byte that begins no value, like a lone bracket: one at a time.
                self._at += self._at == self._start
                return
            if not self._more():
                return

    def _more_of_value(self) -> None:
        if len(self._data) - self._start > self._value_bytes_max:
            raise CutShortError(
                f"it is longer than {self._value_bytes_max} bytes; what follows is not read"
            )
        if not self._more():
            raise CutShortError("the file ends in the middle of it")

    def _more(self) -> bool:
        # As much again as there is: a text that does not end is begun anew each time.
        piece = self._stream.read(max(PIECE_BYTES, len(self._data) - self._start))
        self._data = self._data[self._start :] + piece
        self._at -= self._start
        self._start = 0
        return bool(piece)
