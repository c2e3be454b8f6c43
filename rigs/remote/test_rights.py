"""Every job with no more rights than it needs, and with rights taken away in its middle."""

from __future__ import annotations

import random

import pytest

from rigs.faults.remote import JOBS, Rig, least, until
from rigs.faults.remote_jobs import Job
from transit.store.s3 import S3Store

from .conftest import seed

# Requests after which rights go, for each job.
MOMENTS = 4


def broken(rig: Rig, jobs: tuple[Job, ...] = JOBS) -> list[str]:
    """What is wrong of jobs that may get and put alone."""
    found = ((job.name, rig.run_with(job, least)) for job in jobs)
    return [f"{name}: {wrong}" for name, wrong in found if wrong]


def test_every_job_works_for_who_may_get_and_put_alone(rig: Rig) -> None:
    assert broken(rig) == []


def test_rights_taken_away_at_any_request_lose_and_invent_nothing(rig: Rig) -> None:
    chance = random.Random(seed())
    found = []
    for job in JOBS:
        count = len(rig.traffic(job)[0])
        for request in sorted(chance.sample(range(1, count + 1), min(MOMENTS, count))):
            wrong = rig.run_with(job, until(request))
            if wrong:
                found.append(f"{job.name}, rights gone at {request}: {wrong}")
    assert found == []


@pytest.mark.parametrize("answer", [True, False])
def test_bug_on_purpose_is_found(rig: Rig, answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Denied always taken for absent, or never."""
    monkeypatch.setattr(S3Store, "_is_absent", lambda *_: answer)
    if not answer:
        assert broken(rig)
        return
    chance = random.Random(seed())
    wrong = []
    for job in JOBS:
        count = len(rig.traffic(job)[0])
        moments = chance.sample(range(1, count + 1), min(4 * MOMENTS, count))
        wrong += [rig.run_with(job, until(request)) for request in moments]
    assert any(wrong)
