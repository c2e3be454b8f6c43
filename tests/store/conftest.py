"""Stores of every kind, and S3 behind a proxy that makes faults."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from rigs.faults.proxy import FaultProxy
from transit.store import ObjectStore, open_store

Remote = tuple[str, dict[str, object]]
OpenThrough = Callable[..., AbstractContextManager[ObjectStore]]


@contextlib.contextmanager
def opened(
    remote: Remote, proxy: FaultProxy, timeout_s: float, **options: object
) -> Iterator[ObjectStore]:
    """A store on a place of its own that is reached by way of the proxy."""
    url, given = remote
    through = {**given, **options, "endpoint_url": proxy.url}
    store = open_store(f"{url}/{uuid4().hex}", through, timeout_s)
    yield store
    store.close()


@pytest.fixture
def open_through(ceph_remote: Remote, proxy: FaultProxy) -> OpenThrough:
    """Opens a store on Ceph behind the proxy: deadline in seconds, and more options for s3fs."""
    return lambda timeout_s, **options: opened(ceph_remote, proxy, timeout_s, **options)


@pytest.fixture
def proxy(ceph_remote: Remote) -> Iterator[FaultProxy]:
    """A proxy in front of Ceph."""
    port = urlsplit(str(ceph_remote[1]["endpoint_url"])).port
    assert port
    with FaultProxy(port) as proxy:
        yield proxy


@pytest.fixture
def behind_proxy(ceph_remote: Remote, proxy: FaultProxy) -> Iterator[ObjectStore]:
    """A store on Ceph that is reached by way of the proxy, with a deadline of 6 seconds."""
    with opened(ceph_remote, proxy, 6.0) as store:
        yield store
