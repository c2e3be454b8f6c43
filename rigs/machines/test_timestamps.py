"""The times the engine gives to records, beside those it is given."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import transit
from rigs.machines.machine import MEMORY_DISK
from rigs.machines.values import SMALL, timestamps


@settings(max_examples=50, deadline=None, derandomize=True)
@given(given_times=st.lists(st.lists(st.one_of(st.none(), timestamps), max_size=8), max_size=3))
def test_timestamps_the_engine_assigns_never_decrease(
    given_times: list[list[int | None]],
) -> None:
    path = Path(tempfile.mkdtemp(prefix="transit-", dir=MEMORY_DISK))
    try:
        with transit.open(path / "store", durability="os", settings=SMALL) as log:
            stream = log.create("root")
            before = 0
            for number, times in enumerate(given_times):
                for asked in times:
                    receipt = stream.append(b"", timestamp=asked)
                    assert receipt.timestamp == stream[-1].timestamp
                    if asked is not None:
                        assert receipt.timestamp == asked
                    else:
                        assert before <= receipt.timestamp <= time.time_ns()
                        before = receipt.timestamp
                        assert stream[-1].written == receipt.timestamp
                stream = stream.branch(f"branch {number}")
    finally:
        shutil.rmtree(path)
