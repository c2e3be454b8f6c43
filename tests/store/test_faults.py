"""What a store makes of lost, slow and damaged requests and answers: behind a proxy, on Ceph."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from rigs.faults.proxy import Fault, FaultProxy
from transit.errors import AlreadyExistsError, RemoteUnavailableError, UnsuitableRemoteError
from transit.store import ObjectStore
from transit.store.s3 import range_size

OpenThrough = Callable[..., AbstractContextManager[ObjectStore]]

# Longer than a test may run: waiting for that is a hang, which pytest ends.
FOREVER_S = 3600.0
KEY = "commits/0.json"
DATA = os.urandom(100_000)
PASSING: tuple[Fault, ...] = (
    "lost_before",
    "lost_after",
    "half_request",
    "delay",
    "truncate",
    "status_409",
    "status_500",
    "status_503",
)


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_tried_again(
    behind_proxy: ObjectStore, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.fail(1, fault)
    behind_proxy.put(KEY, DATA)
    proxy.fail(1, fault)
    assert behind_proxy.get(KEY, len(DATA)) == DATA
    proxy.fail(1, fault)
    assert behind_proxy.get_range(KEY, 50_000, 1_000) == DATA[50_000:51_000]
    proxy.fail(1, fault)
    assert behind_proxy.size(KEY) == len(DATA)
    proxy.fail(1, fault)
    assert list(behind_proxy.list("commits/")) == [(KEY, len(DATA))]
    proxy.fail(1, fault)
    behind_proxy.delete(KEY)
    assert behind_proxy.get(KEY, len(DATA)) is None
    assert [seen.outcome for seen in proxy.requests].count(fault) == 6


@pytest.mark.slow
def test_a_server_that_hangs_is_asked_again_within_the_deadline(
    behind_proxy: ObjectStore, proxy: FaultProxy
) -> None:
    proxy.fail(1, "hang")
    behind_proxy.put(KEY, DATA)
    assert [seen.outcome for seen in proxy.requests] == ["hang", 200]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["status_503", "lost_before", "hang"])
def test_what_does_not_pass_is_an_error_at_the_deadline(
    open_through: OpenThrough, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.follow(lambda *_: fault)
    with open_through(1.0) as store:
        for call in (
            lambda: store.get(KEY, 10),
            lambda: store.put(KEY, b"1"),
            lambda: list(store.list("")),
            lambda: store.create(KEY, b"1"),
        ):
            with pytest.raises(RemoteUnavailableError):
                call()


@pytest.mark.slow
def test_the_deadline_holds_where_the_client_would_wait_longer(
    open_through: OpenThrough, proxy: FaultProxy
) -> None:
    proxy.follow(lambda *_: "hang")
    with open_through(1.0, config_kwargs={"read_timeout": FOREVER_S}) as store:
        for call in (lambda: store.get(KEY, 10), lambda: store.create(KEY, b"1")):
            with pytest.raises(RemoteUnavailableError):
                call()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["status_409", "status_500", "status_503", "hang"])
def test_create_does_not_try_again(
    behind_proxy: ObjectStore, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.fail(1, fault)
    with pytest.raises(RemoteUnavailableError):
        behind_proxy.create(KEY, DATA)
    assert behind_proxy.traffic.create == 1
    assert [seen.outcome for seen in proxy.requests] == [fault]
    behind_proxy.create(KEY, DATA)


def test_a_create_whose_answer_is_lost_may_have_won(
    behind_proxy: ObjectStore, proxy: FaultProxy
) -> None:
    # On a connection that was used before, the HTTP client below sends again and meets the object
    # of its own first try; on a new one it does not. No answer says that the create was done.
    for key in ("commits/0.json", "commits/1.json"):
        proxy.fail(1, "lost_after")
        with pytest.raises((RemoteUnavailableError, AlreadyExistsError)):
            behind_proxy.create(key, DATA)
        assert behind_proxy.get(key, len(DATA)) == DATA


def test_a_create_of_which_half_arrives_writes_nothing(
    behind_proxy: ObjectStore, proxy: FaultProxy
) -> None:
    # Both the request and the one that the HTTP client sends by itself.
    proxy.follow(lambda index, method, path: "half_request" if method == "PUT" else None)
    with pytest.raises(RemoteUnavailableError):
        behind_proxy.create(KEY, DATA)
    proxy.clear()
    assert behind_proxy.get(KEY, len(DATA)) is None


@pytest.mark.slow
def test_a_body_that_breaks_off_is_never_taken_for_data(
    behind_proxy: ObjectStore, proxy: FaultProxy
) -> None:
    behind_proxy.put(KEY, DATA)
    proxy.follow(lambda index, method, path: "truncate" if method == "GET" else None)
    with pytest.raises(RemoteUnavailableError):
        behind_proxy.get(KEY, len(DATA))
    with pytest.raises(RemoteUnavailableError):
        behind_proxy.get_range(KEY, 10, 50_000)
    assert behind_proxy.traffic.bytes_in == 0


def test_a_flipped_bit_of_an_answer_comes_through(
    behind_proxy: ObjectStore, proxy: FaultProxy
) -> None:
    # S3 has nothing against it: that is why everything above checks its own digests.
    behind_proxy.put(KEY, DATA)
    damaged = set()
    for _ in range(8):
        proxy.fail(1, "flip")
        found = behind_proxy.get(KEY, len(DATA))
        assert found is not None
        assert sum(a != b for a, b in zip(found, DATA, strict=True)) == 1
        damaged.add(found)
    # Damage that is the same twice by chance is not to be had from it.
    assert len(damaged) == 8


def test_a_damaged_answer_to_a_list_is_no_crash(
    behind_proxy: ObjectStore, proxy: FaultProxy
) -> None:
    for number in range(30):
        behind_proxy.put(f"segments/{number}.seg", b"1")
    proxy.fail(1, "flip")
    # A flipped bit gives another key, another size, or no XML, which is asked for again.
    assert len(list(behind_proxy.list("segments/"))) >= 29


def test_an_interrupt_ends_a_call_that_hangs(open_through: OpenThrough, proxy: FaultProxy) -> None:
    def interrupt() -> None:
        while not proxy.count:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    proxy.fail(1, "delay")
    proxy.delay_s = FOREVER_S
    with open_through(FOREVER_S) as store:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            store.put(KEY, DATA)
        thread.join()


def test_a_damaged_upload_is_refused_and_sent_again(
    open_through: OpenThrough, proxy: FaultProxy
) -> None:
    # Without the signature over the body, which https clients leave out, only Content-MD5 is left.
    unsigned = {"config_kwargs": {"s3": {"payload_signing_enabled": False}}}
    with open_through(6.0, **unsigned) as store:
        proxy.fail(1, "flip_request")
        store.put(KEY, DATA)
        assert store.get(KEY, len(DATA)) == DATA
        assert store.traffic.put == 2
        proxy.fail(1, "flip_request")
        with pytest.raises(RemoteUnavailableError):
            store.create("commits/1.json", DATA)
        assert store.get("commits/1.json", len(DATA)) is None


def test_requests_are_counted_with_their_repetitions(
    behind_proxy: ObjectStore, proxy: FaultProxy
) -> None:
    proxy.fail(1, "status_500")
    proxy.fail(2, "status_503")
    behind_proxy.put(KEY, b"123")
    assert behind_proxy.traffic.put == 3
    assert behind_proxy.traffic.bytes_out == 9
    assert [seen.outcome for seen in proxy.requests] == ["status_500", "status_503", 200]


def test_each_call_is_one_request(behind_proxy: ObjectStore, proxy: FaultProxy) -> None:
    for call in (
        lambda: behind_proxy.put(KEY, DATA),
        lambda: behind_proxy.create("HEAD", DATA),
        lambda: behind_proxy.get(KEY, len(DATA)),
        lambda: behind_proxy.get("absent", 10),
        lambda: behind_proxy.get_range(KEY, 5, 10),
        lambda: behind_proxy.get_range(KEY, len(DATA), 10),
        lambda: behind_proxy.size(KEY),
        lambda: behind_proxy.size("absent"),
        lambda: list(behind_proxy.list("")),
        lambda: behind_proxy.delete(KEY),
    ):
        proxy.clear()
        call()
        assert proxy.count == 1


@pytest.mark.slow
def test_an_object_of_100_mib_is_one_put(open_through: OpenThrough, proxy: FaultProxy) -> None:
    # s3fs by itself splits from here on, and then the condition holds for the last part only.
    with open_through(60.0) as store:
        store.create(KEY, bytes(100 * 1024 * 1024))
        assert [seen.method for seen in proxy.requests] == ["PUT"]
        with pytest.raises(AlreadyExistsError):
            store.create(KEY, b"1")


def part(status: int, size: int, content_range: str = "") -> dict[str, object]:
    """An answer to a ranged GET as botocore gives it."""
    about = {"HTTPStatusCode": status}
    return {"ResponseMetadata": about, "ContentLength": size, "ContentRange": content_range}


def test_an_answer_with_another_range_than_the_one_asked_for_is_refused() -> None:
    assert range_size(part(206, 10, "bytes 5-14/100"), 5, 10, "place") == 10
    assert range_size(part(206, 5, "bytes 95-99/100"), 95, 10, "place") == 5
    assert range_size(part(200, 5), 0, 10, "place") == 5
    for answer in (
        part(206, 9, "bytes 5-13/100"),
        part(206, 10, "bytes 6-15/100"),
        part(206, 10, "bytes 5-14/*"),
        part(206, 10),
    ):
        with pytest.raises(RemoteUnavailableError):
            range_size(answer, 5, 10, "place")
    for answer, position in ((part(200, 100), 0), (part(200, 10), 5)):
        with pytest.raises(UnsuitableRemoteError):
            range_size(answer, position, 10, "place")
