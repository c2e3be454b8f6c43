"""Situations that users of comparable systems reported, on copies: what is right stays right."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

import transit
from transit.store import ObjectStore, open_store, server_of_store
from transit.testing.doors import FaultDoor

from .conftest import Place
from .copies import QUIET, published, state


class _At(FaultDoor):
    """A store with another address, of a server."""

    def __init__(self, store: ObjectStore, url: str, server: str | None) -> None:
        super().__init__(store)
        self.address = url
        if server is not None:
            self.server = server

    @property
    def url(self) -> str:
        return self.address


@pytest.mark.parametrize("there", ["s3://bucket/runs", "s3://bucket/runs/copy", "s3://bucket"])
def test_the_same_address_at_another_server_is_another_place(
    place: Place, tmp_path: Path, there: str
) -> None:
    published(place, 2)
    target = open_store(tmp_path / "copy")
    source = _At(place.store, "s3://bucket/runs", "one.example.com")
    copied = transit.copy(source, _At(target, there, "two.example.com"), **QUIET)
    assert copied.commits == 2
    assert state(target) == state(place.store)


@pytest.mark.parametrize("there", ["s3://bucket/runs", "s3://bucket/runs/copy", "s3://bucket"])
@pytest.mark.parametrize("servers", [("one", "one"), ("one", None), (None, None)])
def test_an_address_that_is_or_holds_another_at_one_server_is_no_place_for_a_copy(
    place: Place, tmp_path: Path, there: str, servers: tuple[str | None, str | None]
) -> None:
    published(place, 1)
    target = open_store(tmp_path / "copy")
    source = _At(place.store, "s3://bucket/runs", servers[0])
    with pytest.raises(transit.InvalidInputError, match="a place of its own"):
        transit.copy(source, _At(target, there, servers[1]), **QUIET)
    assert not state(target)


def test_an_address_that_begins_as_another_is_another_place(place: Place, tmp_path: Path) -> None:
    published(place, 1)
    target = open_store(tmp_path / "copy")
    source = _At(place.store, "s3://bucket/runs", "one")
    assert transit.copy(source, _At(target, "s3://bucket/runs-2", "one"), **QUIET).commits == 1


def test_a_bucket_tells_its_server_and_all_of_amazons_are_one() -> None:
    def server(**options: object) -> str:
        secrets = {"key": "a", "secret": "b"}
        with_region = {**secrets, "client_kwargs": {"region_name": "eu-west-3"}, **options}
        store = open_store("s3://bucket/runs", with_region)
        store.close()
        return server_of_store(store)

    assert server() == "amazonaws.com"
    assert server(endpoint_url="https://s3.us-east-1.amazonaws.com") == "amazonaws.com"
    assert server(endpoint_url="https://s3.Example.com:9000/") == "s3.example.com:9000"
    assert server_of_store(open_store(f"memory://{uuid4().hex}")) == ""


def test_an_object_that_its_bucket_moved_to_an_archive_is_told_as_such(
    place: Place, moto_remote: tuple[str, dict[str, object]]
) -> None:
    url, options = moto_remote
    published(place, 1)
    there = f"{url}/{uuid4().hex}"
    transit.copy(place.store, there, target_options=options, level=None)
    archive = {**options, "s3_additional_kwargs": {"StorageClass": "GLACIER"}}
    store = open_store(there, archive)
    ((key, size),) = store.list("segments/")
    store.put(key, store.get(key, size) or b"")
    with pytest.raises(transit.StorePermissionError, match="restore it from there first"):
        transit.copy(there, place.path / "copy", source_options=options, level=None)
    assert not list(open_store(place.path / "copy").list("commits/"))
