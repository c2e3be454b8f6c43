"""Erasing in buckets that keep versions, and in those that lock them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace

from ..engine.canary import CANARY, has, places_with
from ..views.erasing import RUNS, SECRET, Others, columns_files, record
from .test_versions import Versioned

pytestmark = pytest.mark.slow


class Bucket(Versioned):
    """A bucket that can be looked through for the canary, in all versions."""

    def versions(self) -> Iterator[tuple[str, str]]:
        """The key and id of each version that is no marker."""
        after: dict[str, str] = {}
        while True:
            page = self.client.call_s3("list_object_versions", Bucket=self.name, **after)
            yield from ((each["Key"], each["VersionId"]) for each in page.get("Versions", []))
            if not page["IsTruncated"]:
                return
            after = {
                "KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]
            }  # fmt: skip

    def with_canary(self) -> list[tuple[str, str]]:
        """The key and id of each version that has the canary."""
        return [(key, version) for key, version in self.versions() if has(self.get(key, version))]

    def get(self, key: str, version: str) -> bytes:
        # Comes with s3fs, which only these tests need.
        import fsspec.asyn

        answer = self.client.call_s3("get_object", Bucket=self.name, Key=key, VersionId=version)
        read: bytes = fsspec.asyn.sync(self.client.loop, answer["Body"].read)
        return read

    def remove(self) -> None:
        """Remove the bucket with all it holds."""
        found = [{"Key": key, "VersionId": version} for key, version in self.versions()]
        for first in range(0, len(found), 1000):
            some = {"Objects": found[first : first + 1000]}
            self.client.call_s3("delete_objects", Bucket=self.name, Delete=some)
        self.client.call_s3("delete_bucket", Bucket=self.name)

    def lock(self, mode: str, until: datetime) -> None:
        """Lock every version that has the canary."""
        for key, version in self.with_canary():
            kept = {"Mode": mode, "RetainUntilDate": until}
            self.client.call_s3(
                "put_object_retention",
                Bucket=self.name, Key=key, VersionId=version, Retention=kept,
            )  # fmt: skip


@pytest.fixture
def bucket(moto_remote: Any, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """One that keeps versions; with True also one that lets them be locked."""
    lock = getattr(request, "param", False)
    made = Bucket(moto_remote[1], **({"ObjectLockEnabledForBucket": True} if lock else {}))
    made.keep("Enabled")
    yield made
    made.close()


@pytest.fixture
def real(ceph_remote: Any) -> Iterator[Bucket]:
    """One of Ceph, which keeps no versions yet."""
    made = Bucket(ceph_remote[1])
    yield made
    made.remove()
    made.close()


def write(log: transit.Log) -> None:
    for number in range(5):
        log.create(f"s{number}").append_many([b"plain %d" % n for n in range(10)])
    log.create("secret").append_many([CANARY + b" %d" % n for n in range(10)])
    log.publish()
    log.stream("secret").append(CANARY)
    log.publish()


def test_every_version_goes(bucket: Bucket, tmp_path: Path) -> None:
    with bucket.attach(tmp_path / "a") as log:
        assert log.status().remote_keeps == "versions"
        write(log)
        assert len(bucket.with_canary()) == 2
        log.delete("secret", reason="r", basis="gdpr-17")
        # A first erasure of another stream leaves a redacted file that still has the canary.
        log.delete("s0", reason="r")
        done = log.erase()
        assert (done.versions, done.kept) == (2, 0)
        assert bucket.with_canary() == []
        assert places_with(tmp_path) == []
        log.delete("s1", reason="r")
        assert log.erase().versions == 1
        kept = bucket.kept()
        assert [key for key in kept["DeleteMarkers"] if "seg" in key] == []
        assert len([key for key in kept["Versions"] if key.startswith("redacted/")]) == 2
    report = transit.audit(f"s3://{bucket.name}", storage_options=bucket.options)
    assert report.ok
    assert report.counts["erased_records"] == 31


@pytest.mark.parametrize("bucket", [True], indirect=True)
def test_what_is_locked_is_hidden_and_said_until_when(bucket: Bucket, tmp_path: Path) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    with bucket.attach(tmp_path / "a") as log:
        assert log.status().remote_keeps == "versions, object lock"
        write(log)
        bucket.lock("COMPLIANCE", until)
        log.delete("secret", reason="r")
        done = log.erase(bypass_governance=True)
        assert (done.versions, done.kept) == (0, 2)
        assert done.until == int(until.timestamp()) * 10**9
        assert len(bucket.with_canary()) == 2
        assert places_with(tmp_path) == []
        again = log.erase()
        assert (again.streams, again.kept, again.until) == ((), 2, done.until)
    # Nobody reads it by its name.
    report = transit.audit(f"s3://{bucket.name}", storage_options=bucket.options)
    assert report.ok
    assert report.counts["erased_records"] == 11


@pytest.mark.parametrize("bucket", [True], indirect=True)
def test_governance_is_passed_only_where_that_is_asked(bucket: Bucket, tmp_path: Path) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    with bucket.attach(tmp_path / "a") as log:
        write(log)
        bucket.lock("GOVERNANCE", until)
        log.delete("secret", reason="r")
        assert log.erase().kept == 2
        assert len(bucket.with_canary()) == 2
        done = log.erase(bypass_governance=True)
        assert (done.versions, done.kept, done.until) == (2, 0, 0)
        assert bucket.with_canary() == []
        assert log.erase() == transit.Erased()


def erase_one(bucket: Bucket, log: transit.Log, folder: Path) -> Others:
    """Erase one run of those recorded, and look for its bytes; the others are as they were."""
    assert bucket.with_canary()
    columns_files(log)
    assert {place.split("/")[1] for place in places_with(folder)} >= {"rooms"}
    others = Others(log)
    assert len(others.payloads) >= RUNS - 1
    done = trace.delete(log, SECRET, reason="asked", basis="gdpr-17", cascade=True)
    erased = log.erase()
    assert (erased.records, erased.kept) == (done.records, 0)
    assert bucket.with_canary() == []
    assert places_with(folder) == []
    # Nothing is only hidden.
    assert bucket.kept()["DeleteMarkers"] == []
    others.check(log)
    # They are made again, of what is left.
    assert columns_files(log)
    assert places_with(folder) == []
    assert log.erase() == transit.Erased()
    return others


def test_one_run_of_many_is_in_no_version(bucket: Bucket, tmp_path: Path) -> None:
    with bucket.attach(tmp_path / "a") as log:
        record(log, RUNS)
        log.publish()
        others = erase_one(bucket, log, tmp_path)
        log.publish()
    report = others.audit(f"s3://{bucket.name}", storage_options=bucket.options)
    assert report.counts["erased_records"] > 10


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_one_run_of_many_is_in_no_version_of_a_real_server(
    real: Bucket, tmp_path: Path, status: str
) -> None:
    # No writer attaches while Ceph 16 keeps versions, so they are kept from then on.
    with real.attach(tmp_path / "a") as log:
        record(log, RUNS)
        log.publish()
        real.keep("Enabled")
        for stream in (log.stream(SECRET), log.stream("fork")):
            stream.append(b'{"event":"custom","data":{"value":{"said":"' + CANARY + b'"}}}')
        log.publish()
        # Of what is left of the segment of both, a version stays that has the canary.
        trace.delete(log, "run-152", reason="asked")
        log.erase()
        found = real.with_canary()
        assert {version == "null" for _, version in found} == {True, False}
        assert {key.split("/")[0] for key, _ in found} == {"segments", "redacted"}
        if status == "Enabled":
            others = erase_one(real, log, tmp_path)
    if status == "Suspended":
        real.keep("Suspended")
        with real.attach(tmp_path / "a") as log:
            assert log.status().remote_keeps == "versions"
            others = erase_one(real, log, tmp_path)
    report = others.audit(f"s3://{real.name}", storage_options=real.options)
    assert report.counts["erased_records"] > 10
