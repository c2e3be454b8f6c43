"""Many requests made from the description of the routes, to a store that goes on all the while."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from tests.server.api.describing import Fuzz, seed

pytestmark = pytest.mark.slow
EXAMPLES = 200
SEQUENCES = 60


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_no_request_made_from_the_description_is_answered_by_500(tmp_path: Path, mode: str) -> None:
    with transit.open(tmp_path / "store", durability="os", mode=mode) as log:
        seed(log)
        Fuzz(log).check(EXAMPLES)
        assert log.verify().ok


def test_no_request_to_a_store_open_for_reading_is_answered_by_500(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with transit.open(path) as log:
        seed(log)
    with transit.open(path, mode="read") as log:
        Fuzz(log).check(EXAMPLES // 4)


def test_no_sequence_of_requests_is_answered_by_500(tmp_path: Path) -> None:
    with transit.open(tmp_path / "store", durability="os") as log:
        seed(log)
        Fuzz(log).check_sequences(SEQUENCES)
        assert log.verify().ok
