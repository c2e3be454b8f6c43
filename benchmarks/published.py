"""A store that is in a bucket and nowhere else, for workloads that read the bucket repeatedly."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

import transit
from benchmarks.places import RANDOM_BYTES, What, sealed_store
from benchmarks.remote import Bucket, Counter, Rig
from transit.store import ObjectStore

SAY: dict[What, str] = {"random": "bytes that do not shrink", "traces": "JSON events of an agent"}
RECORDS: dict[What, int] = {"random": 2_048, "traces": 400_000}
PAYLOAD_BYTES: dict[What, int] = {"random": RANDOM_BYTES, "traces": 640}


class Published(NamedTuple):
    """A place of a bucket, the names of the objects in it, and the store as transit opens it."""

    bucket: Bucket
    place: str
    names: list[str]
    store: ObjectStore

    def counter(self) -> Counter:
        """Counts requests from now on."""
        return Counter(self.store.traffic)

    def remark(self, counted: Counter, size: int, rig: Rig) -> str:
        """What was asked for to read all of the `size` bytes, and its price."""
        return (
            f"{counted} for {size / 1e6:.1f} MB in {len(self.names)} objects: "
            f"${counted.dollars(rig.prices):.6f}"
        )


@contextmanager
def published(rig: Rig, folder: str, records: int, what: What) -> Iterator[Published]:
    """Segments of so many records, published from `folder`, which is empty afterwards."""
    with Bucket(rig.server) as bucket:
        place = bucket.new_place()
        with closing(bucket.open(place)) as store:
            path = sealed_store(folder, records, what)
            with transit.open(path, remote=store) as log:
                log.publish()
            shutil.rmtree(path)
            yield Published(bucket, place, bucket.names(place), store)
