"""Parts: JSON values a lineage holds once and refers to afterwards.

An agent's model call repeats the whole conversation so far. So values are cut into parts, and a
record writes only those its stream's history does not hold yet, in a member `parts`. The lists that
conversations are grow by a few parts a call; a record writes what is new of them in a member
`lists`, each as [L, [[N, COUNT], ...]]: the list with number L (-1: none), then COUNT parts from
part N on, and so on. Parts, and lists, are numbered from 0 through the history of the stream the
record is appended to, in the order of its records. In a packed field stands one of

    N                                the part with number N
    {"items": L}                     the list with number L
    {"list": [F, ...]}               a list of packed values
    {"value": V}                     V as it is: small
    {"value": V, "fields": {K: F}}   the object V with member K as the packed value F says
    {"part": N, "fields": {K: F}}    the same, where the object is part N
    {..., "message": N}              either of these, with all members of the message that is part N

A message, that is an object with a member `role`, is one part, wherever it stands. When it is a
whole response, with `usage` or `model`, then its `role` and `content` are a part of their own: that
is what the next request repeats. A list of objects is a list of parts; any other object is cut into
its large members. When a record refers to
parts of earlier records, its member `digest` is the BLAKE3, 8 hex digits, over the BLAKE3 digests,
16 bytes each, of all parts it uses, in order: a reader checks them.

A record of a few bytes could stand for any size, so there is a limit: what a record refers to, as
often as it does, is at most 128 MiB, and every part, list and run of a list counts as 64 bytes
more. A writer refuses more, and to a reader it is damage.

A number means a part only where the history is the one the writer saw: a writer appends under the
condition that nothing came in between, and a reader goes by the origin of a record.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Final

import msgspec
from blake3 import blake3

from transit import Stream
from transit.trace.events import decode_json, encode_json

# Not worth a digest, even when it comes again.
INLINE_BYTES_MAX: Final = 24
_DIGEST_BYTES: Final = 16
REFERRED_BYTES_MAX: Final = 128 * 1024 * 1024
STEP_BYTES: Final = 64
# A writer counts a part, and the list and the run it may be alone in.
USE_BYTES: Final = 3 * STEP_BYTES
_USES_MAX: Final = REFERRED_BYTES_MAX // USE_BYTES
_MARK: Final = b'"parts":['
OF_A_MESSAGE: Final = frozenset(("role", "content"))
OF_A_RESPONSE: Final = frozenset(("usage", "model"))

Number = Annotated[int, msgspec.Meta(ge=0)]
_Base = Annotated[int, msgspec.Meta(ge=-1)]
_Count = Annotated[int, msgspec.Meta(ge=1)]
Members = dict[str, object]
Runs = list[tuple[Number, _Count]]


class Brought(msgspec.Struct, frozen=True, gc=False):
    """The members of a record that are about parts; all others are skipped."""

    parts: list[msgspec.Raw] = []
    lists: list[tuple[_Base, Runs]] = []
    digest: str = ""


class _Marked(msgspec.Struct, frozen=True, gc=False):
    parts: object = msgspec.UNSET


class _PlainBrought(msgspec.Struct, frozen=True, gc=False):
    """The same, decoded."""

    parts: list[object] = []
    lists: list[tuple[_Base, Runs]] = []
    digest: str = ""


_NOTHING: Final = Brought()
_decoder: Final = msgspec.json.Decoder(Brought)


def brought_by(payload: bytes) -> Brought:
    """What a record brings along."""
    if _MARK not in payload:
        return _NOTHING
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _plainly_brought_by(payload)


def brings_parts(payload: bytes) -> bool:
    """Whether a record has the member `parts`, which marks those with packed values."""
    if _MARK not in payload:
        return False
    try:
        return msgspec.json.decode(payload, type=_Marked).parts is not msgspec.UNSET
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Only the standard library reads it: half a surrogate pair.
        found = decode_json(payload)
        return isinstance(found, dict) and "parts" in found


def _plainly_brought_by(payload: bytes) -> Brought:
    """The same of a record that only the standard library reads: half a surrogate pair in it.

    Nothing for a record that `transit.trace` did not write: it has no parts of ours.
    """
    try:
        found = msgspec.convert(decode_json(payload), _PlainBrought)
        parts = [msgspec.Raw(encode_json(part)) for part in found.parts]
    except (msgspec.ValidationError, ValueError):
        return _NOTHING
    return Brought(parts, found.lists, found.digest)


def digest_of(data: bytes) -> bytes:
    """The digest of a part, or of a list."""
    return blake3(data).digest(_DIGEST_BYTES)


def longer(of_list: bytes, items: Iterable[bytes]) -> bytes:
    """The digest of a list that goes on with items, from that of the list and those of the items.

    The empty list's is empty.
    """
    for item in items:
        of_list = digest_of(of_list + item)
    return of_list


class Numbering:
    """Digests by number, and the number of each; only `add` changes them."""

    def __init__(self, digests: Sequence[bytes] = ()) -> None:
        self.digests = list(digests)
        # Of two equal ones, which another program may have written, the first counts.
        backwards = range(len(self.digests) - 1, -1, -1)
        self.numbers = dict(zip(reversed(self.digests), backwards, strict=True))

    def add(self, *digests: bytes) -> None:
        """The next numbers are theirs."""
        numbers, known = self.numbers, self.digests
        for digest in digests:
            numbers.setdefault(digest, len(known))
            known.append(digest)


class KnownParts:
    """The parts and lists a stream's history holds up to `stop`; what a writer needs.

    Not safe for threads: its task holds a lock around it.
    """

    def __init__(
        self, stop: int = 0, parts: Sequence[bytes] = (), lists: Sequence[bytes] = ()
    ) -> None:
        self.stop = stop
        self.parts = Numbering(parts)
        self.lists = Numbering(lists)
        # (offset after a record that brought some, counts of parts and lists up to there)
        self._marks: list[tuple[int, int, int]] = []

    def catch_up(self, stream: Stream) -> None:
        """Take in what was appended since, by this writer or another."""
        for record in stream.read(self.stop):
            brought = brought_by(record.payload)
            for part in brought.parts:
                self.parts.add(digest_of(bytes(part)))
            # A list is about parts of its own record too, which are known by now.
            self._take_lists(brought.lists)
            self._end_record(marked=bool(brought.parts or brought.lists))

    def _take_lists(self, lists: Sequence[tuple[int, Runs]]) -> None:
        left = _USES_MAX
        for base, runs in lists:
            left -= sum(count for _, count in runs)
            # More than a writer puts into a record: numbered, and never referred to.
            self.lists.add(self._listdigest_of(base, runs) if left >= 0 else b"?")

    def _listdigest_of(self, base: int, runs: Runs) -> bytes:
        parts, lists = self.parts.digests, self.lists.digests
        if base >= len(lists) or any(first + count > len(parts) for first, count in runs):
            # Not written by `transit.trace`, and about nothing here: numbered, never referred to.
            return b"?"
        items = (parts[n] for first, count in runs for n in range(first, first + count))
        return longer(b"" if base < 0 else lists[base], items)

    def passed(self, parts: Collection[bytes] = (), lists: Collection[bytes] = ()) -> None:
        """A record more, and what else it brought along."""
        self.parts.add(*parts)
        self.lists.add(*lists)
        self._end_record(marked=bool(parts or lists))

    def _end_record(self, *, marked: bool) -> None:
        """The record is taken in; most bring nothing along, and need no mark."""
        self.stop += 1
        if marked:
            self._marks.append((self.stop, len(self.parts.digests), len(self.lists.digests)))

    def until(self, stop: int) -> KnownParts:
        """What the history up to before offset `stop` holds: what a branch begins with."""
        place = bisect_right(self._marks, stop, key=lambda mark: mark[0])
        marks = self._marks[:place]
        _, parts, lists = marks[-1] if marks else (0, 0, 0)
        begun = KnownParts(
            min(stop, self.stop), self.parts.digests[:parts], self.lists.digests[:lists]
        )
        begun._marks = marks
        return begun
