"""The seed of what a test run draws at random."""

from __future__ import annotations

import os
import random


def run_seed() -> int:
    """`TRANSIT_SEED`, or a number that all processes of this test run share, another each run.

    pytest-xdist wants every process to find the same tests, those that are drawn too.
    """
    given = os.environ.get("TRANSIT_SEED")
    if given:
        return int(given)
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    return int(run[:8], 16) if run else random.randrange(2**32)
