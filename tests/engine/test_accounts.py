"""Records that tell of the frame they are in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import transit
from transit import ConflictError, InvalidInputError, TransitError
from transit.engine.batch import Account


def account(appended: Sequence[tuple[str, int, int]], made: Sequence[str]) -> bytes:
    return json.dumps([appended, made]).encode()


def test_an_account_tells_of_all_that_came_before_it_in_its_frame(tmp_path: Path) -> None:
    with transit.open(tmp_path / "store") as log:
        log.create("a").append(b"0")
        ledger = log.create("ledger")
        with log.batch() as batch:
            batch.append("a", b"1", timestamp=2**62)
            made = batch.create("b")
            batch.append(made, b"2", timestamp=5)
            batch.append_account(ledger, account, expect=0)
            batch.append("a", b"3")
            batch.create("c")
        assert [receipt.stream for receipt in batch.receipts] == ["a", "b", "a"]
        appended, uids = json.loads(ledger[0].payload)
        assert appended == [["a", 1, 2**62], ["b", 0, 5]]
        assert uids == [log.stream("b").uid]


def test_an_account_of_a_merge_is_of_what_was_written(tmp_path: Path) -> None:
    def order(parts: tuple[tuple[transit.Record, ...], ...], _: object) -> list[transit.Record]:
        # A policy is worked out before the frame's turn: the work is staged twice.
        return [record for part in parts for record in part]

    transit.register_policy("in-turn", order)
    with transit.open(tmp_path / "store") as log:
        log.create("a").append(b"0")
        log.create("b").append(b"1")
        with log.batch() as batch:
            merged = batch.merge("m", ["a", "b"], policy="custom:in-turn")
            batch.append(merged, b"2", timestamp=7)
            batch.append_account(batch.create("ledger"), account)
        appended, uids = json.loads(log.stream("ledger")[0].payload)
        assert appended == [["m", 2, 7]]
        assert uids == [merged.stream.uid, log.stream("ledger").uid]


BAD: list[tuple[Account, int | None, type[TransitError]]] = [
    (account, 0, ConflictError),
    (lambda *_: b"x" * 65, None, InvalidInputError),
    (lambda *_: "text", None, InvalidInputError),  # type: ignore[arg-type, return-value]
]


@pytest.mark.parametrize(("make", "expect", "error"), BAD)
def test_a_frame_whose_account_cannot_be_written_is_not_written(
    tmp_path: Path, make: Account, expect: int | None, error: type[TransitError]
) -> None:
    settings = transit.Settings(record_bytes_max=64)
    with transit.open(tmp_path / "store", settings=settings) as log:
        ledger = log.create("ledger")

        def write() -> None:
            with log.batch() as batch:
                batch.append(ledger, b"1")
                batch.append_account(ledger, make, expect=expect)

        with pytest.raises(error):
            write()
        assert len(ledger) == 0
