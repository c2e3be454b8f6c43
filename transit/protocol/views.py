"""What is asked of views, SQL and subscriptions over the network, and what is answered: as values.

Reconcilers and their ticks are answered as the values that `transit.views` has of them.

A page of rows is rows as they are: objects of JSON with the fields' names, or of msgpack. `after`
is what `Transit-Next` said; it holds the offset, so that all pages are of one state.

Rows of SQL are NDJSON: first a `SqlHead`, then an array a row; or msgpack, the same one after the
other; or an Arrow stream (`ARROW`) where that is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from transit.protocol.calls import Name, Offset, Time

ARROW: Final = "application/vnd.apache.arrow.stream"
ROOT_HEADER: Final = "Transit-Root"
ROWS_HEADER: Final = "Transit-Rows"
MORE_HEADER: Final = "Transit-More"
QUERY_CHARS_MAX: Final = 256 * 1024
STREAMS_MAX: Final = 10_000
COLUMNS_MAX: Final = 256

Kind = Literal[
    "text", "int", "float", "bool", "bytes", "time", "json", "texts", "ints", "floats", "bools"
]
Paths = Annotated[list[Annotated[str, Meta(max_length=4096)]], Meta(min_length=1, max_length=32)]
Limit = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class TableInfo(msgspec.Struct, frozen=True):
    """A table of a view. key, index, unique: fields. columns: all of them. row: JSON Schema.

    auto: whether the table numbers its rows.
    """

    name: str
    key: Sequence[str]
    columns: Sequence[str]
    index: Sequence[Sequence[str]]
    unique: Sequence[Sequence[str]]
    auto: bool
    row: Mapping[str, Any]


class ViewInfo(msgspec.Struct, frozen=True):
    """A view that is served. kind: python or wasm. persist: where savepoints are kept."""

    name: str
    version: int
    id: str
    kind: str
    persist: str
    on_error: str
    tables: Sequence[TableInfo]


class ChangedRow(msgspec.Struct, frozen=True):
    """A row that two states have otherwise; before, after: null where there is none."""

    table: str
    key: Any
    before: Any
    after: Any


class ChangeEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """The data of an event of GET /v1/views/{view}/changes.

    position: what to give to `done`, and the event's id. id: names the change for ever. offset: of
    the record; number: among its changes. is_repeated: its effect may have happened.
    """

    position: str
    id: str
    table: str
    key: Any
    before: Any
    after: Any
    offset: int
    number: int
    is_repeated: bool = False


class DoneRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """POST /v1/views/{view}/done: the changes up to `position` are dealt with.

    step: "intent" where the effect of this one is about to begin.
    """

    stream: Name
    subscriber: Annotated[str, Meta(min_length=1, max_length=128)]
    position: Annotated[str, Meta(pattern=r"^[0-9]{1,18}\.[0-9]{1,9}$")]
    step: Literal["done", "intent"] = "done"


class SubscriberInfo(msgspec.Struct, frozen=True):
    """Where a subscriber stands: as `SubscriberStatus` of `transit.views`."""

    name: str
    stream: str
    position: int
    lag: int
    open: str | None
    is_lost: bool = False


class SqlRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """POST /v1/sql: one SELECT over records, and over the tables of a view.

    streams: names and patterns; null: all that may be read. at: an offset, "commit:12", a time with
    a zone, or offsets by stream. since, until: times of writing. columns: "runs" for those of
    recorded runs, or [paths, kind] by name; null: `_kind` and `payload`. table: what the records
    are called; `records` are the same with `payload`. view, stream: the tables of its state, to
    which `at` belongs then. limit: rows that are enough. rows_max, seconds_max: less than the
    server's own.
    """

    query: Annotated[str, Meta(max_length=QUERY_CHARS_MAX)]
    streams: (
        Annotated[list[Annotated[str, Meta(max_length=512)]], Meta(max_length=STREAMS_MAX)] | None
    ) = None
    at: Offset | str | Annotated[dict[str, Offset], Meta(max_length=STREAMS_MAX)] | None = None
    since: Time | None = None
    until: Time | None = None
    columns: (
        Literal["runs"]
        | Annotated[dict[str, tuple[Paths, Kind]], Meta(min_length=1, max_length=COLUMNS_MAX)]
        | None
    ) = None
    table: Annotated[str, Meta(max_length=128)] = "events"
    view: Annotated[str, Meta(max_length=128)] | None = None
    stream: Name | None = None
    limit: Limit | None = None
    rows_max: Limit | None = None
    seconds_max: Annotated[float, Meta(gt=0, le=3600)] | None = None


class SqlColumn(msgspec.Struct, frozen=True):
    """A column of a result. type: as Arrow calls it."""

    name: str
    type: str


class SqlHead(msgspec.Struct, frozen=True):
    """The first line of a result. rows: how many follow. more: there are more than were wanted."""

    columns: Sequence[SqlColumn]
    rows: int
    more: bool


class AskedAnswer(msgspec.Struct, frozen=True):
    """What was said of a reconciler. number: of the request, where a tick was asked for."""

    name: str
    op: Literal["tick", "enable", "disable", "delete"]
    number: int | None = None


def position_text(offset: int, number: int) -> str:
    """A change's position."""
    return f"{offset}.{number}"


def position_of(text: str) -> tuple[int, int] | None:
    """The offset and the number of a position; None for what is none."""
    offset, dot, number = text.partition(".")
    parts = (offset, number)
    if not dot or not all(each.isascii() and each.isdigit() and len(each) < 19 for each in parts):
        return None
    return int(offset), int(number)
