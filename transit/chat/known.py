"""What a channel has of the items of an import: looked up by id, read in runs.

Owns how records that are there are read: an import that is done again asks for them in their order,
so `RUN` of them are read at once; one that is asked for out of order is read alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from transit import Stream
from transit.chat.identities import hash_of
from transit.chat.index import Index
from transit.chat.records import MESSAGE_ID

RUN: Final = 1000
"""Records that are read at once."""
_AHEAD_MAX: Final = 64
"""How far behind the last one a record may be that counts as the next in order."""
_ANSWERED_KEPT: Final = 10_000


class Known:
    """The records of a channel, as an import asks for them. For one thread."""

    def __init__(self, stream: Stream, index: Index) -> None:
        self._stream, self._index = stream, index
        self._first = 0
        self._last = -1
        self._headers: list[Mapping[str, str]] = []
        self._payloads: list[bytes] = []
        self._answered: dict[str, int] = {}

    def find(self, message_id: str) -> int | None:
        """The offset of the record that was first given this id; None where there is none."""
        offset = self._index.first(hash_of(message_id))
        if offset < 0:
            return None
        place = self._place(offset)
        if self._headers[place].get(MESSAGE_ID) == message_id:
            return offset
        return self._index.find(message_id)

    def answered(self, message_id: str) -> int | None:
        """`find` of a message that others are about: the same one is soon asked for again."""
        found = self._answered.get(message_id)
        if found is None:
            found = self._index.find(message_id)
            if found is not None:
                self.keep({message_id: found})
        return found

    def keep(self, offsets: Mapping[str, int]) -> None:
        """Ids that are likely to be asked for: `answered` need not read these."""
        if len(self._answered) >= _ANSWERED_KEPT:
            self._answered.clear()
        self._answered.update(offsets)

    def payload(self, offset: int) -> bytes:
        """The payload of a record."""
        return self._payloads[self._place(offset)]

    def _place(self, offset: int) -> int:
        """Where in the columns a record is; read if it is not there."""
        place = offset - self._first
        if not 0 <= place < len(self._headers):
            self._read(offset)
            return 0
        return place

    def _read(self, offset: int) -> None:
        in_order = self._last < offset <= self._last + _AHEAD_MAX
        stop = min(offset + (RUN if in_order else 1), self._index.stop)
        self._headers, self._payloads = [], []
        for batch in self._stream.batches(offset, stop):
            self._headers += batch.headers
            self._payloads += batch.payloads
        self._first, self._last = offset, stop - 1
