"""Buckets that keep versions: what stays in them, and what is said where they change the rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import transit
from transit.errors import UnsuitableRemoteError
from transit.tier import probe, remote

SETTINGS = transit.Settings(remote_timeout_s=30.0)


class Versioned:
    """A bucket of a real or a simulated server, and what it keeps."""

    def __init__(self, options: dict[str, object], **made: object) -> None:
        # Only these tests need a client of their own, and it takes long to load.
        import s3fs

        self.client: Any = s3fs.S3FileSystem(**options, skip_instance_cache=True)
        self.name = f"versioned-{uuid4().hex}"
        self.options = options
        self.client.call_s3("create_bucket", Bucket=self.name, **made)

    def keep(self, status: str) -> None:
        """Versions from now on: "Enabled" or "Suspended"."""
        kept = {"Status": status}
        self.client.call_s3("put_bucket_versioning", Bucket=self.name, VersioningConfiguration=kept)

    def kept(self) -> dict[str, list[str]]:
        """The keys of all versions and of all delete markers."""
        found = self.client.call_s3("list_object_versions", Bucket=self.name)
        return {
            kind: [each["Key"] for each in found.get(kind, [])]
            for kind in ("Versions", "DeleteMarkers")
        }

    def attach(self, folder: Path) -> transit.Log:
        return transit.open(
            folder, remote=f"s3://{self.name}", storage_options=self.options, settings=SETTINGS
        )

    def close(self) -> None:
        self.client.close_session(self.client.loop, self.client._s3creator)


@pytest.fixture
def real(ceph_remote: Any) -> Iterator[Versioned]:
    bucket = Versioned(ceph_remote[1])
    yield bucket
    bucket.close()


@pytest.mark.slow
def test_server_that_drops_the_condition_for_versions_is_refused_and_versioning_named(
    real: Versioned, tmp_path: Path
) -> None:
    # So does Ceph 16: the same bucket keeps two writers apart before, and once it is suspended.
    real.keep("Enabled")
    tries = 3
    for _ in range(tries):
        with pytest.raises(UnsuitableRemoteError, match="keeps versions: look at its versioning"):
            real.attach(tmp_path / "a")
    kept = real.kept()
    # One for each try, of one object, and one that the first try made.
    assert kept["Versions"] == ["probes/exclusion"] * (tries + 1)
    assert kept["DeleteMarkers"] == []
    real.keep("Suspended")
    with real.attach(tmp_path / "a") as log:
        log.create("s").append(b"1", durability="tiered")


@pytest.mark.slow
@pytest.mark.parametrize("lock", [False, True], ids=["versions", "object lock"])
def test_attaching_again_leaves_no_version_more(
    moto_remote: Any, tmp_path: Path, lock: bool
) -> None:
    bucket = Versioned(moto_remote[1], **({"ObjectLockEnabledForBucket": True} if lock else {}))
    bucket.keep("Enabled")
    for number in range(3):
        with bucket.attach(tmp_path / "a") as log:
            (log.stream("s") if "s" in log else log.create("s")).append(b"%d" % number)
            log.publish()
    kept = bucket.kept()
    assert kept["DeleteMarkers"] == []
    # moto takes damaged uploads, which is found out each time with one and the same object.
    assert kept["Versions"].count("probes/exclusion") == 1
    assert kept["Versions"].count("probes/damage") == 3
    others = [key for key in kept["Versions"] if not key.startswith(("probes/", "HEAD"))]
    assert len(others) == len(set(others))
    bucket.close()


@pytest.mark.slow
def test_a_lifecycle_rule_that_takes_probes_away_changes_nothing(
    moto_remote: Any, tmp_path: Path
) -> None:
    bucket = Versioned(moto_remote[1])
    for number in range(2):
        with bucket.attach(tmp_path / "a") as log:
            (log.stream("s") if "s" in log else log.create("s")).append(b"%d" % number)
            log.publish()
        for key in ("probes/exclusion", "probes/damage"):
            bucket.client.call_s3("delete_object", Bucket=bucket.name, Key=key)
    report = transit.audit(f"s3://{bucket.name}", storage_options=bucket.options)
    assert report.ok
    bucket.close()


@pytest.mark.slow
def test_a_probe_of_random_names_on_purpose_is_found(
    moto_remote: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = probe.probe_exclusion

    def elsewhere(store: Any, timeout_s: float) -> None:
        monkeypatch.setattr(probe, "PROBE_KEY", f"probes/{uuid4().hex}")
        real(store, timeout_s)

    monkeypatch.setattr(remote, "probe_exclusion", elsewhere)
    with pytest.raises(AssertionError):
        test_attaching_again_leaves_no_version_more(moto_remote, tmp_path, False)
