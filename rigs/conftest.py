"""Rigs use the places, child processes and servers of the tests."""

from tests.conftest import (  # noqa: F401
    ceph_remote,
    ignoring_remote,
    moto_remote,
    path,
    poor,
    start,
)
