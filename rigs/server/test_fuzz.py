"""Many requests made from the description of the routes, to a store that goes on all the while."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

import transit
from tests.server.api.describing import Fuzz, seed

pytestmark = pytest.mark.slow
EXAMPLES = 60
SEQUENCES = 20
PATHS = [
    "/v1/frames", "/v1/records", "/v1/streams", "/v1/cursors", "/v1/lineage", "/v1/plan",
    "/v1/s", "/v1/verify", "/v1/publish", "/v1/views", "/v1/reconcilers",
]  # fmt: skip


@pytest.mark.parametrize("paths", PATHS)
@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_no_request_made_from_the_description_is_answered_by_500(
    tmp_path: Path, mode: str, paths: str
) -> None:
    path = tmp_path / "store"
    with transit.open(path, durability="os") as log:
        seed(log)
    with transit.open(path, durability="os", mode=mode) as log:
        with closing(Fuzz(log)) as fuzz:
            fuzz.check(EXAMPLES, paths)
        assert log.verify().ok


def test_no_sequence_of_requests_is_answered_by_500(tmp_path: Path) -> None:
    with transit.open(tmp_path / "store", durability="os") as log:
        seed(log)
        with closing(Fuzz(log)) as fuzz:
            fuzz.check_sequences(SEQUENCES)
        assert log.verify().ok
