"""All crash states of a recorded history, each different one judged once, by several processes.

outcome = explore(SCRIPTED["sealing"](0), folder)
assert not outcome.violations
"""

from __future__ import annotations

import gc
import multiprocessing
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from rigs.crash.histories import HISTORIES, SCRIPTED, History
from rigs.crash.judge import Judge, LanePromise, Promise, Receipt, write_image
from rigs.crash.recorded import Change, Marked, read_trace
from rigs.crash.recording_fs import WRITE_BYTES_MAX, recorded
from rigs.crash.session import Lane, Mark, run_history
from rigs.crash.states import Content, Disk, Image, State
from rigs.crash.steps import Restore
from rigs.plants import plant
from transit.format.digest import digest

PROCESSES: Final = 2
_AT_ONCE: Final = 16
# More histories find more than all states of the longest ones; to record one costs some, too.
_SOAK_STATES_MAX: Final = 10_000
_MEMORY: Final = Path("/dev/shm")


class Case(NamedTuple):
    """A state to judge: after which change of the trace, what it is, and what must hold."""

    place: int
    state: State
    promise: Promise
    key: bytes


class Violation(NamedTuple):
    """A state in which a promise does not hold, and where its files are kept."""

    place: int
    label: str
    change: str
    reason: str
    kept_in: str


class Outcome(NamedTuple):
    """What exploring one history came to.

    Counts: changes in the trace; states, with repetitions; different ones, by names and bytes;
    those of them that were judged.
    """

    history: str
    seed: int
    changes: int
    states: int
    unique: int
    judged: int
    seconds: float
    violations: list[Violation]

    def __str__(self) -> str:
        return (
            f"{self.history} seed {self.seed}: {self.changes} changes, {self.states} states, "
            f"{self.unique} different, {self.judged} judged in {self.seconds:.0f} s, "
            f"{len(self.violations)} violations"
        )


class _Progress:
    """How far each process was when a change was made."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._tried: dict[Lane, int] = {}
        # For each strength the last step that reached it.
        self._reached: dict[Lane, list[int]] = {}
        self._receipts: list[tuple[int, Receipt]] = []
        self._restored = False
        self._signed: list[str] = []

    def note(self, text: str) -> None:
        mark = msgspec.json.decode(text, type=Mark)
        if mark.signed:
            self._signed.append(mark.signed)
            return
        if mark.tried >= 0:
            self._tried[mark.lane] = mark.tried
            self._reached.setdefault(mark.lane, [-1] * 4)
            return
        for level in range(mark.level + 1):
            self._reached[mark.lane][level] = mark.done
        self._receipts += [(mark.level, receipt) for receipt in mark.receipts]
        step = self._history.lives[mark.lane[0]][mark.lane[1]][mark.done]
        self._restored = self._restored or isinstance(step, Restore)

    def promise(self, *, power: bool) -> Promise:
        """What must hold after a loss of power, or after the death of all processes."""
        level = 2 if power else 1
        lanes = [
            LanePromise(lane, tried, self._reached[lane][level], self._reached[lane][3])
            for lane, tried in sorted(self._tried.items())
        ]
        receipts = [] if self._history.alone else self._receipts
        kept = tuple(receipt for reached, receipt in receipts if reached >= level)
        return Promise(tuple(lanes), kept, self._restored, tuple(self._signed))


class _Both(NamedTuple):
    died: Promise
    lost: Promise


def cases(trace: Sequence[Change], history: History) -> Iterator[Case]:
    """Every state after every change that touches the disk, with what must hold in it.

    A state stands until the next change, so all that was acknowledged until then must be in it.
    """
    disk = Disk(history.seed)
    progress = _Progress(history)
    keys = _Keys()
    before = after = _promises(progress)
    place = -1
    for number, change in enumerate(trace):
        if isinstance(change, Marked):
            progress.note(change.text)
            after = _promises(progress)
        elif disk.concerns(change):
            yield from _cases_of(disk, place, before, after, keys)
            before = after
            disk.apply(change)
            place = number
    yield from _cases_of(disk, place, before, after, keys)


def _promises(progress: _Progress) -> _Both:
    return _Both(progress.promise(power=False), progress.promise(power=True))


def _cases_of(disk: Disk, place: int, before: _Both, after: _Both, keys: _Keys) -> Iterator[Case]:
    # A process that died within a write had not acknowledged it, but had tried it.
    tried = {lane.lane: lane.tried for lane in after.died.lanes}
    lanes = tuple(lane._replace(tried=tried[lane.lane]) for lane in before.died.lanes)
    during = before.died._replace(lanes=lanes)
    for state in disk.states():
        died = during if state.during else after.died
        yield Case(place, state, after.lost if state.power else died, keys.of(state.image))


class _Keys:
    """Digests of states; each content is digested once."""

    def __init__(self) -> None:
        self._known: dict[Content, bytes] = {}

    def of(self, image: Image) -> bytes:
        parts = []
        for path in sorted(image):
            content = image[path]
            known = self._known.get(content)
            if known is None:
                known = self._known[content] = digest(content[0] + b"%d" % content[1])
            parts += [path.encode(), b"\0", known]
        return digest(b"".join(parts))


def _strictest(one: Promise | None, other: Promise) -> Promise:
    """What must hold of a state that may be left at two times: no more tried, no less kept."""
    if one is None:
        return other
    both = {lane.lane: lane for lane in one.lanes}
    lanes = []
    for lane in other.lanes:
        # A process that had not begun at one of the times had tried nothing.
        known = both.pop(lane.lane, LanePromise(lane.lane, -1, -1, -1))
        lanes.append(
            LanePromise(
                lane.lane,
                min(lane.tried, known.tried),
                max(lane.kept, known.kept),
                max(lane.published, known.published),
            )
        )
    lanes += [lane._replace(tried=-1) for lane in both.values()]
    receipts = max(one.receipts, other.receipts, key=len)
    signed = max(one.signed, other.signed, key=len)
    return Promise(tuple(lanes), receipts, one.restored or other.restored, signed)


def _evenly(keys: list[bytes], count: int | None) -> list[bytes]:
    """An even choice of the states, in the order in which they first came."""
    if count is None or len(keys) <= count:
        return keys
    return [keys[place * len(keys) // count] for place in range(count)]


def explore(
    history: History,
    folder: Path,
    *,
    states_max: int | None = None,
    planted: str = "",
    violations_max: int = 5,
    write_bytes_max: int = WRITE_BYTES_MAX,
) -> Outcome:
    """Run `history` in a recording below `folder`, and judge what crashes would leave.

    states_max: judge so many, evenly chosen; None: all. planted: a bug to run and to judge with.
    Stops after `violations_max`. write_bytes_max: what the file system takes of one write, at most.
    `RecordingUnavailableError` where nothing can be recorded.
    """
    start = time.monotonic()
    with recorded(folder / "recording", write_bytes_max) as recording:
        run_history(recording.root, history, planted)
    trace = read_trace(recording.trace)
    states = 0
    promises: dict[bytes, Promise] = {}
    for case in cases(trace, history):
        states += 1
        promises[case.key] = _strictest(promises.get(case.key), case.promise)
    chosen = {key: promises[key] for key in _evenly(list(promises), states_max)}
    violations: list[Violation] = []
    with _judges(history, planted) as pool:
        todo = _first_of_each(cases(trace, history), chosen)
        for broken, reason in _judged(pool, todo):
            if broken is not None:
                violations.append(_violation(broken, reason, trace, folder, len(violations)))
                if len(violations) >= violations_max:
                    break
    return Outcome(
        history.name, history.seed, len(trace), states, len(promises), len(chosen),
        time.monotonic() - start, violations,
    )  # fmt: skip


def _first_of_each(found: Iterator[Case], chosen: dict[bytes, Promise]) -> Iterator[Case]:
    left = dict(chosen)
    for case in found:
        promise = left.pop(case.key, None)
        if promise is not None:
            yield case._replace(promise=promise)


def _violation(
    case: Case, reason: str, trace: Sequence[Change], folder: Path, number: int
) -> Violation:
    kept = folder / f"violation-{number}"
    write_image(kept, case.state.image)
    change = str(trace[case.place])[:160] if case.place >= 0 else "the beginning"
    return Violation(case.place, case.state.label, change, reason, str(kept))


def _judged(pool: ProcessPoolExecutor, todo: Iterator[Case]) -> Iterator[tuple[Case | None, str]]:
    """What `_judge` says of each, with as few on their way as keep the judges busy."""
    waiting: deque[Future[list[tuple[Case | None, str]]]] = deque()
    while part := list(islice(todo, _AT_ONCE)):
        waiting.append(pool.submit(_judge_all, part))
        if len(waiting) > 2 * PROCESSES:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


@contextmanager
def _judges(history: History, planted: str) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that judge the states of `history`."""
    parent = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="transit-crash-", dir=parent) as scratch:
        # A server that has everything imported and no threads makes them.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        arguments = (history.name, history.seed, planted, scratch)
        # A caller that stops early waits for what is on its way: a process that is ended in the
        # middle can leave a lock of the pool's held for ever.
        with ProcessPoolExecutor(PROCESSES, context, _start_judge, arguments) as pool:
            yield pool


# The judge of a pool's process; there is none in others.
_own: list[Judge] = []


def _start_judge(name: str, seed: int, planted: str, scratch: str) -> None:
    if planted:
        plant(planted)
    folder = Path(tempfile.mkdtemp(dir=scratch))
    _own.append(Judge(HISTORIES[name](seed), folder))
    # What is here now stays, and need not be looked through again and again.
    gc.freeze()


def _judge_all(part: list[Case]) -> list[tuple[Case | None, str]]:
    return list(map(_judge, part))


def _judge(case: Case) -> tuple[Case | None, str]:
    """The case and what is wrong with it; None and nothing when it is right."""
    look = int.from_bytes(case.key[:4], "little")
    reason = _own[0].judge(case.state.image, case.promise, look)
    return (case if reason else None), reason


def soak(seconds: float, seed: int, say: Callable[[str], object]) -> int:
    """Explore history after history for so long, from `seed` on; the count of violations."""
    deadline = time.monotonic() + seconds
    judged = broken = 0
    while time.monotonic() < deadline:
        for name in [*SCRIPTED, *["anything"] * len(SCRIPTED)]:
            seed += 1
            with tempfile.TemporaryDirectory(prefix="transit-soak-") as folder:
                outcome = explore(HISTORIES[name](seed), Path(folder), states_max=_SOAK_STATES_MAX)
            judged += outcome.judged
            broken += len(outcome.violations)
            say(f"{outcome}; in all {judged} states, {broken} violations")
            for violation in outcome.violations:
                say(f"    {violation}")
            if time.monotonic() > deadline:
                break
    return broken
