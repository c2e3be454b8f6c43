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
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate, islice
from typing import Annotated, Final, Generic, TypeVar, cast

import msgspec
from blake3 import blake3

from transit import CorruptError, InvalidInputError, Stream
from transit.trace.events import decode_json, encode_json

_T = TypeVar("_T")
# Not worth a digest, even when it comes again.
INLINE_BYTES_MAX: Final = 24
_DIGEST_BYTES: Final = 16
REFERRED_BYTES_MAX: Final = 128 * 1024 * 1024
_STEP_BYTES: Final = 64
# A writer counts a part, and the list and the run it may be alone in.
_USE_BYTES: Final = 3 * _STEP_BYTES
_USES_MAX: Final = REFERRED_BYTES_MAX // _USE_BYTES
_MARK: Final = b'"parts":['
_OF_A_MESSAGE: Final = frozenset(("role", "content"))
_OF_A_RESPONSE: Final = frozenset(("usage", "model"))

_Number = Annotated[int, msgspec.Meta(ge=0)]
_Base = Annotated[int, msgspec.Meta(ge=-1)]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Members = dict[str, object]
_Runs = list[tuple[_Number, _Count]]


class _Brought(msgspec.Struct, frozen=True, gc=False):
    """The members of a record that are about parts; all others are skipped."""

    parts: list[msgspec.Raw] = []
    lists: list[tuple[_Base, _Runs]] = []
    digest: str = ""


class _PlainBrought(msgspec.Struct, frozen=True, gc=False):
    """The same, decoded."""

    parts: list[object] = []
    lists: list[tuple[_Base, _Runs]] = []
    digest: str = ""


_NOTHING: Final = _Brought()
_decoder: Final = msgspec.json.Decoder(_Brought)


def _brought_by(payload: bytes) -> _Brought:
    """What a record brings along."""
    if _MARK not in payload:
        return _NOTHING
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _plainly_brought_by(payload)


def _plainly_brought_by(payload: bytes) -> _Brought:
    """The same of a record that only the standard library reads: half a surrogate pair in it.

    Nothing for a record that `transit.trace` did not write: it has no parts of ours.
    """
    try:
        found = msgspec.convert(decode_json(payload), _PlainBrought)
        parts = [msgspec.Raw(encode_json(part)) for part in found.parts]
    except (msgspec.ValidationError, ValueError):
        return _NOTHING
    return _Brought(parts, found.lists, found.digest)


def _digest(data: bytes) -> bytes:
    return blake3(data).digest(_DIGEST_BYTES)


def _longer(of_list: bytes, items: Iterable[bytes]) -> bytes:
    """The digest of a list that goes on with items, from that of the list and those of the items.

    The empty list's is empty.
    """
    for item in items:
        of_list = _digest(of_list + item)
    return of_list


class Numbering:
    """Digests by number, and the number of each."""

    def __init__(self, digests: Sequence[bytes] = ()) -> None:
        self.digests = list(digests)
        # Of two equal ones, which another program may have written, the first counts.
        backwards = range(len(self.digests) - 1, -1, -1)
        self._numbers = dict(zip(reversed(self.digests), backwards, strict=True))

    def add(self, digest: bytes) -> None:
        """The next number is this one's."""
        self._numbers.setdefault(digest, len(self.digests))
        self.digests.append(digest)

    def number(self, digest: bytes) -> int | None:
        """The number of what has this digest; None when nothing has."""
        return self._numbers.get(digest)


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
            brought = _brought_by(record.payload)
            for part in brought.parts:
                self.parts.add(_digest(bytes(part)))
            # A list is about parts of its own record too, which are known by now.
            self._take_lists(brought.lists)
            self._end_record(marked=bool(brought.parts or brought.lists))

    def _take_lists(self, lists: Sequence[tuple[int, _Runs]]) -> None:
        left = _USES_MAX
        for base, runs in lists:
            left -= sum(count for _, count in runs)
            # More than a writer puts into a record: numbered, and never referred to.
            self.lists.add(self._list_digest(base, runs) if left >= 0 else b"?")

    def _list_digest(self, base: int, runs: _Runs) -> bytes:
        parts, lists = self.parts.digests, self.lists.digests
        if base >= len(lists) or any(first + count > len(parts) for first, count in runs):
            # Not written by `transit.trace`, and about nothing here: numbered, never referred to.
            return b"?"
        items = (parts[n] for first, count in runs for n in range(first, first + count))
        return _longer(b"" if base < 0 else lists[base], items)

    def passed(self, parts: Collection[bytes] = (), lists: Collection[bytes] = ()) -> None:
        """A record more, and what else it brought along."""
        for digest in parts:
            self.parts.add(digest)
        for digest in lists:
            self.lists.add(digest)
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


class _New(Generic[_T]):
    """What a record has to bring along of one kind, after what is known."""

    __slots__ = ("_known", "_numbers", "_start", "contents")

    def __init__(self, known: Numbering) -> None:
        self._known = known
        self._start = len(known.digests)
        self._numbers: dict[bytes, int] = {}
        self.contents: list[_T] = []

    @property
    def digests(self) -> Collection[bytes]:
        """In order of number."""
        return self._numbers

    def number(self, digest: bytes) -> int | None:
        """The number of what has this digest, known or new; None when nothing has."""
        found = self._known.number(digest)
        return self._numbers.get(digest) if found is None else found

    def add(self, digest: bytes, content: _T) -> int:
        """The number of one that is brought along."""
        number = self._numbers[digest] = self._start + len(self._numbers)
        self.contents.append(content)
        return number


class Packing:
    """One record in the making: packs its fields, and collects what it has to bring along."""

    def __init__(self, known: KnownParts) -> None:
        self._count_known = len(known.parts.digests)
        self._used: list[bytes] = []
        self._referred_bytes = 0
        self._refers = False
        self.parts: _New[bytes] = _New(known.parts)
        self.lists: _New[tuple[int, _Runs]] = _New(known.lists)

    def pack(self, value: object) -> object:
        """`value` in packed form; None for None."""
        if value is None:
            return None
        if isinstance(value, dict) and "role" not in value:
            return self._object(value)
        if isinstance(value, dict) and not _OF_A_RESPONSE.isdisjoint(value):
            return self._response(value)
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            return self._list(value)
        data = encode_json(value)
        return {"value": value} if len(data) <= INLINE_BYTES_MAX else self._part(data)

    def pack_whole(self, value: object) -> object:
        """`value` as one part."""
        return self._part(encode_json(value))

    def _object(self, value: dict[str, object]) -> object:
        rest = dict(value)
        fields: dict[str, object] = {}
        for key, member in value.items():
            if isinstance(member, str | dict | list):
                form = self.pack(member)
                if form != {"value": member}:
                    fields[key] = form
                    # Keeps the member's place among the others.
                    rest[key] = 0
        data = encode_json(rest)
        small = len(data) <= INLINE_BYTES_MAX
        packed: dict[str, object] = {"value": rest} if small else {"part": self._part(data)}
        return packed | {"fields": fields} if fields else packed

    def _response(self, value: dict[str, object]) -> object:
        message = {key: member for key, member in value.items() if key in _OF_A_MESSAGE}
        form = self._object({**value, **dict.fromkeys(message, 0)})
        return cast(dict[str, object], form) | {"message": self.pack_whole(message)}

    def _list(self, items: list[dict[str, object]]) -> object:
        if any(map(_holds_message, items)):
            return {"list": [self.pack(item) for item in items]}
        parts = [self._part(encode_json(item)) for item in items]
        base, held, digest = -1, 0, b""
        for count, item in enumerate(self._used[-len(items) :], start=1):
            digest = _longer(digest, (item,))
            found = self.lists.number(digest)
            if found is not None:
                base, held = found, count
        if held < len(items):
            base = self.lists.add(digest, (base, _runs(parts[held:])))
        return {"items": base}

    def _part(self, data: bytes) -> int:
        digest = _digest(data)
        self._used.append(digest)
        self._referred_bytes += len(data) + _USE_BYTES
        if self._referred_bytes > REFERRED_BYTES_MAX:
            raise InvalidInputError(f"one event of more than {REFERRED_BYTES_MAX} bytes")
        number = self.parts.number(digest)
        if number is None:
            return self.parts.add(digest, data)
        self._refers |= number < self._count_known
        return number

    def finish(self, event: bytes) -> bytes:
        """The record's payload: the encoded event, and what it brings along."""
        if not self._used:
            return event
        # `parts` is always there: it marks records that are about parts.
        pieces = [event[:-1], b',"parts":[', b",".join(self.parts.contents), b"]"]
        if self.lists.contents:
            pieces += [b',"lists":', encode_json(self.lists.contents)]
        if self._refers:
            pieces += [b',"digest":"', blake3(b"".join(self._used)).hexdigest(4).encode(), b'"']
        return b"".join([*pieces, b"}"])


def _holds_message(item: dict[str, object]) -> bool:
    """As `choices` of a model's response do."""
    return "role" not in item and any(
        isinstance(member, dict) and "role" in member for member in item.values()
    )


def _runs(numbers: Iterable[int]) -> _Runs:
    runs: _Runs = []
    for number in numbers:
        if runs and sum(runs[-1]) == number:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return runs


class _PackedObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is no number of a part: one of `items`, `packed`, `value` and `part`."""

    items: _Number | msgspec.UnsetType = msgspec.UNSET
    packed: list[_Form] | msgspec.UnsetType = msgspec.field(name="list", default=msgspec.UNSET)
    value: object = msgspec.UNSET
    part: _Number | msgspec.UnsetType = msgspec.UNSET
    fields: dict[str, _Form] = {}
    message: _Number | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if (self.items, self.packed, self.value, self.part).count(msgspec.UNSET) != 3:
            raise ValueError("one of items, list, value and part")


_Form = _Number | _PackedObject


class HistoryParts:
    """The parts and lists in a stream's history, by number: what a reader needs."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.parts: list[bytes] = []
        self.digests: list[bytes] = []
        self.lists: list[tuple[int, _Runs]] = []
        # What using the parts before number n costs, and what using list n costs, bytes.
        self._part_costs = [0]
        self._list_costs: list[int] = []
        # Of each record taken in: the counts of parts before and after it, and its digest.
        self._records: list[tuple[int, int, str]] = []

    def until(self, stop: int) -> None:
        """Take in the history up to before offset `stop`."""
        if stop > len(self._records):
            for record in self._stream.read(len(self._records), stop):
                self.add(record.payload)

    def add(self, payload: bytes) -> None:
        """Take in the next record."""
        brought, before = _brought_by(payload), len(self.parts)
        parts = list(map(bytes, brought.parts))
        self.parts += parts
        self.digests += map(_digest, parts)
        costs = (len(part) + _STEP_BYTES for part in parts)
        self._part_costs += islice(accumulate(costs, initial=self._part_costs[-1]), 1, None)
        for base, runs in brought.lists:
            before_it = self._list_costs[base] if 0 <= base < len(self.lists) else 0
            own = sum(self.run_cost(first, count) for first, count in runs)
            self._list_costs.append(before_it + own + _STEP_BYTES)
            self.lists.append((base, runs))
        self._records.append((before, len(self.parts), brought.digest))

    def run_cost(self, first: int, count: int) -> int:
        """What using consecutive parts costs, bytes; those that are not there cost nothing."""
        costs, last = self._part_costs, len(self._part_costs) - 1
        return costs[min(first + count, last)] - costs[min(first, last)] + _STEP_BYTES

    def list_cost(self, number: int) -> int:
        """What using a list costs, bytes; `LookupError` when there is none with this number."""
        return self._list_costs[number]

    def unpack(
        self, offset: int, forms: Mapping[str, object], place: str
    ) -> dict[str, object] | None:
        """The values of the packed fields of the record at `offset`, which was taken in.

        None when they are not packed: another program's record. `CorruptError` with `place` when
        the parts are not those it was written with.
        """
        try:
            typed = {key: msgspec.convert(form, _Form) for key, form in forms.items()}
        except (msgspec.ValidationError, UnicodeEncodeError, RecursionError):
            return None
        before, stop, digest = self._records[offset]
        unpacking = _Unpacking(self, stop)
        try:
            values = {key: unpacking.value(form) for key, form in typed.items()}
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise CorruptError(place, expected="packed values", found=repr(error)) from None
        if digest or unpacking.lowest < before:
            found = blake3(b"".join(unpacking.used)).hexdigest(4)
            if found != digest:
                expected = f"parts with digest {digest or 'missing'}"
                raise CorruptError(place, expected=expected, found=found)
        return values


class _Unpacking:
    """The packed fields of one record being put together; it may use parts before `stop`.

    used: the digests of those it used, in order. lowest: the smallest number among them.
    """

    def __init__(self, history: HistoryParts, stop: int) -> None:
        self._history = history
        self._stop = stop
        self.used: list[bytes] = []
        self.lowest = stop
        self._left = REFERRED_BYTES_MAX

    def value(self, form: _Form) -> object:
        """The value a packed value stands for."""
        if isinstance(form, int):
            return self._part(form)
        if form.items is not msgspec.UNSET:
            return self._items(form.items)
        if form.packed is not msgspec.UNSET:
            return [self.value(item) for item in form.packed]
        # In the order of the writer, whose digest is about it.
        members = {key: self.value(member) for key, member in form.fields.items()}
        part, message = form.part, form.message
        value = form.value if part is msgspec.UNSET else self._part(part)
        if message is not msgspec.UNSET:
            members |= cast(_Members, self._part(message))
        if members:
            # Each takes the place the writer kept for it among the others.
            cast(_Members, value).update(members)
        return value

    def _items(self, number: int) -> object:
        """The list with this number: what it goes on from, and what it adds to that."""
        lists, added = self._history.lists, []
        self._spend(self._history.list_cost(number))
        while number >= 0:
            base, runs = lists[number]
            if base >= number:
                raise ValueError(f"list {number} goes on from list {base}")
            added.append(runs)
            number = base
        found = [self._run(*run) for runs in reversed(added) for run in runs]
        return decode_json(b"[%b]" % b",".join(found))

    def _part(self, number: int) -> object:
        self._spend(self._history.run_cost(number, 1))
        return decode_json(self._run(number, 1))

    def _spend(self, cost: int) -> None:
        """Count what is referred to; refused before memory is taken for it."""
        self._left -= cost
        if self._left < 0:
            raise ValueError(f"values of more than {REFERRED_BYTES_MAX} bytes")

    def _run(self, first: int, count: int) -> bytes:
        """Consecutive parts, with commas between them."""
        if first + count > self._stop:
            raise LookupError(f"no parts {first} to {first + count - 1}, only {self._stop}")
        self.lowest = min(self.lowest, first)
        self.used += self._history.digests[first : first + count]
        return b",".join(self._history.parts[first : first + count])
