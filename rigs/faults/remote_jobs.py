"""What a program does with a remote, job by job, so that every request there is gets sent.

Owns the jobs that `rigs.faults.remote` runs under faults. A job acts while requests fail
and notes each error; then it settles: the cause is gone, and the same handles must go on. What was
written is kept in `written`, to be compared with what the bucket says.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import transit
from rigs.faults.simulated_s3 import Bucket, Rule, SimulatedS3
from rigs.faults.virtual_time import VirtualClock
from transit.handle import attaching
from transit.store import ObjectStore, Traffic
from transit.store.s3 import S3Store
from transit.tier.remote import commit_key

TIMEOUT_S: Final = 60.0
# Not compressed, so that a payload can be found in an object.
SETTINGS: Final = transit.Settings(remote_timeout_s=TIMEOUT_S, transfers_max=2, compression="none")
BUCKET_URL: Final = "s3://simulated/runs"
# Commits of the store that most jobs begin with: the next one names an index snapshot.
COMMITS: Final = 16
# The commit that the bucket lacks where a job is about that.
GAP: Final = 5
Contents = dict[str, list[bytes]]


class Call(NamedTuple):
    """One call of an `ObjectStore`: its caller, what it asked, and what it took."""

    caller: str
    kind: str
    seconds: float


class Watched:
    """An `ObjectStore` that notes the caller of every call, and how long the call waited."""

    def __init__(self, store: ObjectStore, clock: VirtualClock) -> None:
        self._store = store
        self._clock = clock
        self.calls: list[Call] = []

    def _timed(self, operation: str, key: str, call: Callable[[], Any]) -> Any:
        caller = _caller()
        start = self._clock.monotonic()
        try:
            return call()
        finally:
            kind = f"{operation} {key.partition('/')[0] or 'all'}"
            self.calls.append(Call(caller, kind, self._clock.monotonic() - start))

    @property
    def traffic(self) -> Traffic:
        """As `ObjectStore`."""
        return self._store.traffic

    @property
    def url(self) -> str:
        """As `ObjectStore`."""
        return self._store.url

    @property
    def refuses_damage(self) -> bool:
        """As `ObjectStore`; it takes two calls, so it is not timed as one."""
        return self._store.refuses_damage

    def get(self, key: str, bytes_max: int) -> bytes | None:
        """As `ObjectStore`."""
        found: bytes | None = self._timed("get", key, lambda: self._store.get(key, bytes_max))
        return found

    def get_range(self, key: str, position: int, size: int) -> bytes:
        """As `ObjectStore`."""
        found: bytes = self._timed("range", key, lambda: self._store.get_range(key, position, size))
        return found

    def size(self, key: str) -> int | None:
        """As `ObjectStore`."""
        found: int | None = self._timed("size", key, lambda: self._store.size(key))
        return found

    def put(self, key: str, data: bytes) -> None:
        """As `ObjectStore`."""
        self._timed("put", key, lambda: self._store.put(key, data))

    def create(self, key: str, data: bytes) -> None:
        """As `ObjectStore`."""
        self._timed("create", key, lambda: self._store.create(key, data))

    def delete(self, key: str) -> None:
        """As `ObjectStore`."""
        self._timed("delete", key, lambda: self._store.delete(key))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """As `ObjectStore`; all pages at once."""
        pages = self._timed("list", prefix, lambda: list(self._store.list(prefix)))
        return iter(pages)

    def close(self) -> None:
        """The store behind is left open: it is looked into afterwards."""


def _caller() -> str:
    """The function of the engine that called, as "module:function"."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        name = frame.f_globals.get("__name__", "")
        # What a door in front of the store does is not the engine's.
        if name.startswith("transit.") and not name.startswith(
            ("transit.testing", "transit.store", "transit.tier.timed")
        ):
            return f"{name}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "?"


class Session:
    """One run of a job: a folder, a bucket, and what happened.

    `store` goes through the faults, `direct` past them. `errors` are what the program was told, by
    step. `written` is what was appended, in order; `unpublished` what was acknowledged as published
    while the bucket did not have it.
    """

    def __init__(self, folder: Path, bucket: Bucket, clock: VirtualClock) -> None:
        self.folder = folder
        self.bucket = bucket
        self.server = SimulatedS3(bucket)
        self.store = Watched(S3Store(self.server, "simulated", "", TIMEOUT_S), clock)
        self.direct = S3Store(SimulatedS3(bucket), "simulated", "", TIMEOUT_S)
        self.errors: list[tuple[str, BaseException]] = []
        self.written: Contents = {}
        self.unpublished: list[bytes] = []
        self.read: list[Contents] = []
        self.log: transit.Log | None = None

    def follow(self, rule: Rule | None) -> None:
        """Have faults from now on, or none."""
        self.server.rule = rule

    def step(self, name: str, call: Callable[[], object]) -> bool:
        """Do one thing, as a program that goes on after an error; whether it worked."""
        try:
            call()
        except Exception as error:
            self.errors.append((name, error))
            return False
        return True

    def open(self, name: str = "a", mode: transit.Mode = "exclusive") -> transit.Log:
        """The store in folder `name`, with the remote."""
        self.log = transit.open(
            self.folder / name, remote=self.store, mode=mode, durability="os", settings=SETTINGS
        )
        return self.log

    def append(self, log: transit.Log, durability: transit.Durability = "os") -> None:
        """Append the next record of stream `s`; what is said to be published is held to it."""
        written = self.written.setdefault("s", [])
        payload = b"record %06d " % len(written) * 5
        stream = log.stream("s") if "s" in log else log.create("s")
        written.append(payload)
        receipt = stream.append(payload, durability=durability)
        if receipt.durability == "tiered" and not self.bucket.holds(payload):
            self.unpublished.append(payload)

    def look(self, log: transit.Log) -> None:
        """Read everything, and keep it to be compared."""
        self.read.append(contents(log))

    def close(self) -> None:
        """Let the handle go."""
        if self.log is not None:
            self.log.close()


def contents(log: transit.Log) -> Contents:
    """The payloads of every stream of the user's."""
    return {stream.name: [r.payload for r in stream.read()] for stream in log.streams()}


class Prepared(NamedTuple):
    """A store that was published, its folder `a` still with what it published, and one copy `b`."""

    folder: Path
    objects: dict[str, bytes]
    written: Contents


def prepare(folder: Path, clock: VirtualClock) -> Prepared:
    """Make the store that most jobs begin with."""
    session = Session(folder, Bucket(), clock)
    with session.open() as log:
        for _ in range(COMMITS):
            session.append(log)
            log.seal()
        log.publish()
        log.release()
    shutil.copytree(folder / "a", folder / "b")
    return Prepared(folder, dict(session.bucket.objects), session.written)


class Job(NamedTuple):
    """Something a program does: before, under faults, and after them.

    fresh: whether it begins with nothing. fences: whether another writer is part of it. damaged:
    whether the bucket is, so that no reader may take it for whole.
    """

    name: str
    act: Callable[[Session], None]
    settle: Callable[[Session], None]
    before: Callable[[Session], None] = lambda session: None
    fresh: bool = False
    fences: bool = False
    damaged: bool = False


# Writing


def _write(session: Session) -> None:
    """Open, append, publish; go on after whatever fails."""
    if session.step("open", session.open) and session.log is not None:
        log = session.log
        session.step("append", lambda: session.append(log))
        session.step("publish", log.publish)
        for _ in range(3):
            session.step("tiered", lambda: session.append(log, "tiered"))


def _go_on(session: Session) -> None:
    """With the cause gone the same handle publishes on, or the folder opens again."""
    log = session.log or session.open()
    session.append(log, "tiered")
    log.publish()
    session.look(log)
    log.release()


def _interrupted(session: Session) -> None:
    """Leave two commits unpublished whose objects are in the bucket, one of them damaged there."""
    with transit.open(session.folder / "a", durability="os") as log:
        for _ in range(2):
            session.append(log)
            log.seal()
    ours = sorted((session.folder / "a" / "segments").glob("*.seg"))
    missing = [p for p in ours if f"segments/{p.name}" not in session.bucket.objects]
    for number, path in enumerate(missing):
        data = path.read_bytes()
        session.bucket.objects[f"segments/{path.name}"] = data[:-1] + b"?" if number else data
    for path in (session.folder / "a" / "index").glob("*.idx"):
        session.bucket.objects[f"index/{path.name}"] = path.read_bytes()


def _evict(session: Session) -> None:
    """Let segments go and read them from the bucket."""
    if session.step("open", session.open) and session.log is not None:
        log = session.log
        session.step("evict", lambda: log.evict(bytes_max=0))
        session.step("read", lambda: session.look(log))
        session.step("read one", lambda: log.stream("s")[3])
        session.step("tiered", lambda: session.append(log, "tiered"))


def _take_over(session: Session) -> None:
    """An empty folder goes on where the remote is."""
    if session.step("open", lambda: session.open("new")) and session.log is not None:
        log = session.log
        session.step("tiered", lambda: session.append(log, "tiered"))


def _take_over_on(session: Session) -> None:
    session.log = session.log or session.open("new")
    _go_on(session)


# Two writers


def _another_writes(session: Session) -> None:
    """Folder `b` publishes, so that `a`, which has records of its own, is fenced."""
    with transit.open(session.folder / "b", remote=session.direct, settings=SETTINGS) as other:
        other.create("other").append(b"other", durability="tiered")
        other.release()
    with transit.open(session.folder / "a", durability="os") as log:
        log.create("mine").append(b"mine")
    session.written["other"] = [b"other"]
    session.written["mine"] = [b"mine"]


def _rebase(session: Session) -> None:
    if session.step("open", session.open) and session.log is not None:
        log = session.log
        session.step("publish", log.publish)
        if any(isinstance(error, transit.FencedError) for _, error in session.errors):
            session.step("rebase", log.rebase_onto_remote)


def _rebase_on(session: Session) -> None:
    """Rebase, unless that is done, and go on."""
    log = session.log
    if log is None or log.closed:
        log = session.open()
    with contextlib.suppress(transit.FencedError):
        log.publish()
    if log.status().remote_error:
        log.rebase_onto_remote()
        session.open()
    _go_on(session)


# Reading


def _restore(session: Session, **options: Any) -> None:
    session.step(
        "restore",
        lambda: transit.restore(session.store, session.folder / "r", settings=SETTINGS, **options),
    )


def _restore_on(session: Session, **options: Any) -> None:
    """Restore again unless it worked; then read all of it."""
    if session.errors:
        transit.restore(session.store, session.folder / "r", settings=SETTINGS, **options)
    with session.open("r", "read") as log:
        log.refresh()
        session.look(log)


def _lazy(session: Session) -> None:
    _restore(session, lazy=True)
    if not session.errors and session.step("open", lambda: session.open("r", "read")):
        log = session.log
        assert log is not None
        session.step("read", lambda: session.look(log))
        session.step("refresh", log.refresh)
        session.step("read", lambda: session.look(log))


def _lazy_on(session: Session) -> None:
    if any(name == "restore" for name, _ in session.errors):
        transit.restore(session.store, session.folder / "r", settings=SETTINGS, lazy=True)
    log = session.log or session.open("r", "read")
    log.refresh()
    session.look(log)
    log.close()


@contextlib.contextmanager
def addressed(store: ObjectStore) -> Iterator[str]:
    """An address that leads to `store`, for what is opened by address alone."""
    names = vars(attaching)
    real = names["open_store"]
    try:
        names["open_store"] = lambda *_: store
        yield BUCKET_URL
    finally:
        names["open_store"] = real


def _open_bucket(session: Session) -> None:
    with addressed(session.store) as url:
        session.log = transit.open(url, mode="read", settings=SETTINGS)


def _bucket(session: Session) -> None:
    if session.step("open", lambda: _open_bucket(session)):
        log = session.log
        assert log is not None
        session.step("read", lambda: session.look(log))
        session.step("refresh", log.refresh)
        session.step("read", lambda: session.look(log))


def _bucket_on(session: Session) -> None:
    if session.log is None:
        _open_bucket(session)
    log = session.log
    assert log is not None
    log.refresh()
    session.look(log)
    log.close()


def _audit(session: Session) -> None:
    def look(level: str) -> None:
        report = transit.audit(session.store, level, settings=SETTINGS)
        if not report.ok:
            finding = report.findings[0]
            raise transit.CorruptError(
                finding.place, expected=finding.expected, found=finding.found
            )

    session.step("audit", lambda: look("bodies"))
    session.step("audit of the roots", lambda: look("roots"))


def _audit_on(session: Session) -> None:
    report = transit.audit(session.store, settings=SETTINGS)
    if not report.ok:
        raise AssertionError(f"an audit accuses a whole store: {report.findings}")


def _lose_a_commit(session: Session) -> None:
    del session.bucket.objects[commit_key(GAP)]


def _find_gap(session: Session) -> None:
    _restore(session)
    _audit(session)


def _find_gap_on(session: Session) -> None:
    """A reader of the whole history finds that a commit is missing."""
    for look in (_restore, _audit):
        session.errors.clear()
        shutil.rmtree(session.folder / "r", ignore_errors=True)
        look(session)
        told = [error for _, error in session.errors]
        if not any(isinstance(error, transit.CorruptError) for error in told):
            raise AssertionError(f"a missing commit was not found: {told}")


JOBS: Final = (
    Job("first", _write, _go_on, fresh=True),
    Job("reopened", _write, _go_on, before=_interrupted),
    Job("evicted", _evict, _go_on),
    Job("handover", _take_over, _take_over_on),
    Job("rebased", _rebase, _rebase_on, before=_another_writes, fences=True),
    Job("restored", _restore, _restore_on),
    Job("lazy", _lazy, _lazy_on),
    Job("bucket", _bucket, _bucket_on),
    Job("audited", _audit, _audit_on),
    Job("gap", _find_gap, _find_gap_on, before=_lose_a_commit, damaged=True),
)
