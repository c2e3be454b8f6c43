"""Publishers of a store's folder as it is on disk, and remotes of their own for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

import transit
from transit.format.commit import decode_commit, encode_commit
from transit.log.catalog import Catalog
from transit.log.guides import NotHere
from transit.store import ObjectStore, open_store
from transit.tier.publish import Publisher
from transit.tier.remote import Remote

COMMITS = 18
SETTINGS = transit.Settings(remote_timeout_s=0.05, transfers_max=2)


class Scene:
    """A store's folder with `count` commits, and remotes of their own for publishers of it."""

    def __init__(self, path: Path, count: int = COMMITS) -> None:
        self.root = str(path / "store")
        self._path = path
        self._remotes = 0
        with transit.open(self.root, durability="os") as log:
            self.store_id = bytes.fromhex(log.status().store_id)
            self._grow(log, count)

    @staticmethod
    def _grow(log: transit.Log, count: int) -> None:
        stream = log.stream("s") if "s" in log else log.create("s")
        for number in range(count):
            stream.append(b"%d" % number * 50)
            log.seal()

    def grow(self, count: int) -> None:
        """More commits in the folder."""
        with transit.open(self.root, durability="os") as log:
            self._grow(log, count)

    def catalog(self) -> Catalog:
        """The folder's commits, read."""
        catalog = Catalog(self.root, self.store_id, SETTINGS, NotHere(self.root, self.store_id))
        catalog.follow(write=False)
        return catalog

    def remote(self) -> ObjectStore:
        """A remote with nothing in it."""
        self._remotes += 1
        return open_store(self._path / f"remote-{self._remotes}")

    def commit(self, number: int) -> bytes:
        """The bytes of a commit."""
        data = self.catalog().commits.read(number)
        assert data is not None
        return data

    def publisher(self, store: ObjectStore, settings: transit.Settings = SETTINGS) -> Publisher:
        """A publisher that has just been attached, and knows nothing of the remote."""
        return Publisher(Remote(store, settings), self.catalog())


def others(data: bytes, **changes: Any) -> bytes:
    """A commit with the same number of another writer."""
    return encode_commit(
        msgspec.structs.replace(decode_commit(data, "here"), write_id="ee" * 16, **changes)
    )
