"""A real Ceph, killed (kill -9) during publishes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.kills.server import Ceph, Rounds

from .conftest import seed

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "s3_up.sh"
# Each takes some seconds, most of which the server needs to start again.
KILLS = int(os.environ.get("TRANSIT_KILLS", "20"))
BUCKET = "killed"


@pytest.fixture
def ceph(tmp_path: Path) -> Iterator[Ceph]:
    """A server that no other test uses."""
    if shutil.which("radosgw") is None and "CI" not in os.environ:
        pytest.skip("no radosgw here: run `just s3-up` once")
    server = Ceph(SCRIPT, tmp_path / "ceph")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_server_killed_during_publishes_loses_nothing_and_fences_nobody(
    ceph: Ceph, tmp_path: Path
) -> None:
    make_bucket(ceph)
    rounds = Rounds(ceph, f"s3://{BUCKET}/runs", tmp_path, seed())
    kills = rounds.run(KILLS)
    assert rounds.wrong == []
    assert kills == KILLS, rounds.counts


def make_bucket(ceph: Ceph) -> None:
    # Only this test needs a client of its own, and it takes long to load.
    import s3fs

    client = s3fs.S3FileSystem(**ceph.options, skip_instance_cache=True)
    client.call_s3("create_bucket", Bucket=BUCKET)
    client.close_session(client.loop, client._s3creator)
