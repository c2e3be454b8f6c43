"""Recordings, or the reason why there are none on this machine."""

from __future__ import annotations

import os

import pytest

from rigs.crash import recording_fs


@pytest.fixture(autouse=True, scope="session")
def _can_record() -> None:
    reason = recording_fs.why_unavailable()
    if reason and "CI" in os.environ:
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
