"""The tests that every object store must pass, to be run against a store of one's own.

    pytest.register_assert_rewrite("transit.testing.store_contract")  # in conftest.py

    class TestMyStore(StoreContract):
        def make_store(self) -> ObjectStore:
            return open_store("s3://bucket/" + uuid4().hex, {...})

`make_store` gives a store on a place of its own, empty, each time.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import ClassVar

from transit.errors import (
    AlreadyExistsError,
    ClosedError,
    CorruptError,
    InvalidInputError,
    NotFoundError,
    RemoteUnavailableError,
)
from transit.store import ObjectStore
from transit.testing import explain_missing

with explain_missing():
    import pytest

MIB = 1024 * 1024
KEY = "segments/00ff.seg"

BAD_KEYS = (
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "A",
    "Head",
    "a b",
    "a\n",
    "a\0",
    "ä",
    "a?b",
    "a%2fb",
    "a\\b",
    "a.temporary",
    "a" * 201,
    "a/" * 256 + "a",
)
BAD_PREFIXES = ("segments", "/", "../", "a/../", "A/", "a//")


class StoreContract:
    """Tests of one kind of store; subclasses say how to make one and whether `create` excludes."""

    # False where a store is known to let two creators win: then what is there need only be one's.
    create_excludes: ClassVar[bool] = True
    race_rounds: ClassVar[int] = 50
    racers: ClassVar[int] = 16

    @abstractmethod
    def make_store(self) -> ObjectStore:
        """A store on a place of its own, empty."""

    @pytest.fixture
    def store(self) -> Iterator[ObjectStore]:
        """One store, closed after the test."""
        store = self.make_store()
        yield store
        store.close()

    def test_an_object_comes_back_as_it_was_put(self, store: ObjectStore) -> None:
        """Bytes and size."""
        store.put(KEY, b"\0\xffdata")
        assert store.get(KEY, 6) == b"\0\xffdata"
        assert store.size(KEY) == 6

    def test_put_takes_the_place_of_what_is_there(self, store: ObjectStore) -> None:
        """Also where the new object is shorter."""
        store.put("HEAD", b"a longer one")
        store.put("HEAD", b"short")
        assert store.get("HEAD", 100) == b"short"
        assert store.size("HEAD") == 5

    def test_an_empty_object_is_there(self, store: ObjectStore) -> None:
        """It is neither absent nor an error, in any way of reading."""
        store.put(KEY, b"")
        assert store.get(KEY, 0) == b""
        assert store.get(KEY, 10) == b""
        assert store.get_range(KEY, 0, 10) == b""
        assert store.size(KEY) == 0
        assert dict(store.list("segments/")) == {KEY: 0}

    def test_an_absent_object_is_absent(self, store: ObjectStore) -> None:
        """Where nothing is at all, and beside another object."""
        for _ in range(2):
            assert store.get("absent/key", 10) is None
            assert store.size("absent/key") is None
            with pytest.raises(NotFoundError):
                store.get_range("absent/key", 0, 10)
            store.delete("absent/key")
            store.put("absent/other", b"1")

    def test_the_folder_of_an_object_is_no_object(self, store: ObjectStore) -> None:
        """Keys are flat."""
        store.put(KEY, b"1")
        assert store.get("segments", 10) is None
        assert store.size("segments") is None
        with pytest.raises(NotFoundError):
            store.get_range("segments", 0, 10)

    def test_a_larger_object_than_allowed_is_refused(self, store: ObjectStore) -> None:
        """The bound itself is allowed; the error names the object."""
        store.put(KEY, b"x" * 1000)
        assert store.get(KEY, 1000) == b"x" * 1000
        for bytes_max in (999, 1, 0):
            with pytest.raises(CorruptError) as caught:
                store.get(KEY, bytes_max)
            assert caught.value.place == f"{store.url}/{KEY}"
            assert caught.value.expected == f"at most {bytes_max} bytes"

    def test_a_range_is_cut_at_the_end_of_the_object(self, store: ObjectStore) -> None:
        """Every range of a small object is what slicing gives."""
        data = bytes(range(7))
        store.put(KEY, data)
        for position in (0, 1, 6, 7, 8, 1000):
            for size in (1, 6, 7, 8, 1000):
                assert store.get_range(KEY, position, size) == data[position : position + size]

    def test_a_range_without_bytes_or_before_the_object_is_refused(
        self, store: ObjectStore
    ) -> None:
        """Nothing is asked of the store."""
        for position, size in ((-1, 1), (0, 0), (0, -1)):
            with pytest.raises(InvalidInputError):
                store.get_range(KEY, position, size)
        assert store.traffic.requests == 0

    def test_a_deleted_object_is_gone(self, store: ObjectStore) -> None:
        """And deleting it again is fine."""
        store.put(KEY, b"1")
        store.delete(KEY)
        store.delete(KEY)
        assert store.get(KEY, 10) is None
        assert list(store.list("")) == []

    def test_a_list_has_all_objects_below_its_prefix(self, store: ObjectStore) -> None:
        """Also of folders below it, with sizes; not those whose folder only begins alike."""
        sizes = {f"segments/{number:03}.seg": number for number in range(20)}
        others = {"segments-old/a": 1, "segments/below/b": 2, "HEAD": 3, "commits/0.json": 4}
        for key, size in {**sizes, **others}.items():
            store.put(key, b"x" * size)
        below = {**sizes, "segments/below/b": 2}
        assert sorted(store.list("segments/")) == sorted(below.items())
        assert sorted(store.list("")) == sorted({**sizes, **others}.items())
        assert list(store.list("absent/")) == []

    def test_create_writes_once(self, store: ObjectStore) -> None:
        """A second one is told, whatever it brings, and changes nothing."""
        store.create("commits/0.json", b"first")
        for data in (b"second", b"first", b""):
            with pytest.raises(AlreadyExistsError):
                store.create("commits/0.json", data)
        assert store.get("commits/0.json", 10) == b"first"

    def test_create_knows_what_put_wrote(self, store: ObjectStore) -> None:
        """An empty object counts too."""
        store.put(KEY, b"")
        with pytest.raises(AlreadyExistsError):
            store.create(KEY, b"1")
        assert store.get(KEY, 10) == b""

    def test_of_many_creators_exactly_one_wins(self, store: ObjectStore) -> None:
        """Each round all begin at once; what is there is what the winner wrote.

        A creator that is told that nothing is known may have won: the object says whether it did.
        """
        barrier = Barrier(self.racers)

        def race(key: str, data: bytes) -> tuple[bytes, str]:
            barrier.wait()
            try:
                store.create(key, data)
            except AlreadyExistsError:
                return data, "lost"
            except RemoteUnavailableError:
                return data, "unknown"
            return data, "won"

        with ThreadPoolExecutor(self.racers) as pool:
            for number in range(self.race_rounds):
                key = f"commits/{number}.json"
                tries = [pool.submit(race, key, b"%d" % racer) for racer in range(self.racers)]
                outcomes = [each.result() for each in tries]
                found = store.get(key, 10)
                won = [data for data, outcome in outcomes if outcome == "won"]
                unknown = [data for data, outcome in outcomes if outcome == "unknown"]
                if self.create_excludes:
                    assert won == [found] or (not won and found in unknown), (key, outcomes, found)
                else:
                    assert found in (*won, *unknown), (key, outcomes, found)

    def test_a_large_object_goes_and_comes_in_one_request(self, store: ObjectStore) -> None:
        """8 MiB, and a range in the middle of it."""
        data = os.urandom(8 * MIB)
        store.put(KEY, data)
        assert store.get(KEY, 8 * MIB) == data
        assert store.get_range(KEY, 3 * MIB, 1 * MIB) == data[3 * MIB : 4 * MIB]
        assert (store.traffic.put, store.traffic.get) == (1, 2)

    def test_what_is_no_key_is_refused(self, store: ObjectStore) -> None:
        """Before anything is asked of the store."""
        for key in BAD_KEYS:
            for call in (
                lambda key: store.get(key, 1),
                lambda key: store.get_range(key, 0, 1),
                store.size,
                lambda key: store.put(key, b""),
                lambda key: store.create(key, b""),
                store.delete,
            ):
                with pytest.raises(InvalidInputError):
                    call(key)
        for prefix in BAD_PREFIXES:
            with pytest.raises(InvalidInputError):
                list(store.list(prefix))
        assert store.traffic.requests == 0

    def test_requests_and_bytes_are_counted(self, store: ObjectStore) -> None:
        """One for each call, whatever it finds."""
        store.put(KEY, b"12345")
        store.create("HEAD", b"12")
        store.get(KEY, 10)
        store.get_range(KEY, 1, 2)
        store.get("absent", 10)
        store.size(KEY)
        store.size("absent")
        list(store.list(""))
        store.delete(KEY)
        traffic = store.traffic
        assert (traffic.put, traffic.create, traffic.get) == (1, 1, 3)
        assert (traffic.size, traffic.list, traffic.delete) == (2, 1, 1)
        assert traffic.requests == 9
        assert (traffic.bytes_out, traffic.bytes_in) == (7, 7)

    def test_many_threads_write_and_read_at_once(self, store: ObjectStore) -> None:
        """Each finds what it wrote."""

        def turn(number: int) -> bool:
            key, data = f"segments/{number}.seg", b"%d" % number * 1000
            store.put(key, data)
            return store.get(key, 10_000) == data and store.size(key) == len(data)

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(turn, range(64)))
        assert len(list(store.list("segments/"))) == 64
        assert store.traffic.put == store.traffic.get == store.traffic.size == 64

    def test_whether_damage_is_refused_is_known(self, store: ObjectStore) -> None:
        """Finding out leaves a probe behind at most, and is done once."""
        answer = store.refuses_damage
        requests = store.traffic.requests
        assert store.refuses_damage is answer
        assert store.traffic.requests == requests
        assert all(key.startswith("probes/") for key, _ in store.list(""))

    def test_a_closed_store_is_refused(self, store: ObjectStore) -> None:
        """Closing again is fine."""
        store.put(KEY, b"1")
        store.close()
        store.close()
        with pytest.raises(ClosedError):
            store.get(KEY, 10)
        with pytest.raises(ClosedError):
            store.put(KEY, b"1")
        with pytest.raises(ClosedError):
            store.list("")
