"""Faults on the wire that last: real requests, real deadlines, two real servers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

import transit
from rigs.faults.proxy import Fault, FaultProxy
from transit.store import ObjectStore, open_store

TIMEOUT_S = 2.0
SETTINGS = transit.Settings(remote_timeout_s=TIMEOUT_S)
# Against hanging only: a busy machine takes longer than the deadlines in sum.
GIVE_UP_S = 300.0
TOLD = (transit.RemoteUnavailableError, transit.OutcomeUnknownError)

# Method and part of the path: one of each thing that is asked of a bucket while it is written.
CALLS = {
    "put segment": ("PUT", "/segments/"),
    "create commit": ("PUT", "/commits/"),
}
LASTING: tuple[Fault, ...] = ("hang", "status_503", "lost_before", "lost_after", "flip_request")
# "delay" is longer than the deadline here: the client has given up when the request arrives.
CASES = [
    ("moto", "create commit", "delay"), ("ceph", "create commit", "delay"),
    ("ceph", "put segment", "delay"),
    *(("ceph", call, fault) for call in CALLS for fault in LASTING),
    ("moto", "create commit", "hang"), ("moto", "create commit", "lost_after"),
]  # fmt: skip


class Wire(NamedTuple):
    """A server behind a proxy: the way through it, the way past it, and the bucket."""

    proxy: FaultProxy
    through: Callable[[str], ObjectStore]
    direct: Callable[[str], ObjectStore]


@pytest.fixture(scope="module")
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    url, options = request.getfixturevalue(f"{request.param}_remote")
    port = int(str(options["endpoint_url"]).rpartition(":")[2])
    with FaultProxy(port, delay_s=2 * TIMEOUT_S) as proxy:
        far = {**options, "endpoint_url": proxy.url}
        yield Wire(
            proxy,
            lambda prefix: open_store(f"{url}/{prefix}", far, TIMEOUT_S),
            lambda prefix: open_store(f"{url}/{prefix}", options, 60.0),
        )


def in_time(call: Callable[[], object]) -> BaseException | None:
    """How a call ended that must end; `AssertionError` when it does not."""
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(GIVE_UP_S)
    assert ended, "a call did not end"
    return ended[0]


@pytest.mark.parametrize(("wire", "call", "fault"), CASES, indirect=["wire"])
def test_fault_that_lasts_ends_each_call_and_the_same_handle_goes_on(
    wire: Wire, tmp_path: Path, call: str, fault: Fault
) -> None:
    prefix = uuid4().hex
    method, part = CALLS[call]
    store, direct = wire.through(prefix), wire.direct(prefix)
    wire.proxy.clear()
    written = [b"0", b"1", b"2"]
    # Opened past the proxy: a busy machine must not end the test before it begins.
    with transit.open(tmp_path / "a", remote=direct, settings=SETTINGS) as log:
        log.create("s").append(written[0], durability="tiered")
    switch = Switch(direct)
    with transit.open(tmp_path / "a", remote=switch, settings=SETTINGS) as log:
        switch.now = store
        wire.proxy.follow(lambda _, way, path: fault if way == method and part in path else None)
        stream = log.stream("s")
        error = in_time(lambda: stream.append(written[1], durability="tiered"))
        assert error is None or isinstance(error, TOLD), error
        wire.proxy.clear()
        switch.now = direct
        assert in_time(lambda: stream.append(written[2], durability="tiered")) is None
    restored = transit.restore(direct, tmp_path / "r")
    with transit.open(tmp_path / "r", mode="read") as log:
        assert [record.payload for record in log.stream("s").read()] == written
    assert transit.audit(direct, trusted_root=restored.root).ok
    store.close()
    direct.close()


class Switch:
    """An `ObjectStore` that is one or another of two."""

    def __init__(self, now: ObjectStore) -> None:
        self.now = now

    def __getattr__(self, name: str) -> object:
        return getattr(self.now, name)
