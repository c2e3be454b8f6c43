"""Every fault at every remote call: the first, the n-th, all of them, and an outage from one on."""

from __future__ import annotations

import ast
import contextlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import transit
from rigs.faults.remote import JOBS, Case, Request, Rig, matrix, one_job_each
from transit.errors import AlreadyExistsError, RemoteUnavailableError
from transit.handle.tiering import Tiering
from transit.store import ObjectStore, s3
from transit.tier import remote as remote_module
from transit.tier.locating import own_commit
from transit.tier.publish import Publisher
from transit.tier.remote import Remote

from .conftest import seed

SOURCE = Path(transit.__file__).parent
OPERATIONS = {"get", "get_range", "size", "put", "create", "delete", "list"}

# Every kind of request that transit makes. A new one is added here once it is known that the
# matrix has it; the kinds that stand here are those which are really seen.
KINDS = {
    "get FORMAT", "create FORMAT", "get HEAD", "put HEAD",
    "create probes", "put probes", "get probes",
    "get commits", "create commits", "size commits", "list commits",
    "put segments", "size segments", "range segments", "get segments", "list segments",
    "put index", "size index", "range index", "get index", "list index", "list wal",
    "size wal", "get checkpoint", "list checkpoints", "list redacted",
}  # fmt: skip
PARTS = 4

Traffic = dict[str, Sequence[Request]]


@pytest.fixture(scope="module")
def traffic(rig: Rig) -> Traffic:
    return {job.name: rig.traffic(job)[0] for job in JOBS}


def broken(rig: Rig, cases: Sequence[Case]) -> list[str]:
    found = ((case, rig.run(case)) for case in cases)
    return [f"{case}: {wrong}" for case, wrong in found if wrong]


@pytest.mark.parametrize("part", range(PARTS))
def test_any_fault_at_any_remote_call_loses_doubles_and_invents_nothing(
    rig: Rig, traffic: Traffic, part: int
) -> None:
    chance = random.Random(seed())
    cases = one_job_each(list(matrix(traffic, chance)), chance)
    assert {case.moment for case in cases} == {"first", "nth", "always", "outage"}
    assert broken(rig, cases[part::PARTS]) == []


def test_the_matrix_has_every_kind_of_request(traffic: Traffic) -> None:
    seen = {request.kind for sent in traffic.values() for request in sent}
    assert seen == KINDS


def callers() -> set[str]:
    """Every function of the engine that calls an object store, from the source."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        # The command tries out a remote that the user names, by the public `ObjectStore`.
        # What times requests passes on those of others.
        if parts[0] in ("store", "testing", "cli") or parts == ("tier", "timed"):
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and any(map(asks_a_store, ast.walk(function))):
                found.add(f"transit.{'.'.join(parts)}:{function.name}")
    return found


def asks_a_store(node: ast.AST) -> bool:
    """Whether this is `store.get` or the like, called or handed on."""
    if not isinstance(node, ast.Attribute) or node.attr not in OPERATIONS:
        return False
    owner = node.value
    name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    return name in ("store", "_store")


def test_the_matrix_has_every_function_that_calls_a_store(rig: Rig) -> None:
    seen = {call.caller for job in JOBS for call in rig.traffic(job)[1]}
    expected = callers()
    assert len(expected) >= 15
    assert expected - seen == SEEN_OTHERWISE


# What is signed is put and read with faults of its own: tests/evidence/test_attacks_writers.py (cut
# short, lost answers, two writers) and test_requests.py (gone, lying, of another history).
CHECKPOINTS = {
    f"transit.tier.checkpoints:{name}"
    for name in ("put", "_put", "_put_note", "read", "_bundle", "fetch_tile")
}
# Each request of an erasure fails in tests/tier/test_erasing.py, before and after it was carried
# out, and what is left of segments is read there and in rigs/hostile; what `gc` looks for is in
# tests/engine/test_retaining.py.
ERASURES = {
    "transit.tier.erase:_has",
    "transit.tier.erase:put_left",
    "transit.tier.fetch:remote_bytes",
    "transit.tier.restore:fetch_left",
    "transit.auditor.bodies:_left",
    "transit.auditor.bodies:_left_of_large",
    "transit.engine.collecting:_there",
}
# Two ask by a function inside them, which is seen, and one hands its request to a thread. A piece
# is read by one request of its own, where no store is open: `tests/engine/test_pieces.py`.
# Each request of a fleet fails in tests/fleet/test_faults.py, before and after it was carried out.
FLEETS = {
    "transit.fleet.keeping:make_once",
    "transit.fleet.keeping:read",
    "transit.fleet.members:listed",
    "transit.fleet.snapshots:_read",
    "transit.fleet.snapshots:numbers",
    "transit.fleet.snapshots:write",
}
# Each request of a copy fails in tests/tier/test_copying_steps.py, before and after it was carried
# out.
COPIES = {
    "transit.engine.copying:_listed",
    "transit.tier.carrying:_free",
    "transit.tier.carrying:_has_left",
    "transit.tier.carrying:_is_there",
    "transit.tier.carrying:_pieces",
    "transit.tier.carrying:_put",
    "transit.tier.carrying:_read_left",
    "transit.tier.carrying:bring",
    "transit.tier.carrying:look",
    "transit.tier.carrying:replace",
    "transit.tier.copying:count_commits",
    "transit.tier.copying:is_absent",
}
# Each request of a standby and of a takeover fails in tests/tier/test_standby.py and
# test_takeover.py, before and after it was carried out.
STANDBYS = {
    "transit.tier.catching_up:_is_gone",
    "transit.tier.fence:_bring",
}
SEEN_OTHERWISE = {
    "transit.engine.pieces:_sealed_chunks",
    "transit.tier.probe:_probe",
    "transit.tier.retain:evict",
    "transit.tier.restore:_copy",
    *CHECKPOINTS,
    *COPIES,
    *ERASURES,
    *FLEETS,
    *STANDBYS,
}


# Bugs on purpose, which the matrix must find


def fences_itself(patch: pytest.MonkeyPatch) -> None:
    def locate(publisher: Publisher) -> None:
        real(publisher)
        other = publisher.remote.checked_commit(publisher.published - 1)
        if other is not None and publisher.published == publisher._chain.count > 1:
            publisher._fence(publisher.published - 1, other[1])

    real = Publisher.locate
    patch.setattr(Publisher, "locate", locate)


def lost_answer_is_a_conflict(patch: pytest.MonkeyPatch) -> None:
    def hasty(store: ObjectStore, key: str, data: bytes, *_: object) -> bytes | None:
        try:
            store.create(key, data)
        except AlreadyExistsError:
            return data
        return None

    patch.setattr(remote_module, "put_if_absent", hasty)


def conflict_is_success(patch: pytest.MonkeyPatch) -> None:
    def hasty(store: ObjectStore, key: str, data: bytes, *_: object) -> bytes | None:
        with contextlib.suppress(AlreadyExistsError):
            store.create(key, data)
        return None

    patch.setattr(remote_module, "put_if_absent", hasty)


def no_answer_is_success(patch: pytest.MonkeyPatch) -> None:
    def hasty(store: ObjectStore, key: str, data: bytes, *_: object) -> bytes | None:
        with contextlib.suppress(RemoteUnavailableError):
            store.create(key, data)
        return None

    patch.setattr(remote_module, "put_if_absent", hasty)


def commit_before_segments(patch: pytest.MonkeyPatch) -> None:
    def start(publisher: Publisher, pool: object, number: int, meter: object) -> object:
        publisher.remote.create_commit(number, own_commit(publisher._catalog, number)[0])
        return real(publisher, pool, number, meter)  # type: ignore[arg-type]

    real = Publisher._start
    patch.setattr(Publisher, "_start", start)


def tiered_without_publishing(patch: pytest.MonkeyPatch) -> None:
    def reach(tiering: Tiering, lsn: int) -> None:
        try:
            real(tiering, lsn)
        except transit.TransitError:
            return

    real = Tiering.reach
    patch.setattr(Tiering, "reach", reach)


def head_is_believed(patch: pytest.MonkeyPatch) -> None:
    def locate(publisher: Publisher) -> None:
        head = publisher.remote.head(publisher._catalog.store_id)
        publisher._reached(min(head.number + 1, publisher._chain.count) if head else 0)

    patch.setattr(Publisher, "locate", locate)


def outage_is_for_good(patch: pytest.MonkeyPatch) -> None:
    def go_on(tiering: Tiering, report: object) -> None:
        if tiering.error is not None:
            raise tiering.error
        real(tiering, report)  # type: ignore[arg-type]

    real = Tiering._round
    patch.setattr(Tiering, "_round", go_on)


def untyped_error(patch: pytest.MonkeyPatch) -> None:
    def whole(remote: Remote, key: str, name: str, size: int) -> bytes:
        try:
            return real(remote, key, name, size)
        except RemoteUnavailableError as error:
            raise ValueError(str(error)) from error

    real = Remote.whole
    patch.setattr(Remote, "whole", whole)


def waits_twice_as_long(patch: pytest.MonkeyPatch) -> None:
    def persist(attempt: Callable[[float], object], timeout_s: float) -> object:
        return real(attempt, 2 * timeout_s)

    real = s3.persist
    patch.setattr(s3, "persist", persist)


PLANTS = (
    fences_itself, lost_answer_is_a_conflict, conflict_is_success, no_answer_is_success,
    commit_before_segments, tiered_without_publishing, head_is_believed, outage_is_for_good,
    untyped_error, waits_twice_as_long,
)  # fmt: skip
SAMPLE = 400


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_bug_on_purpose_is_found(
    rig: Rig, traffic: Traffic, plant: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plant(monkeypatch)
    chance = random.Random(seed())
    cases = one_job_each(list(matrix(traffic, chance)), chance)
    chance.shuffle(cases)
    assert any(rig.run(case) for case in cases[:SAMPLE])
