"""Every request of publish, tiered append, restore and handover fails once, on both sides of it.

Between client and server stands a proxy that loses a request, loses its answer, cuts it, damages it
or answers with an error. Whatever happens, with one writer no caller may be told of a conflict,
nothing acknowledged may be missing from the bucket, and nothing may be there twice.
"""

from __future__ import annotations

import random
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import transit
from rigs.faults.proxy import Fault, FaultProxy
from transit.store import ObjectStore, Traffic, open_store

from .conftest import Contents, contents, write_history

FAULTS: tuple[Fault, ...] = (
    "lost_before", "lost_after", "half_request", "truncate", "status_500", "status_409", "flip",
)  # fmt: skip
RANDOM_RUNS = 120
SETTINGS = transit.Settings(remote_timeout_s=20)


class Under:
    """The part of a store whose keys start with a prefix of their own."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    @property
    def traffic(self) -> Traffic:
        return self._store.traffic

    @property
    def url(self) -> str:
        return f"{self._store.url}/{self._prefix}"

    @property
    def refuses_damage(self) -> bool:
        return self._store.refuses_damage

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}"

    def get(self, key: str, bytes_max: int) -> bytes | None:
        return self._store.get(self._key(key), bytes_max)

    def get_range(self, key: str, position: int, size: int) -> bytes:
        return self._store.get_range(self._key(key), position, size)

    def size(self, key: str) -> int | None:
        return self._store.size(self._key(key))

    def put(self, key: str, data: bytes) -> None:
        self._store.put(self._key(key), data)

    def create(self, key: str, data: bytes) -> None:
        self._store.create(self._key(key), data)

    def delete(self, key: str) -> None:
        self._store.delete(self._key(key))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        for key, size in self._store.list(self._key(prefix)):
            yield key.removeprefix(f"{self._prefix}/"), size

    def close(self) -> None:
        pass


class Rig(NamedTuple):
    """A server behind a proxy, and a finished store to publish or restore."""

    proxy: FaultProxy
    through: ObjectStore
    direct: ObjectStore
    local: Path
    wanted: Contents
    published: str

    def fresh(self) -> tuple[Under, Under]:
        """A new place in the bucket: as seen through the proxy, and directly."""
        prefix = uuid.uuid4().hex
        return Under(self.through, prefix), Under(self.direct, prefix)


@pytest.fixture(scope="module")
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    url, options = request.getfixturevalue(f"{request.param}_remote")
    port = int(str(options["endpoint_url"]).rpartition(":")[2])
    local = tmp_path_factory.mktemp("faults") / "local"
    with transit.open(local, durability="os") as log:
        write_history(log, 2)
        wanted = contents(log)
    with FaultProxy(port) as proxy:
        through = open_store(url, {**options, "endpoint_url": proxy.url}, 20.0)
        direct = open_store(url, options, 20.0)
        # Found out once, and not part of the runs.
        assert through.refuses_damage == direct.refuses_damage
        prefix = uuid.uuid4().hex
        copy = local.with_name("published")
        shutil.copytree(local, copy)
        with transit.open(copy, remote=Under(direct, prefix), durability="os") as log:
            log.publish()
        yield Rig(proxy, through, direct, local, wanted, prefix)
        through.close()
        direct.close()


def publish(rig: Rig, path: Path) -> None:
    through, direct = rig.fresh()
    shutil.copytree(rig.local, path / "a")
    with transit.open(path / "a", remote=through, durability="os", settings=SETTINGS) as log:
        log.publish()
        status = log.status()
    assert status.published == status.commits
    assert restored(direct, path) == rig.wanted


def tiered(rig: Rig, path: Path) -> None:
    through, direct = rig.fresh()
    with transit.open(path / "a", remote=through, durability="os", settings=SETTINGS) as log:
        stream = log.create("s")
        for n in range(2):
            assert stream.append(b"%d" % n, durability="tiered").durability == "tiered"
    assert [r[1] for r in restored(direct, path)["s"]] == [b"0", b"1"]


def restore(rig: Rig, path: Path) -> None:
    result = transit.restore(Under(rig.through, rig.published), path / "r", settings=SETTINGS)
    with transit.open(path / "r", mode="read") as log:
        assert contents(log) == rig.wanted
        assert log.status().head == result.root
    with transit.open(
        path / "r", mode="read", remote=Under(rig.through, rig.published), settings=SETTINGS
    ) as log:
        assert log.refresh() == 0


def handover(rig: Rig, path: Path) -> None:
    through, direct = rig.fresh()
    epochs = []
    for n, name in enumerate("ab"):
        with transit.open(path / name, remote=through, durability="os", settings=SETTINGS) as log:
            stream = log.stream("s") if n else log.create("s")
            assert [r.payload for r in stream.read()] == [b"a"][:n]
            stream.append(name.encode(), durability="tiered")
            epochs.append(log.status().epoch)
            log.release()
    assert epochs == sorted(set(epochs))
    assert [r[1] for r in restored(direct, path)["s"]] == [b"a", b"b"]


def restored(direct: Under, path: Path) -> Contents:
    """What the bucket alone says, read past the proxy; its commits and segments counted."""
    result = transit.restore(direct, path / "check")
    commits = [key for key, _ in direct.list("commits/")]
    assert len(commits) == result.commits
    assert len(list(direct.list("segments/"))) == result.segments
    with transit.open(path / "check", mode="read") as log:
        report = log.verify()
        assert report.ok, report.findings
        return contents(log)


JOBS: dict[str, Callable[[Rig, Path], None]] = {
    "publish": publish, "tiered": tiered, "restore": restore, "handover": handover,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("rig", ["ceph"], indirect=True)
def test_any_one_request_may_fail(rig: Rig, tmp_path: Path, job: str, fault: Fault) -> None:
    rig.proxy.clear()
    JOBS[job](rig, tmp_path / "whole")
    count = rig.proxy.count
    assert count >= 8
    for number in range(count):
        rig.proxy.clear()
        rig.proxy.fail(number + 1, fault)
        try:
            JOBS[job](rig, tmp_path / str(number))
        except BaseException as error:
            error.add_note(f"{job}, {fault} at request {number} of {count}")
            raise
        shutil.rmtree(tmp_path / str(number))


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("rig", ["moto", "ceph"], indirect=True)
def test_any_requests_may_fail(rig: Rig, tmp_path: Path, job: str) -> None:
    seed = random.randrange(2**32)
    for run in range(RANDOM_RUNS // len(JOBS)):
        chance = random.Random(f"{seed} {run}")

        def rule(
            number: int, method: str, path: str, chance: random.Random = chance
        ) -> Fault | None:
            return chance.choice(FAULTS) if chance.random() < 0.1 else None

        rig.proxy.clear()
        rig.proxy.follow(rule)
        try:
            JOBS[job](rig, tmp_path / str(run))
        except (transit.RemoteUnavailableError, transit.OutcomeUnknownError):
            # Told that it is not known: allowed, if rare. A conflict or damage is not.
            pass
        except BaseException as error:
            error.add_note(f"{job}, seed {seed}, run {run}")
            raise
        finally:
            rig.proxy.clear()
        shutil.rmtree(tmp_path / str(run), ignore_errors=True)
