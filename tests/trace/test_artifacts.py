"""Artifacts: stored once, gone on with, and checked when they are read."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

import transit
from transit import trace

SMALL = transit.Settings(record_bytes_max=4096)
DATA = random.Random(1867).randbytes(10_000)
LOCAL = f"artifact/{blake3(DATA).hexdigest()}"
NAME = f"$trace/{LOCAL}"


def stored(log: transit.Log) -> list[str]:
    return [stream.name for stream in log.streams("$trace/artifact/")]


def test_an_artifact_is_described_and_comes_back(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.message("user", "x")
    artifact = task.artifact(DATA, kind="patch", content_type="text/x-diff", producer_id="agent")
    assert (artifact.kind, artifact.content_type, artifact.ref) == ("patch", "text/x-diff", NAME)
    assert (artifact.byte_length, artifact.digest) == (10_000, blake3(DATA).hexdigest())
    assert (artifact.producer_id, artifact.subject_ref) == ("agent", "t@0")
    assert artifact.artifact_id
    *_, record = trace.read(log, "t")
    assert record.event == artifact
    assert len(record.payload) < 500
    assert trace.read_artifact(log, artifact) == DATA
    given = task.artifact(DATA, kind="patch", artifact_id="mine", subject="t@0")
    assert (given.artifact_id, given.subject_ref) == ("mine", "t@0")


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8192, 10_000])
def test_artifacts_of_every_size_come_back(path: Path, size: int) -> None:
    with transit.open(path, durability="os", settings=SMALL) as log:
        task = trace.task(log, "t")
        artifact = task.artifact(DATA[:size], kind="k")
        assert trace.read_artifact(log, artifact) == DATA[:size]
        assert len(log.stream(artifact.ref)) == -(-size // 4096)
    with transit.open(path, mode="read") as log:
        assert trace.read_artifact(log, artifact) == DATA[:size]


def test_one_larger_than_a_piece_comes_back_from_a_sealed_store(log: transit.Log) -> None:
    data = random.Random(1).randbytes(2 * 1024 * 1024 + 5)
    artifact = trace.task(log, "t").artifact(memoryview(data), kind="k")
    log.seal()
    assert trace.read_artifact(log, artifact) == data
    assert len(log.stream(artifact.ref)) == 3


def test_the_same_bytes_are_stored_once(log: transit.Log) -> None:
    one, other = trace.task(log, "one"), trace.task(log, "other")
    first = one.artifact(DATA, kind="k")
    count = len(log.stream(first.ref))
    artifacts = [task.artifact(bytearray(DATA), kind="k") for task in (one, other, one)]
    assert {artifact.ref for artifact in artifacts} == {first.ref} == set(stored(log))
    assert len({artifact.artifact_id for artifact in [first, *artifacts]}) == 4
    assert len(log.stream(first.ref)) == count


def test_threads_that_store_the_same_bytes_store_them_once(path: Path) -> None:
    with transit.open(path, durability="os", settings=SMALL) as log:
        task = trace.task(log, "t")
        for n in range(5):
            data = random.Random(n).randbytes(100_000)
            with ThreadPoolExecutor(4) as threads:
                made = [
                    threads.submit(task.artifact, data, kind="k", artifact_id=f"{k}")
                    for k in range(8)
                ]
            refs = {future.result().ref for future in made}
            assert len(refs) == 1
            assert sum(len(record.payload) for record in log.stream(*refs)) == len(data)
            assert trace.read_artifact(log, made[0].result()) == data


@pytest.mark.parametrize("held", [0, 1, 3000, 4096, 8192, 9999])
def test_what_a_writer_that_died_began_is_gone_on_with(path: Path, held: int) -> None:
    with transit.open(path, durability="os", settings=SMALL) as log:
        begun = log.layer("trace").create(LOCAL, {"byte_length": len(DATA)})
        for at in range(0, held, 3000):
            begun.append(DATA[at : min(at + 3000, held)])
        task = trace.task(log, "t")
        lost = trace.Artifact(
            artifact_id="a", kind="k", ref=NAME, content_type="x", byte_length=len(DATA),
            digest=blake3(DATA).hexdigest(),
        )  # fmt: skip
        with pytest.raises(transit.NotFoundError, match=f"{held} of 10000"):
            trace.read_artifact(log, lost)
        artifact = task.artifact(DATA, kind="k")
        assert trace.read_artifact(log, artifact) == trace.read_artifact(log, lost) == DATA
        assert sum(len(record.payload) for record in log.stream(NAME)) == len(DATA)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(bytes([DATA[0] ^ 1]) + DATA[1:], id="one bit"),
        pytest.param(DATA + b"x", id="more"),
        pytest.param(DATA[:-1] + b"\0", id="the end"),
    ],
)
def test_other_bytes_than_the_digest_says_are_refused(
    log: transit.Log, path: Path, content: bytes
) -> None:
    artifact = trace.task(log, "t").artifact(DATA, kind="k")
    with transit.open(path.with_name("copy"), durability="os") as copy:
        copy.layer("trace").create(LOCAL, {"byte_length": len(DATA)}).append(content)
        with pytest.raises(transit.CorruptError, match=LOCAL):
            trace.read_artifact(copy, artifact)


def test_too_few_bytes_where_none_are_missing_are_refused(log: transit.Log, path: Path) -> None:
    artifact = trace.task(log, "t").artifact(DATA, kind="k")
    with transit.open(path.with_name("copy"), durability="os") as copy:
        copy.layer("trace").create(LOCAL).append(DATA[:-1])
        with pytest.raises(transit.CorruptError, match="digest"):
            trace.read_artifact(copy, artifact)


def test_what_is_no_artifact_or_not_there_is_refused(log: transit.Log) -> None:
    with pytest.raises(transit.InvalidInputError):
        trace.read_artifact(log, NAME)  # type: ignore[arg-type]
    artifact = trace.task(log, "t").artifact(b"x", kind="k")
    with pytest.raises(transit.NotFoundError):
        trace.read_artifact(log, msgspec.structs.replace(artifact, ref="$trace/artifact/none"))
