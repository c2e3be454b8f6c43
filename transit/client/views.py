"""What a server has of `transit.views`: views that it serves, SQL, and its reconcilers.

Nothing is folded here, and no code is sent: a program that has the reducer itself can fold over
the connection too, with `views.open(log, reducer)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote

from transit import InvalidInputError, Stream
from transit.client.absent import missing
from transit.client.changes import ConnectedChange, ConnectedChanges
from transit.client.connection import Connection, Encoded, page_of
from transit.client.listing import reference_of
from transit.client.states import ConnectedState, key_of, row_of
from transit.client.stream import ConnectedStream
from transit.protocol.calls import NEXT_HEADER
from transit.protocol.views import (
    ARROW,
    AskedAnswer,
    ChangedRow,
    SqlRequest,
    SubscriberInfo,
    ViewInfo,
)
from transit.views.loops.reconcile import ReconcilerStatus
from transit.views.loops.ticks import TickRecord
from transit.views.overlay import RowChange
from transit.views.scans.choosing import At, Streams, Time, nanoseconds
from transit.views.scans.declaring import Columns, plain_of
from transit.views.scans.querying import EVENTS, NO_LIMITS, Limits
from transit.views.subscribing import SubscriberStatus

if TYPE_CHECKING:
    from transit.views.scans.results import Result

_LACKING: Final = frozenset((404, 405, 501))
_PAGE: Final = 1_000


class ConnectedView:
    """A view that a server serves; as `View` of `transit.views`, for reading and subscribing."""

    def __init__(self, connection: Connection, info: ViewInfo) -> None:
        self._connection, self.info = connection, info
        self._path = f"/v1/views/{quote(info.name)}"

    def __repr__(self) -> str:
        return f"<transit.client view {self.name!r} version {self.info.version}, {self.id[:8]}>"

    @property
    def name(self) -> str:
        """The view's name."""
        return self.info.name

    @property
    def id(self) -> str:
        """The id of the view, as the server has it."""
        return self.info.id

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of its tables."""
        return tuple(each.name for each in self.info.tables)

    def __getattr__(self, name: str) -> NoReturn:
        missing("View", name)

    def of(
        self, stream: Stream | str, at: int | None = None, *, time: datetime | int | None = None
    ) -> ConnectedState:
        """The state after the first `at` records of a stream, of all where it is None.

        time: the records written before this moment, which is not one to come.
        """
        reference = reference_of(self._connection, stream)
        if at is not None and time is not None:
            raise InvalidInputError("at and time do not go together")
        if at is None:
            about = self._connection.describe(reference)
            at = about.next_offset
            if time is not None:
                moment = nanoseconds(time, "time")
                if moment > time_ns():
                    raise InvalidInputError(
                        "time is to come: what is written until then is unknown"
                    )
                at = min(at, ConnectedStream(self._connection, about).offset_at(moment))
        return ConnectedState(self._connection, self.info, reference, at)

    def diff(self, before: ConnectedState, after: ConnectedState) -> Iterator[RowChange]:
        """The rows that two states have otherwise, in the order of tables and keys."""
        tables = {each.name: each for each in self.info.tables}
        query = {
            "stream": before.stream, "start": before.position, "to": after.stream,
            "stop": after.position, "limit": _PAGE,
        }  # fmt: skip
        following: str | None = None
        while following != "":
            after_ = None if following is None else Encoded(following)
            reply = self._connection.get(f"{self._path}/diff", {**query, "after": after_})
            found, _ = page_of(reply, ChangedRow)
            for each in found:
                table = tables[each.table]
                yield RowChange(
                    each.table, key_of(each.key), row_of(table, each.before),
                    row_of(table, each.after),
                )  # fmt: skip
            following = reply.headers.get(NEXT_HEADER, "")

    def changes(
        self,
        stream: Stream | str,
        subscriber: str,
        *,
        start: int = 0,
        timeout: float | None = 0.0,
    ) -> Iterator[ConnectedChange]:
        """The rows that each record changes, in order, from where `subscriber` stands.

        Call `done()` on each before the next; what was not done comes again, whatever crashed.
        """
        reference = reference_of(self._connection, stream)
        made = ConnectedChanges(self._connection, self.info, reference, subscriber, start)
        return made.changes(timeout)

    def subscribers(self, stream: Stream | str) -> list[SubscriberStatus]:
        """Who has seen changes of a stream, and how far they are."""
        query = {"stream": reference_of(self._connection, stream)}
        found, _ = self._connection.page(f"{self._path}/subscribers", SubscriberInfo, query)
        return [
            SubscriberStatus(
                each.name, each.stream, each.position, each.lag, each.open, each.is_lost
            )
            for each in found
        ]


class ConnectedReconcilers:
    """The reconcilers of a served store; as `Reconcilers` of `transit.views`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> NoReturn:
        missing("Reconcilers", name)

    def list(self, labels: Mapping[str, str] | None = None) -> Sequence[ReconcilerStatus]:
        """All that may be read, in order of registration; labels: which they all have."""
        query = {"labels": None if labels is None else dict(labels)}
        found, _ = self._connection.page("/v1/reconcilers", ReconcilerStatus, query)
        return tuple(found)

    def status(self, name: str) -> ReconcilerStatus:
        """How one stands; `NotFoundError`."""
        return self._connection.value(_reconciler(name), ReconcilerStatus)

    def ticks(self, name: str, last: int | None = None) -> Sequence[TickRecord]:
        """Its ticks, oldest first; the last few."""
        found: list[TickRecord] = []
        before: int | None = None
        while last is None or len(found) < last:
            limit = _PAGE if last is None else min(_PAGE, last - len(found))
            query = {"limit": limit, "before": before}
            page, earlier = self._connection.page(f"{_reconciler(name)}/ticks", TickRecord, query)
            found[:0] = page
            if not earlier:
                break
            before = int(earlier)
        return tuple(found)

    def enable(self, name: str) -> None:
        """Let ticks be made again. This, and what follows, needs the right admin."""
        self._say("POST", name, "/enable")

    def disable(self, name: str) -> None:
        """Begin no more ticks but those that are asked for."""
        self._say("POST", name, "/disable")

    def delete(self, name: str) -> None:
        """Take it out; its history stays."""
        self._say("DELETE", name, "")

    def ask(self, name: str) -> int:
        """Ask whichever runner has it for a tick now; the number of the request.

        One whose answer was lost may have been asked for too.
        """
        return self._say("POST", name, "/tick").number or 0

    def _say(self, method: str, name: str, action: str) -> AskedAnswer:
        path = _reconciler(name) + action
        return self._connection.post(path, None, AskedAnswer, method=method)


def _reconciler(name: str) -> str:
    if not isinstance(name, str) or not name or "/" in name:
        raise InvalidInputError(f"no name of a reconciler: {name!r}")
    return f"/v1/reconcilers/{quote(name, safe='')}"


class ConnectedViews:
    """The views that a server serves: `log.views["tally"]`, and what else it has of views."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __iter__(self) -> Iterator[ConnectedView]:
        found, _ = self._connection.page("/v1/views", ViewInfo, {})
        return (ConnectedView(self._connection, each) for each in found)

    def __getitem__(self, name: str) -> ConnectedView:
        """The view of this name; `NotFoundError`."""
        if not isinstance(name, str) or not name or "/" in name:
            raise InvalidInputError(f"no name of a view: {name!r}")
        info = self._connection.value(f"/v1/views/{quote(name, safe='')}", ViewInfo)
        return ConnectedView(self._connection, info)

    @property
    def reconcilers(self) -> ConnectedReconcilers:
        """The reconcilers of the store."""
        return ConnectedReconcilers(self._connection)

    def sql_or_none(  # noqa: PLR0913 - as many as `sql` takes
        self,
        query: str,
        *,
        streams: Streams,
        at: At,
        since: Time | None,
        until: Time | None,
        columns: Columns | None,
        view: object,
        stream: Stream | str | None,
        limits: Limits = NO_LIMITS,
    ) -> Result | None:
        """As `views.sql`, by the server; None where it cannot, or what is needed is not there."""
        if columns is not None and not columns.fields:
            # None are declared, which a server is told so.
            columns = None
        plain = None if columns is None else plain_of(columns)
        if not isinstance(query, str) or (columns is not None and plain is None):
            return None
        if view is not None and not isinstance(view, ConnectedView):
            return None
        asked = SqlRequest(
            query,
            self._references(streams),
            _at(at),
            None if since is None else nanoseconds(since, "since"),
            None if until is None else nanoseconds(until, "until"),
            None if plain is None else {key: (list(p), k) for key, (p, k) in plain.items()},
            EVENTS if columns is None else columns.name,
            None if view is None else view.name,
            None if stream is None else reference_of(self._connection, stream),
            rows_max=limits.rows_max,
            seconds_max=limits.seconds_max,
        )
        reply = self._connection.asked("/v1/sql", asked, {"accept": ARROW}, _LACKING)
        if reply.status >= 400:
            return None
        # Loaded here: pyarrow is an extra and slow to load.
        import pyarrow as pa

        from transit.views.scans.results import Result  # and here for the same reason

        return Result(pa.ipc.open_stream(reply.body).read_all())

    def _references(self, streams: Streams) -> list[str] | None:
        if streams is None:
            return None
        given: Iterable[Any] = [streams] if isinstance(streams, str | Stream) else streams
        if not isinstance(given, Iterable):
            raise InvalidInputError(f"streams: names, patterns or streams; not {streams!r}")
        return [
            each if isinstance(each, str) else reference_of(self._connection, each)
            for each in given
        ]


def _at(at: At) -> int | str | dict[str, int] | None:
    if isinstance(at, datetime):
        nanoseconds(at, "at")
        return at.isoformat()
    return dict(at) if isinstance(at, Mapping) else at
