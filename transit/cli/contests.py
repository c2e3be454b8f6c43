"""What `transit bench` measures: each task as `transit` does it, and the least that does the same.

Owns the contestants. All of them work below one folder, and below one prefix of a remote where one
is given; making and removing both is the verb's matter, and timing them `measuring`'s.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import count
from typing import Final

import transit
from transit import NotFoundError, ObjectStore, Settings, Stream
from transit.cli.measuring import Contest, Contestant

TASKS: Final = (
    "append", "append_many", "append_threads", "read", "fork_append", "publish", "restore",
)  # fmt: skip
BATCH_RECORDS: Final = 1000
THREADS: Final = 8
THREAD_RECORDS: Final = 16
RECORD_BYTES_MAX: Final = 65_536
# What is read back, published and restored.
_HISTORY_BYTES: Final = 4 << 20
_HISTORY_RECORDS_MAX: Final = 20_000
_TURN_BYTES_MAX: Final = 8 << 20
# So many cheap calls are timed together, when their records are small.
_GROUP_CALLS: Final = 100
_GROUP_BYTES_MAX: Final = 1 << 20
_TRANSFERS_MAX: Final = 2
_READ_BYTES: Final = 1 << 20
_OBJECT: Final = "object"
# A segment made in the background would take from the contestant that has its turn just then.
_SEAL_BYTES: Final = 1 << 30
_BUFFERED, _WRITE, _SYNCED = "buffered write", "write", "write+fdatasync"

# macOS has no fdatasync.
_sync_data: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)

Call = Callable[[], object]
OpenRemote = Callable[[str], ObjectStore]


@contextmanager
def contests(
    folder: str, record_bytes: int, open_remote: OpenRemote | None, remote_timeout_s: float
) -> Iterator[Sequence[Contest]]:
    """All contests, task by task; in `folder`, which is empty, and what `open_remote(name)` opens.

    remote_timeout_s: as of `Settings`, whose other fields are the defaults, sealing by size aside.
    """
    with ExitStack() as stack:
        settings = Settings(seal_bytes=_SEAL_BYTES, remote_timeout_s=remote_timeout_s)
        bench = _Bench(folder, record_bytes, settings, stack)
        found = [*bench.appends(), *bench.threads(), *bench.history(open_remote)]
        if open_remote is not None:
            found += bench.remote(open_remote)
        yield sorted(found, key=lambda contest: TASKS.index(contest.task))


class _Bench:
    """Files and stores of the contests; `stack` closes them."""

    def __init__(
        self, folder: str, record_bytes: int, settings: Settings, stack: ExitStack
    ) -> None:
        self._folder, self._settings, self._stack = folder, settings, stack
        self._size = record_bytes
        records = max(1, min(_HISTORY_RECORDS_MAX, _HISTORY_BYTES // record_bytes))
        self._bytes = os.urandom(records * record_bytes)
        self._payloads = self._cut(self._bytes)
        self._payload = self._payloads[0]
        self._batch_records = min(BATCH_RECORDS, _TURN_BYTES_MAX // record_bytes)
        self._batch = self._cut(os.urandom(self._batch_records * record_bytes))
        self._raw = os.open(self._path("raw"), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        stack.callback(os.close, self._raw)
        file = io.FileIO(self._raw, "ab", closefd=False)
        self._buffered = stack.enter_context(io.BufferedWriter(file))

    def appends(self) -> Iterator[Contest]:
        """One record, and a batch, in each mode that needs no remote."""
        log = self._stack.enter_context(transit.open(self._path("store"), settings=self._settings))
        stream = log.create("appended")
        join = b"".join
        ones: dict[str, Call] = {
            _BUFFERED: partial(self._buffered.write, self._payload),
            _WRITE: partial(os.write, self._raw, self._payload),
            _SYNCED: partial(self._write_synced, self._payload),
        }
        many: dict[str, Call] = {
            _BUFFERED: lambda: self._buffered.write(join(self._batch)),
            _WRITE: lambda: os.write(self._raw, join(self._batch)),
            _SYNCED: lambda: self._write_synced(join(self._batch)),
        }
        modes = {"memory": _BUFFERED, "os": _WRITE, "local": _SYNCED}
        cheap = max(1, min(_GROUP_CALLS, _GROUP_BYTES_MAX // self._size))
        for mode, raw in modes.items():
            group = 1 if mode == "local" else cheap
            ours = partial(stream.append, self._payload, durability=mode)
            yield self._appending(
                Contestant(mode, ours, group, after=log.sync),
                Contestant(raw, ones[raw], group, after=self._empty_raw),
            )
        for mode, raw in modes.items():
            ours = partial(stream.append_many, self._batch, durability=mode)
            yield self._appending(
                Contestant(mode, ours, after=log.sync),
                Contestant(raw, many[raw], after=self._empty_raw),
                self._batch_records,
            )

    def threads(self) -> Iterator[Contest]:
        """Appends from several threads, whose syncs the log makes one."""
        log = self._stack.enter_context(transit.open(self._path("crowd"), settings=self._settings))
        stream = log.create("appended")
        pool = self._stack.enter_context(ThreadPoolExecutor(THREADS))
        ours = partial(stream.append, self._payload, durability="local")
        raw = partial(self._write_synced, self._payload)
        yield Contest(
            "append_threads",
            Contestant("local", partial(_from_threads, pool, ours)),
            Contestant(_SYNCED, partial(_from_threads, pool, raw), after=self._empty_raw),
            THREADS * THREAD_RECORDS,
            THREADS * THREAD_RECORDS * self._size,
            self._calls_max(THREADS * THREAD_RECORDS),
            single=False,
        )

    def history(self, open_remote: OpenRemote | None) -> Iterator[Contest]:
        """Reading a sealed history, forking it, and restoring it where there is a remote."""
        remote = None if open_remote is None else self._opened(open_remote, "history")
        log = self._stack.enter_context(
            transit.open(self._path("history"), remote=remote, settings=self._settings)
        )
        stream = log.create("history")
        self._append_all(stream)
        log.seal()
        path = self._path("history.raw")
        with open(path, "wb") as file:
            file.write(self._bytes)
        raw = Contestant("file read", partial(_read_file, path))
        for name, call in (("records", _read_records), ("columns", _read_columns)):
            ours = Contestant(name, partial(call, stream))
            yield Contest("read", ours, raw, len(self._payloads), len(self._bytes), 1000)
        yield Contest(
            "fork_append",
            Contestant("local", partial(_fork, stream, self._payload, count())),
            Contestant(
                _SYNCED, partial(self._write_synced, self._payload), after=self._empty_raw
            ),
            1, self._size, 1000,
        )  # fmt: skip
        if remote is not None and open_remote is not None:
            log.publish()
            yield self._restoring(remote, self._opened(open_remote, "raw-history"))

    def remote(self, open_remote: OpenRemote) -> Iterator[Contest]:
        """Durability `tiered`, one record and a batch, and publishing a history."""
        store, raw = self._opened(open_remote, "tiered"), self._opened(open_remote, "raw")
        log = self._stack.enter_context(
            transit.open(self._path("tiered"), remote=store, settings=self._settings)
        )
        stream = log.create("appended")
        ours = partial(stream.append, self._payload, durability="tiered")
        put = partial(raw.put, _OBJECT, self._payload)
        yield self._appending(Contestant("tiered", ours), Contestant("put", put))
        ours_many = partial(stream.append_many, self._batch, durability="tiered")
        yield self._appending(
            Contestant("tiered", ours_many),
            Contestant("put", lambda: raw.put(_OBJECT, b"".join(self._batch))),
            self._batch_records,
        )
        yield self._transfer(
            "publish",
            Contestant("all", log.publish, before=partial(self._append_all, stream)),
            Contestant("put", partial(raw.put, _OBJECT, self._bytes)),
        )

    def _restoring(self, remote: ObjectStore, raw: ObjectStore) -> Contest:
        raw.put(_OBJECT, self._bytes)
        path, size = self._path("restored"), len(self._bytes)

        def get_to_disk() -> None:
            data = raw.get(_OBJECT, size)
            if data is None:
                raise NotFoundError(f"{raw.url}: the object that was put there is gone")
            self._write_synced(data)

        return self._transfer(
            "restore",
            Contestant(
                "all",
                partial(transit.restore, remote, path, settings=self._settings),
                before=partial(shutil.rmtree, path, ignore_errors=True),
            ),
            Contestant("get+write+fdatasync", get_to_disk, after=self._empty_raw),
        )

    def _appending(self, ours: Contestant, raw: Contestant, records: int = 1) -> Contest:
        task = "append" if records == 1 else "append_many"
        return Contest(task, ours, raw, records, records * self._size, self._calls_max(records))

    def _transfer(self, task: str, ours: Contestant, raw: Contestant) -> Contest:
        return Contest(task, ours, raw, len(self._payloads), len(self._bytes), _TRANSFERS_MAX)

    def _calls_max(self, records: int) -> int:
        return max(1, _TURN_BYTES_MAX // (records * self._size))

    def _append_all(self, stream: Stream) -> None:
        stream.append_many(self._payloads, durability="os")

    def _write_synced(self, data: bytes) -> None:
        os.write(self._raw, data)
        _sync_data(self._raw)

    def _empty_raw(self) -> None:
        """Nothing of this turn is left for the disk to write in the next one."""
        self._buffered.flush()
        os.ftruncate(self._raw, 0)
        os.fsync(self._raw)

    def _opened(self, open_remote: OpenRemote, name: str) -> ObjectStore:
        return self._stack.enter_context(closing(open_remote(name)))

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def _cut(self, data: bytes) -> list[bytes]:
        return [data[at : at + self._size] for at in range(0, len(data), self._size)]


def _from_threads(pool: ThreadPoolExecutor, call: Call) -> None:
    def some(_: int) -> None:
        for _ in range(THREAD_RECORDS):
            call()

    for _ in pool.map(some, range(THREADS)):
        pass


def _read_records(stream: Stream) -> None:
    for _ in stream.read():
        pass


def _read_columns(stream: Stream) -> None:
    for batch in stream.batches():
        _ = batch.payloads


def _read_file(path: str) -> None:
    with open(path, "rb", buffering=0) as file:
        while file.read(_READ_BYTES):
            pass


def _fork(stream: Stream, payload: bytes, numbers: Iterator[int]) -> None:
    stream.branch(f"fork-{next(numbers)}").append(payload)
