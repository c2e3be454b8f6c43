"""What is over is freed at once: stores, batches and errors do not wait to be collected.

Nothing is collected while these tests run. A collection comes after some hundred small objects,
whatever they hold: a client of ten megabytes, the blocks of a store, the payload of a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from rigs.resources import held
from rigs.server.serving import Serving
from tests.conftest import SOURCE, Remote
from transit import fleet
from transit.log.blocks import BlockCache
from transit.store import open_store, s3, sessions

pytestmark = pytest.mark.usefixtures("nothing_is_collected")

TIMES = 3
# A queue and its thread, which know each other; they hold nothing else once they are closed.
SMALL = {"transit.handle.promises.Callbacks", "transit.handle.background.Worker"}
DEADLINE_S = 60.0


def left_by(work: Callable[[], object]) -> dict[str, int]:
    """How many objects of transit's are there after doing `work` some times that were not before.

    What the first time leaves may be kept for the next.
    """
    work()
    gc.collect()
    before = held()
    for _ in range(TIMES):
        work()
    more = held() - before
    return {name: count for name, count in more.items() if name not in SMALL}


# Stores of a bucket


class Place:
    """A store and a fleet in a bucket, and a folder for what is made of them."""

    def __init__(self, folder: Path, remote: Remote) -> None:
        url, self.options = remote
        self.url, self.folder = f"{url}/{folder.name}", folder
        self.names = (f"{number}" for number in itertools.count())
        with transit.open(folder / "a", remote=self.url, storage_options=self.options) as log:
            log.create("s").append_many([b"%d" % number for number in range(50)])
            log.publish()
        at = f"{self.url}-fleet"
        with fleet.create(at, storage_options=self.options) as agents:
            for name in ("b", "c"):
                with agents.record(folder / name, durability="os") as log:
                    log.create("s").append(b"1")
                    log.publish()
        self.fleet = at

    def new(self) -> Path:
        return self.folder / f"new-{next(self.names)}"


@pytest.fixture
def place(tmp_path: Path, moto_remote: Remote) -> Place:
    return Place(tmp_path, moto_remote)


def read_all(place: Place) -> None:
    with transit.open(place.url, mode="read", storage_options=place.options) as log:
        assert len(list(log.stream("s"))) == 50


def open_nothing(place: Place) -> None:
    with pytest.raises(transit.NotFoundError):
        transit.open(f"{place.url}-none", mode="read", storage_options=place.options)


def ask_for_too_much(place: Place) -> None:
    """Errors of each kind: an answer, one that is an error of ours, one that the server refuses."""
    store = open_store(place.url, place.options)
    assert store.get("commits/none", 1) is None
    with pytest.raises(transit.CorruptError):
        store.get("FORMAT", 1)
    with pytest.raises(transit.NotFoundError):
        store.get_range("commits/none", 0, 1)
    store.close()


def restore(place: Place) -> None:
    transit.restore(place.url, place.new(), storage_options=place.options)


def audit(place: Place) -> None:
    assert transit.audit(place.url, "bodies", storage_options=place.options).ok


def copy(place: Place) -> None:
    target = f"{place.url}-{next(place.names)}"
    how = {"source_options": place.options, "target_options": place.options}
    transit.copy(place.url, target, **how)  # type: ignore[arg-type]


def ask_the_fleet(place: Place) -> None:
    with fleet.open(place.fleet, storage_options=place.options) as agents:
        assert len(agents.status()) == 2
        assert len(agents.find("s")) == 2
        agents.snapshot()
        agents.plan(n=3)


def audit_the_fleet(place: Place) -> None:
    with fleet.open(place.fleet, storage_options=place.options) as agents:
        assert agents.audit().ok


OVER: dict[str, Callable[[Place], None]] = {
    each.__name__: each
    for each in (
        read_all, open_nothing, ask_for_too_much, restore, audit, copy, ask_the_fleet,
        audit_the_fleet,
    )
}  # fmt: skip


@pytest.mark.parametrize("kind", OVER)
def test_what_a_bucket_was_asked_leaves_no_object_of_ours(place: Place, kind: str) -> None:
    assert left_by(lambda: OVER[kind](place)) == {}


def parsers() -> int:
    """How many objects there are that read descriptions of services, and keep what they read."""
    kinds = Counter(f"{type(each).__module__}.{type(each).__name__}" for each in gc.get_objects())
    return kinds["botocore.loaders.Loader"]


def test_all_stores_of_buckets_share_what_describes_the_requests(place: Place) -> None:
    read_all(place)
    before = parsers()
    assert before
    for _ in range(TIMES):
        read_all(place)
    ask_the_fleet(place)
    assert parsers() == before


def test_sessions_are_each_stores_own_and_a_users_stays(place: Place) -> None:
    first, second = (open_store(place.url, place.options) for _ in range(2))
    assert isinstance(first, s3.S3Store)
    assert isinstance(second, s3.S3Store)
    mine = first._filesystem.session
    assert mine is not second._filesystem.session
    shared = [each._filesystem.session.get_component("data_loader") for each in (first, second)]
    assert shared[0] is shared[1]
    third = open_store(place.url, {**place.options, "session": mine})
    assert isinstance(third, s3.S3Store)
    assert third._filesystem.session is mine
    for each in (first, second, third):
        each.close()


def test_descriptions_in_a_folder_of_the_users_are_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DATA_PATH", str(place.folder))
    store = open_store(place.url, place.options)
    assert isinstance(store, s3.S3Store)
    loader = store._filesystem.session.get_component("data_loader")
    assert str(place.folder) in loader.search_paths
    store.close()


def test_bytes_that_a_bucket_refused_are_not_kept(place: Place) -> None:
    store = open_store(place.url, place.options)
    data = bytes(100)
    before = sys.getrefcount(data)
    store.create("probes/a", data)
    for _ in range(TIMES):
        with pytest.raises(transit.AlreadyExistsError):
            store.create("probes/a", data)
    assert sys.getrefcount(data) == before
    store.close()


# Stores in folders


@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_a_closed_store_keeps_no_block(path: Path, mode: Any) -> None:
    with transit.open(path) as log:
        log.create("s").append_many([bytes(1000)] * 1000)
        log.seal()

    def read() -> None:
        with transit.open(path, mode=mode) as log:
            assert len(list(log.stream("s"))) == 1000
            assert held()[BLOCK]

    assert BLOCK not in left_by(read)


BLOCK = "transit.log.blocks.DecodedBlock"


# Calls, embedded and over a connection


@pytest.fixture(params=["embedded", "connected"])
def log(request: pytest.FixtureRequest, path: Path) -> Iterator[transit.Log]:
    with transit.open(path, durability="os") as opened:
        if request.param == "embedded":
            yield opened
            return
        serving = Serving(opened)
        with transit.connect(serving.url) as connected:
            yield connected
        serving.close()


def write_a_batch(log: transit.Log, data: bytes) -> None:
    with log.batch() as batch:
        made = batch.create(f"s{len(list(log.streams()))}")
        batch.append(made, data)
        batch.append_many(made, [data])
    assert len(batch.receipts) == 2


def refuse_a_batch(log: transit.Log, data: bytes) -> None:
    with pytest.raises(transit.ConflictError), log.batch() as batch:
        batch.append("s", data, expect=99)


def leave_a_batch(log: transit.Log, data: bytes) -> None:
    with contextlib.suppress(KeyError), log.batch() as batch:
        batch.append("s", data)
        raise KeyError


def refuse_a_record(log: transit.Log, data: bytes) -> None:
    stream = log.stream("s")
    with pytest.raises(transit.ConflictError):
        stream.append(data, expect=99)
    with pytest.raises(transit.ConflictError):
        stream.append_many([data], expect=99)


def refuse_what_is_submitted(log: transit.Log, data: bytes) -> None:
    stream = log.create(f"s{len(list(log.streams()))}")
    # Through another object: this one does not know of it.
    log.stream(stream.name).finish()
    with pytest.raises(transit.StreamFinishedError):
        stream.submit(data).result(DEADLINE_S)


CALLS: dict[str, Callable[[transit.Log, bytes], None]] = {
    each.__name__: each
    for each in (
        write_a_batch, refuse_a_batch, leave_a_batch, refuse_a_record, refuse_what_is_submitted
    )
}  # fmt: skip


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_that_is_over_keeps_no_payload(log: transit.Log, kind: str) -> None:
    log.create("s")
    data = bytes(100)
    before = sys.getrefcount(data)
    for _ in range(TIMES):
        CALLS[kind](log, data)
        # What was looked up last stays with the thread that writes.
        log.stream("s").append(b"other")
        log.stream("s").submit(b"other").result(DEADLINE_S)
    until(lambda: sys.getrefcount(data) == before)


def test_a_server_keeps_no_request_that_it_answered(path: Path) -> None:
    with transit.open(path, durability="os") as opened:
        serving = Serving(opened)
        opened.create("s")
        before = held()
        for _ in range(TIMES):
            with transit.connect(serving.url) as log:
                for kind in (write_a_batch, refuse_a_batch, refuse_a_record):
                    kind(log, b"1")
                list(log.stream("s").tail(start=0, timeout=0.1))
        until(lambda: not ANSWERED & {*(held() - before)})
        serving.close()


ANSWERED = {"transit.server.exchange.Exchange", "transit.server.asgi.Request"}


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# The same checks, with a bug put in


def keep_the_future(loop: Any, coroutine: Any, timeout_s: float) -> Any:
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    return future.result(timeout_s)


def keep_all(error: BaseException) -> None:
    assert error is not None


PLANTS: dict[str, tuple[object, str, Callable[..., Any], Callable[[Place], None]]] = {
    "a call keeps its future": (
        s3, "wait_for", keep_the_future,
        lambda place: test_what_a_bucket_was_asked_leaves_no_object_of_ours(
            place, "ask_for_too_much"
        ),
    ),
    "an error keeps what was sent": (
        s3, "let_go", keep_all, test_bytes_that_a_bucket_refused_are_not_kept
    ),
    "each store has descriptions of its own": (
        sessions, "_share", lambda filesystem: None,
        test_all_stores_of_buckets_share_what_describes_the_requests,
    ),
    "a closed store keeps its blocks": (
        BlockCache, "clear", lambda self: None,
        lambda place: test_a_closed_store_keeps_no_block(place.new(), "exclusive"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_what_waits_to_be_collected_is_found(
    place: Place, plant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, name, bug, check = PLANTS[plant]
    with monkeypatch.context() as patch:
        patch.setattr(where, name, bug)
        with pytest.raises(AssertionError):
            check(place)


# The tests' own


def test_rigs_that_use_places_of_the_tests_are_collected() -> None:
    program = "import gc, rigs.conftest; assert gc.isenabled()"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(SOURCE))
