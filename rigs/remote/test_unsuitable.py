"""Stores that ignore or refuse conditions, or answer them wrongly: found out at attach."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

import transit
from rigs.faults.simulated_s3 import Bucket, SimulatedS3
from rigs.faults.virtual_time import VirtualClock
from transit.store import open_store
from transit.store.s3 import S3Store

from .conditions import CONDUCTS, in_front_of

Remote = tuple[str, dict[str, object]]
SETTINGS = transit.Settings(remote_timeout_s=3.0)


def probes_only(keys: list[str]) -> bool:
    return all(key.startswith("probes/") for key in keys)


@pytest.mark.parametrize("conditions", ["ignored", "refused_501", "refused_400", "exists"])
def test_store_without_put_if_absent_is_refused_and_left_empty(
    tmp_path: Path, conditions: str
) -> None:
    bucket, clock = Bucket(conditions=conditions), VirtualClock()
    with clock.installed():
        store = S3Store(SimulatedS3(bucket), "bucket", "", SETTINGS.remote_timeout_s)
        with pytest.raises(transit.UnsuitableRemoteError):
            transit.open(tmp_path / "a", remote=store, settings=SETTINGS)
    assert probes_only(list(bucket.objects))


@pytest.mark.parametrize("conduct", CONDUCTS)
def test_server_that_answers_conditions_wrongly_is_refused_for_writing(
    moto_remote: Remote, tmp_path: Path, conduct: str
) -> None:
    url, options = moto_remote
    port = int(str(options["endpoint_url"]).rpartition(":")[2])
    url = f"{url}/{uuid4().hex}"
    direct = open_store(url, options)
    with in_front_of(port, conduct) as endpoint:
        through = {**options, "endpoint_url": endpoint}
        with pytest.raises(transit.UnsuitableRemoteError) as caught:
            transit.open(tmp_path / "a", remote=url, storage_options=through, settings=SETTINGS)
        assert url in str(caught.value)
        assert probes_only([key for key, _ in direct.list("")])
        # What is there already may be read through it.
        with transit.open(tmp_path / "b", remote=direct, settings=SETTINGS) as log:
            log.create("s").append(b"1", durability="tiered")
        restored = transit.restore(url, tmp_path / "r", storage_options=through, settings=SETTINGS)
        assert restored.commits == 1
    direct.close()


def test_server_that_ignores_conditions_by_nature_is_refused(
    ignoring_remote: Remote, tmp_path: Path
) -> None:
    url, options = ignoring_remote
    with pytest.raises(transit.UnsuitableRemoteError, match="ignores the condition"):
        transit.open(tmp_path / "a", remote=url, storage_options=options, settings=SETTINGS)
    assert not (tmp_path / "a" / "REMOTE").exists()
