"""The rights that each operation needs, and what S3 tells a client that may get and not list."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import transit
from rigs.faults.simulated_s3 import Allows, Bucket, SimulatedS3
from rigs.faults.virtual_time import VirtualClock
from transit.errors import NotFoundError, StorePermissionError, TransitError
from transit.store import ObjectStore, open_store
from transit.store.s3 import S3Store

GET, PUT, LIST, DELETE = "s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:DeleteObject"
RIGHTS = (GET, PUT, LIST, DELETE)
SETTINGS = transit.Settings(remote_timeout_s=5.0)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "remote.md"


@pytest.fixture(autouse=True)
def clock(request: pytest.FixtureRequest) -> Iterator[None]:
    """Deadlines that pass at once, where no real server is asked."""
    if "ceph_remote" in request.fixturenames:
        yield
        return
    with VirtualClock().installed():
        yield


def store_of(bucket: Bucket, allows: Allows | None = None) -> S3Store:
    return S3Store(SimulatedS3(bucket, None, allows), "bucket", "runs", SETTINGS.remote_timeout_s)


def only(*rights: str) -> Allows:
    return lambda right, _key: right in rights


def opened(folder: Path, store: ObjectStore) -> transit.Log:
    return transit.open(folder, remote=store, settings=SETTINGS)


def published(folder: Path) -> Bucket:
    """A bucket with a store of two commits; the store's folder is `folder`."""
    bucket = Bucket()
    with opened(folder, store_of(bucket)) as log:
        for payload in (b"0", b"1"):
            (log.stream("s") if "s" in log else log.create("s")).append(payload)
            log.publish()
    return bucket


# Operations: a folder of a published store and the remote; each raises when it is not allowed.


def first_attach(folder: Path, store: ObjectStore) -> None:
    with opened(folder / "new", store) as log:
        log.create("s").append(b"1", durability="tiered")


def attach_again(folder: Path, store: ObjectStore) -> None:
    with opened(folder / "old", store) as log:
        log.stream("s").append(b"2", durability="tiered")
        log.publish()


def evict(folder: Path, store: ObjectStore) -> None:
    with opened(folder / "old", store) as log:
        assert log.evict(bytes_max=0).segments
        assert len(list(log.stream("s").read())) == 2


def open_bucket(_folder: Path, store: ObjectStore) -> None:
    with transit.Log(_reading(store)) as log:
        assert [r.payload for r in log.stream("s").read()] == [b"0", b"1"]
        assert log.refresh() == 0


def _reading(store: ObjectStore) -> Any:
    # A bucket by its address alone: `open` takes an address there, and this store is simulated.
    from transit.handle.attaching import Attached
    from transit.handle.handle import Handle

    return Handle(store.url, "read", "local", SETTINGS, [Attached(store, store.close)])


def restore(folder: Path, store: ObjectStore) -> None:
    assert transit.restore(store, folder / "restored", settings=SETTINGS).records >= 4


def restore_lazily(folder: Path, store: ObjectStore) -> None:
    transit.restore(store, folder / "lazy", lazy=True, settings=SETTINGS)
    with transit.open(folder / "lazy", mode="read", remote=store, settings=SETTINGS) as log:
        assert len(list(log.stream("s").read())) == 2


def audit(_folder: Path, store: ObjectStore) -> None:
    report = transit.audit(store, settings=SETTINGS)
    assert report.ok
    assert report.counts["commits"] == 2


OPERATIONS: dict[str, Callable[[Path, ObjectStore], None]] = {
    "the first attach, to an empty place": first_attach,
    "attach again, publish, `tiered`": attach_again,
    "evict": evict,
    "open a bucket, read, refresh": open_bucket,
    "restore": restore,
    "restore lazily, read": restore_lazily,
    "audit": audit,
}


def works(operation: str, allows: Allows, folder: Path) -> TransitError | None:
    """What the operation ends in with these rights; None when it is done."""
    folder.mkdir()
    bucket = Bucket() if "empty" in operation else published(folder / "old")
    try:
        OPERATIONS[operation](folder, store_of(bucket, allows))
    except TransitError as error:
        return error
    return None


def needed(operation: str, folder: Path) -> list[str]:
    """The rights without which an operation does not work, all others given."""
    found = []
    for right in RIGHTS:
        others = [other for other in RIGHTS if other != right]
        error = works(operation, only(*others), folder / right.partition(":")[2])
        if error is not None:
            assert isinstance(error, StorePermissionError)
            assert right in str(error)
            found.append(right)
    return found


def table() -> dict[str, list[str]]:
    """Operation -> rights, as docs/remote.md has them."""
    rows = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] in OPERATIONS:
            rows[cells[0]] = re.findall(r"s3:\w+", cells[1])
    return rows


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_page_names_the_rights_that_an_operation_needs_and_they_suffice(
    operation: str, tmp_path: Path
) -> None:
    stated = table()[operation]
    assert stated == needed(operation, tmp_path)
    assert works(operation, only(*stated), tmp_path / "stated") is None


@pytest.mark.parametrize("prefix", ["FORMAT", "HEAD", "commits/", "segments/", "probes/"])
def test_without_the_right_to_put_below_a_prefix_the_error_names_the_key(
    prefix: str, tmp_path: Path
) -> None:
    def allows(right: str, key: str) -> bool:
        return right != PUT or not key.startswith(f"runs/{prefix}")

    error = works("the first attach, to an empty place", allows, tmp_path / "a")
    if prefix == "HEAD":
        # Only a hint.
        assert error is None
        return
    assert isinstance(error, StorePermissionError)
    assert f"runs/{prefix}" in str(error)
    assert PUT in str(error)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if "attach" not in name])
def test_a_listing_allowed_below_the_prefix_alone_suffices(operation: str, tmp_path: Path) -> None:
    def allows(right: str, key: str) -> bool:
        return right != LIST or key.startswith("runs/")

    assert works(operation, allows, tmp_path / "a") is None


def test_an_audit_without_listing_says_so_and_reads_the_same(tmp_path: Path) -> None:
    bucket = published(tmp_path / "a")
    with_listing = transit.audit(store_of(bucket), settings=SETTINGS)
    without = transit.audit(store_of(bucket, only(GET)), settings=SETTINGS)
    assert with_listing.ok
    assert without.ok
    assert without.head == with_listing.head
    assert without.counts["listings_refused"] > 0


def test_a_missing_head_hint_ends_nothing(tmp_path: Path) -> None:
    bucket = published(tmp_path / "a")
    del bucket.objects["runs/HEAD"]
    for allows in (only(GET), only(GET, LIST)):
        open_bucket(tmp_path, store_of(bucket, allows))
        audit(tmp_path, store_of(bucket, allows))


@pytest.mark.parametrize("may_list", [False, True])
def test_an_object_that_is_there_and_denied_is_no_end(tmp_path: Path, may_list: bool) -> None:
    bucket = published(tmp_path / "a")
    hidden = f"runs/commits/{1:020}.json"

    def allows(right: str, key: str) -> bool:
        return (right == LIST and may_list) or (right == GET and key != hidden)

    if may_list:
        with pytest.raises(StorePermissionError, match="commits"):
            transit.restore(store_of(bucket, allows), tmp_path / "r", settings=SETTINGS)
    else:
        # The server tells no client that it is there; a root that was written down says it.
        whole = transit.audit(store_of(bucket), settings=SETTINGS).head
        report = transit.audit(store_of(bucket, allows), trusted_root=whole, settings=SETTINGS)
        assert not report.ok


def test_rights_taken_away_in_the_middle_are_no_end_of_the_history(tmp_path: Path) -> None:
    bucket = published(tmp_path / "a")
    asked: list[str] = []

    def allows(right: str, key: str) -> bool:
        asked.append(key)
        return right == GET and f"runs/commits/{0:020}.json" not in asked[:-1]

    with pytest.raises(StorePermissionError):
        transit.restore(store_of(bucket, allows), tmp_path / "r", settings=SETTINGS)
    assert not (tmp_path / "r" / "FORMAT").exists()


def test_with_nothing_to_read_the_error_says_that_listing_would_tell() -> None:
    store = store_of(Bucket(), only(GET))
    with pytest.raises(StorePermissionError, match="s3:ListBucket"):
        store.get("FORMAT", 10)
    with pytest.raises(NotFoundError):
        store_of(Bucket(), only(GET, LIST)).get_range("FORMAT", 0, 1)


def test_what_it_takes_to_ask_is_counted_and_asked_once(tmp_path: Path) -> None:
    bucket = published(tmp_path / "a")
    store = store_of(bucket, only(GET))
    assert store.get("FORMAT", 1000) is not None
    for _ in range(3):
        assert store.get("commits/x", 10) is None
    assert store.traffic.list == 1
    assert store.traffic.get == 1 + 3 * 2


# A real server


@pytest.mark.slow
def test_a_public_bucket_of_a_real_server_is_opened_restored_and_audited(
    ceph_remote: Any, tmp_path: Path
) -> None:
    import s3fs

    _, options = ceph_remote
    client = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    name = f"public-{uuid4().hex}"
    client.call_s3("create_bucket", Bucket=name)
    allow = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"]}
    statement = [{**allow, "Resource": [f"arn:aws:s3:::{name}/*"]}]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    client.call_s3("put_bucket_policy", Bucket=name, Policy=policy)
    place = f"s3://{name}/runs"
    with transit.open(tmp_path / "a", remote=place, storage_options=options) as log:
        log.create("s").append(b"1", durability="tiered")
    nobody = {"anon": True, "endpoint_url": options["endpoint_url"]}
    with transit.open(place, mode="read", storage_options=nobody) as log:
        assert [r.payload for r in log.stream("s").read()] == [b"1"]
    transit.restore(place, tmp_path / "r", storage_options=nobody)
    assert transit.audit(place, storage_options=nobody).ok
    with pytest.raises(StorePermissionError, match="s3:PutObject"):
        transit.open(tmp_path / "r", remote=place, storage_options=nobody)
    stranger = open_store(f"s3://{name}/nothing", nobody)
    with pytest.raises(StorePermissionError, match="s3:ListBucket"):
        transit.audit(stranger)
    stranger.close()
    client.rm(name, recursive=True)
    client.close_session(client.loop, client._s3creator)


# Bugs on purpose


def denied_is_absent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(S3Store, "_is_absent", lambda *_: True)


def denied_is_never_absent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(S3Store, "_is_absent", lambda *_: False)


def rights_are_taken_for_lasting(patch: pytest.MonkeyPatch) -> None:
    async def readable(*_: object) -> None:
        return None

    patch.setattr(S3Store, "_first_byte", readable)


@pytest.mark.parametrize(
    "plant", [denied_is_absent, denied_is_never_absent, rights_are_taken_for_lasting]
)
def test_bug_on_purpose_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    checks: list[Callable[[Path], None]] = [
        lambda path: test_an_object_that_is_there_and_denied_is_no_end(path, True),
        test_rights_taken_away_in_the_middle_are_no_end_of_the_history,
        test_a_missing_head_hint_ends_nothing,
    ]
    broken = 0
    for number, check in enumerate(checks):
        try:
            check(tmp_path / str(number))
        except (AssertionError, TransitError, pytest.fail.Exception):
            broken += 1
    assert broken
