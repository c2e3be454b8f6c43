"""What `transit.testing.model` is made of: records, streams, and the operations of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from transit.errors import InvalidInputError

Scalar = str | int | float | bool | None


class ModelPosition(NamedTuple):
    """One record of one stream, or with offset -1 nothing of it."""

    stream: str
    offset: int


class ModelCursor(NamedTuple):
    """Where a cursor stands: the next offset to read, and what is kept with it."""

    position: int
    state: bytes | None = None


@dataclass(frozen=True)
class ModelRecord:
    """A record as one stream shows it; `origin` is where it was appended."""

    offset: int
    timestamp: int
    payload: bytes
    headers: Mapping[str, str]
    origin: ModelPosition


@dataclass
class ModelStream:
    """A stream and its whole history; `start` is the offset of its first own record.

    uid: what the engine drew for it, once that is known. first: the first offset that it shows;
    deleted: it shows none.
    """

    name: str
    number: int
    kind: str = "root"
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    parents: tuple[ModelPosition, ...] = ()
    fork: int | None = None
    start: int = 0
    records: list[ModelRecord] = field(default_factory=list)
    codec: str | None = None
    finished: bool = False
    uid: str = ""
    first: int = 0
    deleted: bool = False

    @property
    def head(self) -> ModelPosition:
        """The stream up to its last record."""
        return ModelPosition(self.name, len(self.records) - 1)


@dataclass(frozen=True)
class ModelPlan:
    """What a merge would make: its base, and the origin of every record in order."""

    base: ModelPosition | None
    origins: tuple[ModelPosition, ...]


@dataclass(frozen=True)
class Create:
    """Operation of a batch: a new root stream."""

    name: str
    metadata: Mapping[str, Scalar] | None = None
    codec: str | None = None


@dataclass(frozen=True)
class Append:
    """Operation of a batch: one record."""

    stream: str
    payload: bytes
    timestamp: int
    headers: Mapping[str, str] | None = None
    expect: int | None = None


@dataclass(frozen=True)
class Branch:
    """Operation of a batch: a new branch of `parent`."""

    parent: str
    name: str
    at: int | None = None
    metadata: Mapping[str, Scalar] | None = None
    expect: int | None = None


@dataclass(frozen=True)
class Merge:
    """Operation of a batch: a stream made from several heads."""

    name: str
    parents: Sequence[str | ModelPosition]
    policy: str
    base: ModelPosition | None = None
    params: Mapping[str, Scalar] | None = None
    metadata: Mapping[str, Scalar] | None = None
    merge_id: str | None = None
    expect: Sequence[int | None] | None = None


@dataclass(frozen=True)
class Finish:
    """Operation of a batch: no more records."""

    stream: str
    expect: int | None = None


@dataclass(frozen=True)
class Hide:
    """Operation of a batch: out of sight, the name free."""

    stream: str


@dataclass(frozen=True)
class Advance:
    """Operation of a batch: a cursor moves."""

    stream: str
    cursor: str
    position: int
    state: bytes | None = None
    expect: int | None = None


Operation = Create | Append | Branch | Merge | Finish | Hide | Advance


Suffixes = tuple[tuple[ModelRecord, ...], ...]


_TURNING = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROLS = (*range(32), *range(127, 160), 0x2028, 0x2029, *range(0xD800, 0xE000))
_REFUSED = frozenset(map(chr, _TURNING + _CONTROLS))


def check_name(name: str) -> None:
    """`InvalidInputError` unless a new stream may have this name."""
    if not 1 <= len(name.encode(errors="replace")) <= 512:
        raise InvalidInputError("a name is 1 to 512 bytes of UTF-8")
    if not _REFUSED.isdisjoint(name):
        raise InvalidInputError("a name has no control characters, and none that turn text")
    if name.startswith("$") or name != name.strip():
        raise InvalidInputError("a name begins with no $ and has no white space at its ends")


def shown(key: str) -> str:
    """The name of a stream, hidden or not, by what it goes by in the model."""
    return key.partition("\0")[0]


def selected(heads: Sequence[ModelPosition], params: Mapping[str, Scalar]) -> ModelPosition:
    """The head that policy "select" names."""
    for head in heads:
        if head.stream == params.get("selected"):
            return head
    raise InvalidInputError("params name no parent as selected")


def interleaved(suffixes: Suffixes) -> list[ModelRecord]:
    """The records by time, each no earlier than those before it in its own suffix."""
    keyed = []
    for order, suffix in enumerate(suffixes):
        for place, record in enumerate(suffix):
            latest = max(earlier.timestamp for earlier in suffix[: place + 1])
            keyed.append((latest, order, place, record))
    keyed.sort(key=lambda key: key[:3])
    return [record for _, _, _, record in keyed]


def checked(suffixes: Suffixes, returned: Iterable[ModelRecord]) -> list[ModelRecord]:
    """What a custom policy returned, each record once."""
    records = list(returned)
    left = {record.origin for suffix in suffixes for record in suffix}
    for record in records:
        if record.origin not in left:
            raise InvalidInputError("a policy returns each record of the suffixes at most once")
        left.remove(record.origin)
    return records
