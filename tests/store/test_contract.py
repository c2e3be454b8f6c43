"""Every kind of store keeps the contract; the one that does not is found out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from transit.errors import AlreadyExistsError
from transit.store import ObjectStore, open_store
from transit.testing.store_contract import StoreContract

Remote = tuple[str, dict[str, object]]


class TestFolder(StoreContract):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_store(self) -> ObjectStore:
        return open_store(self.folder / uuid4().hex / "new")


class TestMemory(StoreContract):
    @pytest.fixture(autouse=True)
    def hurry(self) -> Iterator[None]:
        """Threads take turns as often as they can, so that what is not exclusive shows."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        yield
        sys.setswitchinterval(interval)

    def make_store(self) -> ObjectStore:
        return open_store(f"memory://{uuid4().hex}/prefix")


class TestMoto(StoreContract):
    create_excludes = False
    # None of its races can fail the test but by what is there in the end.
    race_rounds = 5

    @pytest.fixture(autouse=True)
    def place(self, moto_remote: Remote) -> None:
        self.remote = moto_remote

    def make_store(self) -> ObjectStore:
        url, options = self.remote
        return open_store(f"{url}/{uuid4().hex}", options)


class TestCeph(StoreContract):
    # As many as the contract asks for are in the slow test below.
    race_rounds = 10

    @pytest.fixture(autouse=True)
    def place(self, ceph_remote: Remote) -> None:
        self.remote = ceph_remote

    def make_store(self) -> ObjectStore:
        url, options = self.remote
        return open_store(f"{url}/{uuid4().hex}", options)


@pytest.mark.slow
def test_of_many_creators_at_a_real_server_exactly_one_wins(ceph_remote: Remote) -> None:
    url, options = ceph_remote
    with contextlib.closing(open_store(f"{url}/{uuid4().hex}", options)) as store:
        StoreContract().test_of_many_creators_exactly_one_wins(store)


def test_a_store_that_ignores_conditions_lets_every_creator_win(ignoring_remote: Remote) -> None:
    url, options = ignoring_remote
    store = open_store(f"{url}/{uuid4().hex}", options)
    store.create("commits/0.json", b"first")
    store.create("commits/0.json", b"second")
    assert store.get("commits/0.json", 10) == b"second"
    store.close()


def test_whether_damage_is_refused_is_what_the_server_does(
    ceph_remote: Remote, moto_remote: Remote
) -> None:
    for (url, options), expected in ((ceph_remote, True), (moto_remote, False)):
        store = open_store(f"{url}/{uuid4().hex}", options)
        assert store.refuses_damage is expected
        store.close()


def test_two_stores_on_the_same_memory_share_its_objects() -> None:
    url = f"memory://{uuid4().hex}"
    first, second = open_store(url), open_store(url)
    first.create("HEAD", b"1")
    with pytest.raises(AlreadyExistsError):
        second.create("HEAD", b"2")
    assert second.get("HEAD", 1) == b"1"


@pytest.mark.slow
def test_a_listing_of_several_pages_has_every_object_once(moto_remote: Remote) -> None:
    url, options = moto_remote
    store = open_store(f"{url}/{uuid4().hex}", options)
    keys = [f"segments/{number}.seg" for number in range(1_005)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda key: store.put(key, b""), keys)) == {None}
    assert sorted(key for key, _ in store.list("segments/")) == sorted(keys)
    assert store.traffic.list == 2
    store.close()
