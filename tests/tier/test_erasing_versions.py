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
from ..views.erasing import SECRET, everything, record
from .test_versions import Versioned

pytestmark = pytest.mark.slow


class Bucket(Versioned):
    """A bucket that keeps versions; lock: and lets them be locked."""

    def __init__(self, options: dict[str, object], *, lock: bool) -> None:
        super().__init__(options, **({"ObjectLockEnabledForBucket": True} if lock else {}))
        self.keep("Enabled")

    def with_canary(self) -> list[tuple[str, str]]:
        """The key and id of each version that has the canary."""
        found = self.client.call_s3("list_object_versions", Bucket=self.name)
        return [
            (each["Key"], each["VersionId"])
            for each in found.get("Versions", [])
            if has(self.get(each["Key"], each["VersionId"]))
        ]

    def get(self, key: str, version: str) -> bytes:
        answer = self.client.call_s3("get_object", Bucket=self.name, Key=key, VersionId=version)
        read: bytes = self.client.call_s3  # only its loop is used
        import fsspec.asyn

        read = fsspec.asyn.sync(self.client.loop, answer["Body"].read)
        return read

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
    made = Bucket(moto_remote[1], lock=getattr(request, "param", False))
    yield made
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


def test_one_run_of_three_hundred_is_in_no_version(bucket: Bucket, tmp_path: Path) -> None:
    with bucket.attach(tmp_path / "a") as log:
        record(log)
        log.publish()
        assert bucket.with_canary()
        before = everything(log)
        trace.delete(log, SECRET, reason="asked", basis="gdpr-17", cascade=True)
        log.erase()
        assert bucket.with_canary() == []
        assert places_with(tmp_path) == []
        left = {name: found for name, found in before.items() if name not in (SECRET, "fork")}
        assert everything(log) == left
        assert log.verify().ok
    report = transit.audit(f"s3://{bucket.name}", storage_options=bucket.options)
    assert report.findings == ()
    assert report.counts["erased_records"] > 10
