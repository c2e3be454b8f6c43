"""A bucket: of a real server where there is one, else of moto."""

from __future__ import annotations

import pytest

from tests.conftest import Remote


@pytest.fixture(scope="session")
def bucket(request: pytest.FixtureRequest) -> Remote:
    """`(url, storage_options)`."""
    found: Remote
    try:
        found = request.getfixturevalue("ceph_remote")
    except pytest.skip.Exception:
        found = request.getfixturevalue("moto_remote")
    return found
