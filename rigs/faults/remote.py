"""Every fault at every remote call: the first one of its kind, the n-th, all of them, an outage.

Owns the matrix, which is made from what the jobs of `rigs.faults.remote_jobs` really
send, and the judgement of each case. With one writer, whatever fails:

    no caller is told of a conflict
    every error is one of transit's, and of a class that the fault may cause
    every call of the store ends within its deadline
    what was acknowledged as "tiered" is in the bucket at that moment
    with the cause gone the same handle publishes on
    then bucket and program agree about every record: none lost, none twice, none invented
    no commit is ever replaced, and none is there before what it names
"""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import transit
from rigs.faults.remote_jobs import (
    JOBS,
    SETTINGS,
    TIMEOUT_S,
    Call,
    Job,
    Prepared,
    Session,
    contents,
    prepare,
)
from rigs.faults.simulated_s3 import Bucket, Request, Rule, faults_of
from rigs.faults.virtual_time import VirtualClock

MOMENTS: Final = ("first", "nth", "always", "outage")
_LONG: Final = ("always", "outage")
_MEMORY: Final = Path("/dev/shm")
_BY_NAME: Final = {job.name: job for job in JOBS}

# What a program may be told whatever fails, and what else some faults may cause.
_ALWAYS: Final = (transit.RemoteUnavailableError, transit.OutcomeUnknownError)
_DAMAGE: Final = (transit.FormatError, transit.InvalidInputError)
_MAY_CAUSE: Final[dict[str, tuple[type[transit.TransitError], ...]]] = {
    "denied_403": (transit.StorePermissionError,),
    "no_bucket_404": (transit.NotFoundError, transit.CorruptError),
    "absent_404": (transit.NotFoundError, transit.CorruptError),
    "flipped": _DAMAGE,
    "shortened": _DAMAGE,
    "kept_damaged": _DAMAGE,
}
# And what they may cause only when they last.
_LASTING: Final[dict[str, tuple[type[transit.TransitError], ...]]] = {
    "absent_404": (transit.UnsuitableRemoteError,),
    "exists_412": (transit.UnsuitableRemoteError,),
}
# The rights by their names in policies; with these two everything works.
GET, PUT = "s3:GetObject", "s3:PutObject"
# No job makes as many requests.
_NEVER_SENT: Final = 2**40
_NEVER: Final = (transit.FencedError, transit.ConflictError, transit.AlreadyExistsError)


class Case(NamedTuple):
    """One case: what is done to requests of one kind, and to which, counted from 0 up to `stop`."""

    job: str
    kind: str
    fault: str
    moment: str
    start: int
    stop: int | None

    def __str__(self) -> str:
        until = "" if self.stop is None else f":{self.stop}"
        return f"{self.job}, {self.fault} at {self.kind!r} [{self.start}{until}] ({self.moment})"


class Rig:
    """Runs cases below one folder; not safe for threads."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        self._folder = folder
        self._count = 0
        with self.clock.installed():
            self._prepared = prepare(folder / "prepared", self.clock)

    def session(self, job: Job, *, checks_md5: bool = True) -> Session:
        """A folder and a bucket in which `job` begins."""
        self._count += 1
        folder = self._folder / str(self._count)
        session = Session(folder, Bucket(checks_md5=checks_md5), self.clock)
        folder.mkdir()
        if not job.fresh:
            self._fill(session, self._prepared)
        return session

    @staticmethod
    def _fill(session: Session, prepared: Prepared) -> None:
        for name in "ab":
            shutil.copytree(prepared.folder / name, session.folder / name)
        session.bucket.objects.update(prepared.objects)
        session.written = {name: [*payloads] for name, payloads in prepared.written.items()}

    def traffic(self, job: Job) -> tuple[list[Request], list[Call]]:
        """What the job sends while it acts, and which calls that were, when nothing fails."""
        with self.clock.installed():
            session = self.session(job)
            try:
                job.before(session)
                job.act(session)
                sent = list(session.server.seen)
                job.settle(session)
            finally:
                session.close()
        told = [error for _, error in session.errors]
        if told and not (job.fences or job.damaged):
            raise told[0]
        return sent, session.store.calls

    def run(self, case: Case) -> str | None:
        """What is wrong in this case; None when nothing is."""
        job = _BY_NAME[case.job]
        with self.clock.installed():
            session = self.session(job, checks_md5=case.fault != "kept_damaged")
            try:
                return self._judged(session, job, case)
            finally:
                session.follow(None)
                session.close()
                shutil.rmtree(session.folder)

    def run_with(self, job: Job, rights: Callable[[int, str], bool]) -> str | None:
        """What is wrong when the client has only these rights at the n-th request; None: nothing.

        Absent objects are refused, as S3 does it to a client that may not list.
        """
        count = itertools.count()
        case = Case(job.name, "any", "denied_403", "outage", 0, None)
        with self.clock.installed():
            session = self.session(job)
            try:
                job.before(session)
                session.server.allows = lambda right, _key: rights(next(count), right)
                job.act(session)
                session.server.allows = None
                wrong = _wrongly_told(session, case, job) or _too_slow(session)
                wrong = wrong or _settled(session, job)
                if wrong is None and not job.damaged:
                    wrong = _compared(session)
                # Rights that last to the end refuse nothing.
                lasting = rights(_NEVER_SENT, GET) and not (job.fences or job.damaged)
                if wrong is None and lasting and session.errors:
                    wrong = f"refused: {session.errors[0][1]!r}"
                return wrong or next(iter(session.bucket.broken), None)
            finally:
                session.server.allows = None
                session.close()
                shutil.rmtree(session.folder)

    def _judged(self, session: Session, job: Job, case: Case) -> str | None:
        try:
            job.before(session)
        except transit.TransitError as error:
            return f"before anything failed: {error!r}"
        session.follow(rule_of(case))
        job.act(session)
        session.follow(None)
        wrong = _wrongly_told(session, case, job) or _too_slow(session)
        if wrong is None and _is_misled(case):
            wrong = _settled(session, job, transit.FencedError)
        elif wrong is None and not _is_stuck(session, case):
            wrong = _settled(session, job)
            if wrong is None and not job.damaged:
                wrong = _compared(session)
        return wrong or next(iter(session.bucket.broken), None)


def least(_number: int, right: str) -> bool:
    """The rights that everything works with, to the end."""
    return right in (GET, PUT)


def until(request: int) -> Callable[[int, str], bool]:
    """The same, as long as fewer than `request` requests were made."""
    return lambda number, right: least(number, right) and number < request


def rule_of(case: Case) -> Rule:
    """The rule by which requests fail as `case` says."""
    seen = Counter[str]()
    fault = "flipped_upload" if case.fault == "kept_damaged" else case.fault

    def rule(request: Request) -> str | None:
        number = seen[request.kind]
        seen[request.kind] += 1
        hit = number >= case.start and (case.stop is None or number < case.stop)
        return fault if request.kind == case.kind and hit else None

    return rule


# Judging


def _wrongly_told(session: Session, case: Case, job: Job) -> str | None:
    """The first error that a program may not get from this fault."""
    allowed = (*_ALWAYS, *_MAY_CAUSE.get(case.fault, ()))
    if case.moment in _LONG:
        allowed = (*allowed, *_LASTING.get(case.fault, ()))
    if job.fences:
        # There is another writer: being told of it is right.
        allowed = (*allowed, transit.FencedError)
    if job.damaged:
        allowed = (*allowed, transit.CorruptError)
    for name, error in session.errors:
        if not job.fences and isinstance(error, _NEVER):
            return f"{name}: told of a conflict that is none: {error!r}"
        if not isinstance(error, allowed):
            return f"{name}: {error!r}"
    return None


def _too_slow(session: Session) -> str | None:
    for call in session.store.calls:
        if call.seconds > TIMEOUT_S + 1e-6:
            return f"{call.kind} from {call.caller} took {call.seconds} of {TIMEOUT_S} seconds"
    return None


def _is_stuck(session: Session, case: Case) -> bool:
    """Whether a commit lies damaged in a server that does not check what it is sent.

    Its name is taken for good: that is said as `CorruptError`, and no writer overwrites it.
    """
    return case.fault == "kept_damaged" and any(
        isinstance(error, transit.FormatError) for _, error in session.errors
    )


def _is_misled(case: Case) -> bool:
    """Whether an empty folder was told all the time that there is no history, and begins one.

    With the truth it is fenced off, and nothing was overwritten.
    """
    return case.moment in _LONG and (case.job, case.kind, case.fault) == (
        "handover",
        "get commits",
        "absent_404",
    )


def _settled(session: Session, job: Job, *allowed: type[transit.TransitError]) -> str | None:
    try:
        job.settle(session)
    except allowed:
        return None
    except Exception as error:
        return f"with the cause gone: {error!r}, after {session.errors}"
    return None


def _compared(session: Session) -> str | None:
    try:
        return _differs(session)
    except transit.TransitError as error:
        return f"what is in the bucket cannot be restored: {error!r}"


def _differs(session: Session) -> str | None:
    """How bucket, readers and program disagree."""
    for read in [*session.read[-1:], _restored(session)]:
        wrong = _compare(read, session.written)
        if wrong:
            return wrong
    for read in session.read[:-1]:
        for name, payloads in read.items():
            if payloads != session.written.get(name, [])[: len(payloads)]:
                return f"{name}: what was read is not what was written"
    if session.unpublished:
        return f"acknowledged as published, and not there: {session.unpublished}"
    return None


def _compare(found: dict[str, list[bytes]], written: dict[str, list[bytes]]) -> str | None:
    for name, payloads in written.items():
        if found.get(name) != payloads:
            there = len(found.get(name, []))
            return f"{name}: {len(payloads)} records were written, {there} are there"
    return None


def _restored(session: Session) -> dict[str, list[bytes]]:
    """What the bucket says by itself; a restore checks every link and every digest."""
    transit.restore(session.direct, session.folder / "check", settings=SETTINGS)
    with transit.open(session.folder / "check", mode="read") as log:
        return contents(log)


# The matrix


def matrix(traffic: Mapping[str, Sequence[Request]], chance: random.Random) -> Iterator[Case]:
    """Every fault of every kind of request that each job sends, at every moment."""
    for job, sent in traffic.items():
        for kind, count in sorted(Counter(request.kind for request in sent).items()):
            for fault in faults_of(kind.split(" ")[0]):
                yield Case(job, kind, fault, "first", 0, 1)
                yield Case(job, kind, fault, "always", 0, None)
                if count > 1:
                    nth = chance.randrange(1, count)
                    yield Case(job, kind, fault, "nth", nth, nth + 1)
                    yield Case(job, kind, fault, "outage", nth, None)


def one_job_each(cases: Sequence[Case], chance: random.Random) -> list[Case]:
    """Every kind, fault and moment once, in a job drawn at random."""
    drawn: dict[tuple[str, str, str], Case] = {}
    shuffled = list(cases)
    chance.shuffle(shuffled)
    for case in shuffled:
        drawn.setdefault((case.kind, case.fault, case.moment), case)
    return [drawn[key] for key in sorted(drawn)]


def memory_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that costs no disk, where there is one."""
    where = _MEMORY if _MEMORY.is_dir() else None
    return tempfile.TemporaryDirectory(prefix="transit-remote-", dir=where)


def soak(seconds: float, seed: int, say: Callable[[str], object]) -> int:
    """The whole matrix in random order, again and again with other n; the count of violations."""
    deadline = time.monotonic() + seconds
    chance = random.Random(seed)
    tried = broken = 0
    with memory_folder() as folder:
        rig = Rig(Path(folder))
        traffic = {job.name: rig.traffic(job)[0] for job in JOBS}
        while time.monotonic() < deadline:
            cases = list(matrix(traffic, chance))
            chance.shuffle(cases)
            for case in cases:
                if time.monotonic() >= deadline:
                    break
                gone = chance.randrange(1, 2 * len(traffic[case.job]))
                rights = until(gone)
                for what, wrong in (
                    (str(case), rig.run(case)),
                    (
                        f"{case.job}, rights gone at {gone}",
                        rig.run_with(_BY_NAME[case.job], rights),
                    ),
                ):
                    tried += 1
                    broken += wrong is not None
                    if wrong:
                        say(f"{what}: {wrong}")
    say(f"{tried} remote faults tried, seed {seed}, {broken} violations")
    return broken
