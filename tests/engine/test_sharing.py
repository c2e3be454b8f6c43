"""Two handles in mode "shared" on one folder: what each makes of what the other wrote and sealed.

A handle's sealing thread takes up commits whenever it likes. Here it does so at the worst moment:
when the other handle has sealed WAL files that this one has not read to their ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import transit

Pair = tuple[transit.Log, transit.Log]
SETTINGS = transit.Settings(seal_bytes=64 * 1024)


@pytest.fixture
def pair(path: Path) -> Iterator[Pair]:
    """Two handles on a store with stream `s`, which both know."""
    with (
        transit.open(path, mode="shared", durability="os", settings=SETTINGS) as one,
        transit.open(path, mode="shared", durability="os", settings=SETTINGS) as other,
    ):
        one.create("s").append(b"0")
        assert len(other.stream("s")) == 1
        yield one, other


def take_up_commits(log: transit.Log) -> None:
    """What its sealing thread does, whatever woke it."""
    log._handle.sealer.seal_ended()


@pytest.mark.parametrize("look", ["length", "last", "read", "append", "branch"])
def test_what_another_handle_wrote_and_sealed_is_seen_when_its_commits_were_taken_up_first(
    pair: Pair, look: str
) -> None:
    one, other = pair
    # Held, as a program does that goes on using it.
    stream = other.stream("s")
    for payload in (b"1", b"2"):
        one.stream("s").append(payload)
        one.seal()
    take_up_commits(other)
    match look:
        case "length":
            assert len(stream) == 3
        case "last":
            assert stream[-1].payload == b"2"
        case "read":
            assert [record.payload for record in stream] == [b"0", b"1", b"2"]
        case "append":
            # A stale end would be written to.
            assert stream[-1].payload
            assert stream.append(b"3").offset == 3
            assert [record.payload for record in one.stream("s")] == [b"0", b"1", b"2", b"3"]
        case "branch":
            assert [record.payload for record in stream.branch("b")] == [b"0", b"1", b"2"]
    assert one.verify().ok


@pytest.mark.parametrize("fills", [False, True], ids=["ended to be sealed", "full"])
def test_a_record_submitted_to_a_file_that_another_handle_sealed_is_durable(
    pair: Pair, fills: bool
) -> None:
    one, other = pair
    # Until then its flushing thread waits.
    with other._handle.writer.lock:
        future = other.stream("s").submit(b"1", durability="local")
        if fills:
            # No sync comes before the end of a file that is full.
            one.stream("s").append_many([bytes(SETTINGS.seal_bytes)] * 2, durability="os")
            one.stream("s").append(b"2", durability="os")
        one.seal()
        take_up_commits(other)
    assert future.result(timeout=60).offset == 1
