"""ConnectedLog: a store that a server serves, used as an embedded one."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from transit.client.absent import refuse
from transit.client.asking import heads_of, merge_step, plan_request
from transit.client.batch import ConnectedBatch, create_step
from transit.client.connection import Connection, let_go
from transit.client.cursor import listed as listed_cursors
from transit.client.evidence import ConnectedEvidence
from transit.client.layer import ConnectedLayer
from transit.client.lineage import ConnectedLineage
from transit.client.listing import listed, reference_of
from transit.client.removal import ConnectedRemoval
from transit.client.stream import ConnectedStream
from transit.client.views import ConnectedViews
from transit.client.watching import ConnectedWatch
from transit.config import Durability, Encrypted, Level, Mode, Settings, durability_level
from transit.engine.batch import WriteBatch
from transit.engine.became import Retention
from transit.engine.checks import check_limit, check_numbers
from transit.engine.cursor import Cursor
from transit.engine.finding import Which
from transit.engine.layer import Layer
from transit.engine.lineage import Lineage
from transit.engine.log import Log
from transit.engine.plans import MergePlan
from transit.engine.status import Status
from transit.engine.stream import Stream
from transit.engine.trusted import Keys
from transit.engine.watching import Callback, Watch
from transit.errors import InvalidInputError
from transit.format.life import check_reason
from transit.format.lineage import Metadata, Scalar
from transit.format.names import check_name, findable
from transit.format.uid import check_uid
from transit.handle.tiering import Published
from transit.keyring import Keyring
from transit.proof.policy import Policy
from transit.protocol.calls import UID_PREFIX, Hide, Show, Step, SyncAnswer, SyncRequest
from transit.replay import Position
from transit.tier.progress import Progress
from transit.verify import Report


class ConnectedLog(ConnectedEvidence, ConnectedRemoval, Log):
    """See `Log`. Made by `transit.connect`; safe for threads.

    What was submitted is sent before it closes, also when the last handle on it is collected or the
    interpreter ends.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lineage = ConnectedLineage(connection)
        # Not by `close`: that would keep the connection from being collected.
        weakref.finalize(
            connection, let_go, connection.submitting, connection.waiters, connection.link
        )

    def __repr__(self) -> str:
        return f"<transit.Log {self.path!r}, mode {self.mode!r}>"

    def __enter__(self) -> Log:
        self._connection.check()
        return self

    @property
    def path(self) -> str:
        """The server's address."""
        return str(self._connection.address)

    @property
    def mode(self) -> Mode:
        """How the server has the store open: "exclusive", "shared" or "read"."""
        return self._connection.store.mode

    @property
    def keyring(self) -> Keyring | None:
        """See `Log.keyring`; the server's stays there: None."""
        return None

    @property
    def encryption(self) -> Encrypted:
        """See `Log.encryption`."""
        return self._connection.store.encryption

    @property
    def durability(self) -> Durability:
        """What appends wait for unless they say otherwise."""
        return self._connection.durability

    @property
    def settings(self) -> Settings:
        """The limits of records and frames as the server has them; the rest are defaults."""
        return self._connection.settings

    @property
    def store_id(self) -> str:
        """The store's id, 32 hex digits, given when it was made."""
        return self._connection.store.store_id

    @property
    def recovery(self) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "recovery")

    @property
    def refuses(self) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "refuses")

    @property
    def closed(self) -> bool:
        """Whether the connection was closed."""
        return self._connection.link.closed

    # Streams

    def create(
        self,
        name: str,
        metadata: Mapping[str, Scalar] | None = None,
        *,
        codec: str | None = None,
        uid: str | None = None,
        retention: Retention | None = None,
        protect: str | None = None,
        durability: str | None = None,
    ) -> Stream:
        """See `Log.create`; without `retention`, which a stream is given once it is there."""
        if retention is not None:
            raise InvalidInputError(
                "retention: not over a connection: create the stream, then stream.retain(...)"
            )
        return self._made(create_step(check_name(name), metadata, codec, uid, protect), durability)

    def _made(self, step: Step, durability: str | None) -> Stream:
        (about,) = self._connection.write((step,), durability).made
        return ConnectedStream(self._connection, about)

    def stream(self, name: str | None = None, *, uid: str | None = None) -> Stream:
        """See `Log.stream`."""
        if (name is None) == (uid is None):
            raise InvalidInputError("stream() takes a name or a uid")
        reference = findable(name) if uid is None else UID_PREFIX + check_uid(uid)
        return ConnectedStream(self._connection, self._connection.describe(reference))

    def __contains__(self, name: object) -> bool:
        """Whether there is a stream with this name."""
        if not isinstance(name, str):
            raise InvalidInputError(f"stream name must be str, not {type(name).__name__}")
        self._connection.check()
        try:
            whole = findable(name)
        except InvalidInputError:
            # What cannot be a name names nothing.
            return False
        return self._connection.finds(whole) is not None

    def streams(
        self,
        prefix: str = "",
        *,
        where: Metadata | None = None,
        after: Stream | str | None = None,
        limit: int | None = None,
    ) -> Iterator[Stream]:
        """See `Log.streams`. They come a page at a time."""
        return listed(self._connection, _checked_prefix(prefix), where, after, limit)

    def pieces(self, since: int = -1, *, layer: str | None = None) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "pieces")

    def segments(self, since: int = -1) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "segments")

    def sealed(self, head: object = None) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "sealed")

    def cache(self, room: str = "") -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "cache")

    def layer(self, name: str) -> Layer:
        """See `Log.layer`."""
        self._connection.check()
        return ConnectedLayer(self._connection, name)

    def hide(
        self,
        stream: Stream | str,
        *,
        expect: int | None = None,
        reason: str = "",
        durability: str | None = None,
    ) -> None:
        """See `Log.hide`."""
        self._change(Hide, stream, expect, reason, durability)

    def show(
        self,
        stream: Stream | str,
        *,
        expect: int | None = None,
        reason: str = "",
        durability: str | None = None,
    ) -> None:
        """See `Log.show`."""
        self._change(Show, stream, expect, reason, durability)

    def _change(
        self,
        kind: Callable[..., Hide | Show],
        stream: Stream | str,
        expect: int | None,
        reason: str,
        durability: str | None,
    ) -> None:
        reference, why = reference_of(self._connection, stream), check_reason(reason)
        check_numbers(None, expect)
        step = kind(stream=reference, expect=expect, reason=why)
        self._connection.write((step,), durability)

    def hidden(self, prefix: str = "") -> Iterator[Stream]:
        """See `Log.hidden`."""
        return listed(self._connection, _checked_prefix(prefix), hidden=True)

    def cursors(
        self,
        prefix: str = "",
        *,
        streams: str = "",
        after: Cursor | None = None,
        limit: int | None = None,
    ) -> Iterator[Cursor]:
        """See `Log.cursors`."""
        check_limit(limit, "cursors")
        found = _checked_prefix(streams)
        return listed_cursors(self._connection, prefix, found, after, limit)

    def watch(self, callback: Callback, streams: Iterable[Stream | str] | None = None) -> Watch:
        """See `Log.watch`. It has a connection of its own, to the server's events."""
        self._connection.check()
        if not callable(callback):
            raise InvalidInputError(f"callback must be a function, not {type(callback).__name__}")
        wanted = None
        if streams is not None:
            if isinstance(streams, str | Stream) or not isinstance(streams, Iterable):
                raise InvalidInputError("streams must be a sequence of streams or names")
            wanted = [reference_of(self._connection, each) for each in streams]
        return ConnectedWatch(self._connection, callback, wanted)

    def batch(self, *, durability: str | None = None, writer: str = "") -> WriteBatch:
        """See `Log.batch`; the server says who writes."""
        self._connection.check()
        return ConnectedBatch(self._connection, durability, writer)

    # Lineage

    @property
    def lineage(self) -> Lineage:
        """Questions about how streams descend from one another."""
        return self._lineage

    def merge(  # noqa: PLR0913 - as many things decide a merge
        self,
        name: str,
        parents: Sequence[Which],
        *,
        policy: str,
        base: Position | None = None,
        params: Mapping[str, Scalar] | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        merge_id: str | None = None,
        uid: str | None = None,
        expect: Sequence[int | None] | None = None,
        durability: str | None = None,
    ) -> Stream:
        """See `Log.merge`; a custom policy is one that the server's process knows."""
        heads = heads_of(self._connection, parents)
        step = merge_step(
            name, heads, policy=policy, base=base, params=params, metadata=metadata,
            merge_id=merge_id, layer=None, uid=uid, expect=expect,
        )  # fmt: skip
        return self._made(step, durability)

    def plan(
        self,
        parents: Sequence[Which],
        *,
        policy: str,
        base: Position | None = None,
        params: Mapping[str, Scalar] | None = None,
    ) -> MergePlan:
        """What `merge` would make, without making it."""
        asked = plan_request(self._connection, parents, policy, base, params)
        return self._connection.post("/v1/plan", asked, MergePlan)

    # Views

    @property
    def views(self) -> ConnectedViews:
        """The views that the server serves, SQL there, and its reconcilers."""
        return ConnectedViews(self._connection)

    # The store

    def sync(self, level: str = "local") -> None:
        """See `Log.sync`. The token needs the right admin."""
        if durability_level(level) < Level.LOCAL:
            raise InvalidInputError(
                f'level must be "local", "tiered" or "replicated", not {level!r}'
            )
        self._connection.post("/v1/sync", SyncRequest(level), SyncAnswer)

    def seal(self) -> None:
        """See `Log.seal`. The token needs the right admin."""
        self._connection.post("/v1/seal", None, SyncAnswer)

    def publish(self, progress: Callable[[Progress], None] | None = None) -> Published:
        """See `Log.publish`; it tells no progress. The token needs the right admin."""
        if progress is not None:
            raise InvalidInputError(
                "progress: not over a connection: the server answers at the end"
            )
        return self._connection.post("/v1/publish", None, Published)

    def release(self) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "release")

    def rebase_onto_remote(self) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "rebase_onto_remote")

    def refresh(self) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "refresh")

    def evict(self, **given: Any) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "evict")

    def verify(self, *, keys: Keys | None = None, policy: Policy | None = None) -> Report:
        """See `Log.verify`: the server reads its files. The token needs the right admin.

        `InvalidInputError` for keys or a policy: a server's word about signatures shows nothing.
        """
        if keys is not None or policy is not None:
            raise InvalidInputError(
                "signatures are verified where the files are: give the keys to verify() of the "
                "folder, or to audit() of its remote"
            )
        return self._connection.post("/v1/verify", None, Report)

    def status(self) -> Status:
        """What the store holds now, as the server says; `path` is a folder there."""
        return self._connection.value("/v1/status", Status)

    def metrics(self) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "metrics")

    def close(self) -> None:
        """Send what was submitted and let the connections go; closing again does nothing."""
        self._connection.close()


def _checked_prefix(prefix: object) -> str:
    if not isinstance(prefix, str):
        raise InvalidInputError(f"prefix must be str, not {type(prefix).__name__}")
    return prefix
