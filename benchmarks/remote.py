"""The far side: an S3 server, a bucket of one's own in it, and s3fs used plainly, as a baseline.

The server is the one of `TRANSIT_S3_ENDPOINT`, `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or
what `scripts/s3_up.sh` starts. A bucket is new in every workload, and removed with all it holds.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec

import transit
from benchmarks.prices import Prices
from transit.handle.attaching import Attached
from transit.handle.handle import Handle
from transit.store import ObjectStore, Traffic, open_store
from transit.store.s3 import s3_options

AT_ONCE: Final = 8
TIMEOUT_S: Final = 60.0
_REQUESTS: Final = ("get", "put", "create", "size", "delete", "list")
_BYTES: Final = ("bytes_in", "bytes_out")
_PORTS: Final = {"http": 80, "https": 443}


class Server(msgspec.Struct, frozen=True):
    """Where an S3 server is, and the keys for it."""

    endpoint: str
    key: str
    secret: str

    def __repr__(self) -> str:
        return f"Server({self.endpoint!r})"

    def options(self) -> dict[str, object]:
        """Options for fsspec's file system."""
        return {"endpoint_url": self.endpoint, "key": self.key, "secret": self.secret}


class Rig(msgspec.Struct, frozen=True):
    """What the workloads of the remote are run with; `full`: at the size of the aims."""

    server: Server
    prices: Prices
    full: bool = False


def server_of(environment: Mapping[str, str]) -> Server:
    """The server that the environment names."""
    return Server(
        environment.get("TRANSIT_S3_ENDPOINT", "http://127.0.0.1:7480"),
        environment.get("AWS_ACCESS_KEY_ID", "rigaccess"),
        environment.get("AWS_SECRET_ACCESS_KEY", "rigsecretkey"),
    )


def unreachable(server: Server) -> str:
    """Why nothing can be measured there; empty when something answers."""
    if find_spec("s3fs") is None:
        return "s3fs is not installed: pip install 'transit[s3]'"
    parts = urlsplit(server.endpoint)
    try:
        address = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
        with socket.create_connection(address, timeout=3):
            return ""
    except (OSError, ValueError, KeyError) as error:
        return (
            f"no S3 server at {server.endpoint} ({type(error).__name__}): "
            "start one with `just s3-up`, or set TRANSIT_S3_ENDPOINT"
        )


class Counter:
    """What a store was asked since this was made."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._before = self._now()

    def _now(self) -> dict[str, int]:
        return {name: getattr(self._traffic, name) for name in (*_REQUESTS, *_BYTES)}

    def __getitem__(self, name: str) -> int:
        return int(getattr(self._traffic, name)) - self._before[name]

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(self[name] for name in _REQUESTS)

    @property
    def bytes(self) -> int:
        """Bytes of objects, in and out."""
        return sum(self[name] for name in _BYTES)

    def dollars(self, prices: Prices) -> float:
        """What these requests cost; deletions are free."""
        puts = self["put"] + self["create"] + self["list"]
        return (puts * prices.put + (self["get"] + self["size"]) * prices.get) / 1_000

    def __str__(self) -> str:
        kinds = ", ".join(f"{self[name]} {name}" for name in _REQUESTS if self[name])
        return f"{self.requests} requests ({kinds})"


def read_only(store: ObjectStore) -> transit.Log:
    """What `transit.open(URL, mode="read")` gives, of a store whose requests can be counted."""
    attached = Attached(store, store.close)
    return transit.Log(Handle(store.url, "read", "local", transit.Settings(), [attached]))


class Bucket:
    """A new bucket, and s3fs for it, with the options that transit gives it too."""

    def __init__(self, server: Server) -> None:
        # Only the remote's workloads need it, and it takes longer to import than all of transit.
        import fsspec

        self.options = server.options()
        # A baseline gives up later: its event loop may be busy while a connection is made.
        patient = {**self.options, "config_kwargs": {"connect_timeout": TIMEOUT_S}}
        self._s3: Any = fsspec.filesystem("s3", **s3_options(patient, TIMEOUT_S))
        self.name = f"transit-bench-{uuid4().hex}"
        self._places = 0
        self._s3.call_s3("create_bucket", Bucket=self.name)

    def __enter__(self) -> Bucket:
        return self

    def __exit__(self, *_: object) -> None:
        self.empty(f"s3://{self.name}")
        self._s3.call_s3("delete_bucket", Bucket=self.name)
        self._s3.close_session(self._s3.loop, self._s3._s3creator)

    def new_place(self) -> str:
        """The address of a place nothing was put to."""
        self._places += 1
        return f"s3://{self.name}/place-{self._places}"

    def open(self, place: str) -> ObjectStore:
        """Transit's store there; the caller closes it."""
        return open_store(place, self.options, TIMEOUT_S)

    def names(self, place: str) -> list[str]:
        """The objects there, without the place."""
        start = len(place.removeprefix("s3://")) + 1
        return [path[start:] for path in self._s3.find(place)]

    def upload(self, files: Mapping[str, str], place: str) -> float:
        """Put files, by object name, with s3fs, 8 at once; the seconds it took."""

        # Only the remote's workloads need it.
        import asyncio

        async def put(name: str) -> None:
            data = await asyncio.to_thread(Path(files[name]).read_bytes)
            await self._s3._pipe_file(f"{place}/{name}", data)

        return self._timed([partial(put, name) for name in files])

    def download(self, names: Sequence[str], place: str, folder: str) -> float:
        """Get objects into files with s3fs, 8 at once; the seconds it took."""
        for name in names:
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)

        def get(name: str) -> Awaitable[None]:
            done: Awaitable[None] = self._s3._get_file(
                f"{place}/{name}", os.path.join(folder, name)
            )
            return done

        return self._timed([partial(get, name) for name in names])

    def read(self, names: Sequence[str], place: str, use: Callable[[bytes], object]) -> float:
        """Hand every object's bytes to `use`, got with s3fs, 8 at once; the seconds it took."""

        async def get(name: str) -> None:
            use(await self._s3._cat_file(f"{place}/{name}", max_concurrency=1))

        return self._timed([partial(get, name) for name in names])

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes of one object, with s3fs."""
        data: bytes = self._s3.cat_file(path, start=start, end=stop)
        return data

    def put(self, path: str, data: bytes) -> None:
        """One object, with s3fs."""
        self._s3.pipe_file(path, data)

    def empty(self, place: str) -> None:
        """Remove everything there."""
        paths = self._s3.find(place)
        self._timed([partial(self._s3._rm_file, path) for path in paths])

    def _timed(self, calls: Sequence[Callable[[], Awaitable[None]]]) -> float:
        # Only the remote's workloads need it.
        from fsspec.asyn import sync

        start = perf_counter()
        sync(self._s3.loop, _gather, calls)
        return perf_counter() - start


async def _gather(calls: Iterable[Callable[[], Awaitable[None]]]) -> None:
    # Only the remote's workloads need it.
    import asyncio

    room = asyncio.Semaphore(AT_ONCE)

    async def run(call: Callable[[], Awaitable[None]]) -> None:
        async with room:
            await call()

    await asyncio.gather(*map(run, calls))


def files_below(folder: str, parts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The name and path of each file in these parts of a folder."""
    for part in parts:
        inside = os.path.join(folder, part)
        if os.path.isdir(inside):
            yield from (
                (f"{part}/{n}", os.path.join(inside, n)) for n in sorted(os.listdir(inside))
            )
