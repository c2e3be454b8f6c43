"""What must hold after a call on a store was interrupted, wherever that happened.

A `Stage` is a store with history of every kind, sealed and not, on which one call is interrupted.
What was tried and what was acknowledged is written down: a group of records that was acknowledged
must be there once; one whose call was interrupted may be there once, whole; nothing else may be.

`judge` asks, in this order: another thread reads, appends, submits and seals, and gets answers or
typed errors; a second handle, as another process has it, may write (mode "shared"); the store
closes; it opens again, holds what it must and may hold, and `verify` finds nothing. A call that
gets no answer in time found a lock that is stuck.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import transit
from rigs.interrupts.places import within

ANSWER_S = 20.0
"""How long a witness waits for an answer before it calls the store stuck."""

SETTINGS = transit.Settings(
    seal_bytes=4096, block_bytes=4096, lock_timeout_s=5.0, flush_interval_ms=5, transfers_max=2
)
RECONCILED = "reconciled"
"""The merge that a batch makes of what it appends."""
INHERITING = {"of another": 1 << 32}
"""Streams whose records before an offset are another stream's, which holds them too."""

Record = tuple[str, bytes]
Group = tuple[Record, ...]
History = dict[str, list[bytes]]


_FORGOTTEN: list[transit.Log] = []


class Broken(AssertionError):
    """A promise that did not hold after an interrupt."""


def make_template(folder: Path) -> Path:
    """A store with roots, a branch, a merge and a cursor, sealed in part, and its remote."""
    store = folder / "template"
    with transit.open(store, remote=folder / "template-remote", settings=SETTINGS) as log:
        a, b = log.create("a"), log.create("b")
        a.append_many([b"a%d" % n for n in range(6)])
        log.seal()
        b.append_many([b"b%d" % n for n in range(4)])
        branch = a.branch("branch", at=3)
        branch.append(b"branch4")
        log.publish()
        log.merge("merged", [a, branch], policy="append").append(b"merged")
        a.cursor("place").advance(2)
        log.create("noise").append_many([b"noise"] * 3)
        log.seal()
        for n in range(4):
            a.append(b"late%d" % n)
    return store


class Stage:
    """One store, copied from a template and opened, on which a call is interrupted."""

    def __init__(self, template: Path, folder: Path, mode: str, remote: bool) -> None:
        self.folder = folder
        self.path = folder / "store"
        shutil.copytree(template, self.path)
        self.remote: Path | None = None
        if remote:
            self.remote = folder / "remote"
            shutil.copytree(template.with_name("template-remote"), self.remote)
        self.mode = mode
        self.certain: list[Group] = []
        self.possible: list[Group] = []
        # What calls inside of others were refused, and what was promised to them.
        self.refused: list[Group] = []
        self.promised: list[tuple[Group, Future[transit.Receipt]]] = []
        self.held: dict[str, transit.Stream] = {}
        self._count = 0
        self.log = self.open()

    def open(self, mode: str | None = None) -> transit.Log:
        """The stage's store, opened once more."""
        return transit.open(
            self.path,
            remote=self.remote,
            mode=mode or self.mode,
            durability="os",
            settings=SETTINGS,
        )

    def fresh(self, *streams: str) -> Group:
        """Records that were never written before, one for each of `streams`."""
        self._count += 1
        return tuple((name, b"new %d.%d" % (self._count, at)) for at, name in enumerate(streams))

    @contextmanager
    def attempt(self, *streams: str, merged: str = "") -> Iterator[Group]:
        """A block that writes the group it is given: acknowledged once the block ends well.

        merged: a stream that has all of them too, as soon as they are there.
        """
        group = self.fresh(*streams)
        whole = (*group, *((merged, payload) for _, payload in group if merged))
        self.possible.append(whole)
        yield group
        # In this order: a signal may come between the two.
        self.certain.append(whole)
        self.possible.remove(whole)

    def append(self, log: transit.Log, stream: str, durability: str = "os") -> None:
        """One record, written down as tried and, if that promises anything, as acknowledged."""
        if durability == "memory" and self.mode == "exclusive":
            self.possible.append(group := self.fresh(stream))
            log.stream(stream).append(group[0][1], durability=durability)
            return
        with self.attempt(stream) as group:
            log.stream(stream).append(group[0][1], durability=durability)

    def forget(self) -> None:
        """Leave the store as it is, open for good: nothing is known of its locks."""
        self.log._handle._finalizer.detach()
        _FORGOTTEN.append(self.log)
        self.drop()

    def drop(self) -> None:
        """Remove the stage; a store that is stuck stays open."""
        shutil.rmtree(self.folder, ignore_errors=True)


def history(log: transit.Log, *, live: bool = False) -> History:
    """Every stream's payloads, each read twice: all at once and, the last, by its offset.

    live: through the handle that was interrupted, whose threads may take up records meanwhile.
    """
    found = {}
    for stream in log.streams():
        records = list(stream.read())
        if [record.offset for record in records] != list(range(len(records))):
            raise Broken(f"{stream.name}: offsets {[record.offset for record in records]}")
        last = len(records) - 1 if live else -1
        if records and stream[last].payload != records[-1].payload:
            raise Broken(f"{stream.name}: its last record is read in two ways")
        found[stream.name] = [record.payload for record in records]
    return found


def is_whole(group: Group, written: Counter[Record], names: Iterable[str], *, live: bool) -> bool:
    """Whether the records of `group` are all there once, or none is.

    names: the streams in the order in which they were read. live: the group may have been taken up
    between two of them, so that it is there from one of them on.
    """
    # A stream that was not listed was not there before any was read.
    places = {name: place for place, name in enumerate(names)}
    counts: dict[int, set[int]] = {}
    for name, payload in group:
        counts.setdefault(places.get(name, -1), set()).add(written[name, payload])
    found = [counts[place] for place in sorted(counts)]
    if any(each not in ({0}, {1}) for each in found):
        return False
    return found == sorted(found, key=max) if live else all(each == found[0] for each in found)


def check(stage: Stage, found: History, control: History, *, live: bool = False) -> None:
    """Hold what a store shows against what it must and may hold.

    control: what the same call left when it was not interrupted: old streams begin as there, and
    streams that the call made are as there or absent. live: as for `history`; what is acknowledged
    is asked for when nothing goes on any more.
    """
    written: Counter[Record] = Counter()
    for name, payloads in found.items():
        known = [each for each in control.get(name, []) if not each.startswith(b"new ")]
        old = [payload for payload in payloads if not payload.startswith(b"new ")]
        if old != known:
            raise Broken(f"{name}: holds {old}, not {known}")
        start = INHERITING.get(name, 0)
        written.update((name, each) for each in payloads[start:] if each.startswith(b"new "))
    missing = {"a", "b", "branch", "merged", "noise"} - set(found)
    if missing:
        raise Broken(f"streams are gone: {missing}")
    for group in [] if live else stage.certain:
        if any(written.get(record) != 1 for record in group):
            raise Broken(f"acknowledged, and there {[written.get(r, 0) for r in group]}: {group}")
    for group in stage.possible:
        if not is_whole(group, written, found, live=live):
            counts = [written[record] for record in group]
            raise Broken(f"interrupted, and there in part or twice, {counts}: {group}")
    tried = {record for group in stage.certain + stage.possible for record in group}
    # What other calls append to the parents meanwhile is in the merge too.
    tried |= {(merge, payload) for _, payload in tried for merge in (RECONCILED, "made")}
    invented = set(written) - tried
    if invented:
        raise Broken(f"never written: {invented}")


def _typed(call: Callable[[], object]) -> str:
    """ "" when `call` worked, the name of the error when that is one of transit's."""
    try:
        call()
    except transit.TransitError as error:
        return type(error).__name__
    return ""


def _use(stage: Stage, control: History) -> None:
    """What another thread of the same process does with the handle; typed errors are answers."""
    log = stage.log
    shown: list[History] = []
    answer = _typed(lambda: shown.append(history(log, live=True)))
    if shown:
        check(stage, shown[0], control, live=True)
    elif answer != "ClosedError":
        raise Broken(f"reading goes on after an interrupt, but {answer}")
    if stage.mode == "read":
        return
    answers = [
        _typed(lambda: stage.append(log, "a")),
        _typed(lambda: stage.append(log, "b", "local")),
        _typed(lambda: _submit(stage)),
        _typed(log.sync),
        _typed(log.seal),
    ]
    if "PoisonedError" in answers:
        raise Broken(f"the handle does not go on after an interrupt: {answers}")
    if stage.remote is not None:
        _typed(log.publish)


def _submit(stage: Stage) -> None:
    with stage.attempt("b") as group:
        future = stage.log.stream("b").submit(group[0][1], durability="local")
        future.result(ANSWER_S / 2)


def judge(stage: Stage, control: History) -> None:
    """Hold the stage to its promises; `Broken`, or `TimeoutError` for a lock that is stuck."""
    if not stage.log.closed:
        within(ANSWER_S, lambda: _use(stage, control))
    if stage.mode == "shared":
        within(ANSWER_S, lambda: _share(stage, control))
    within(ANSWER_S, lambda: _typed(stage.log.close))
    with within(ANSWER_S, lambda: stage.open("exclusive")) as log:
        check(stage, history(log), control)
        stage.append(log, "a")
        log.seal()
        report = log.verify()
        if not report.ok:
            raise Broken(f"verify: {report.findings[:3]}")
    with stage.open("exclusive") as log:
        check(stage, history(log), control)


def _share(stage: Stage, control: History) -> None:
    """What another process does, for whose locks a handle of its own stands."""
    with stage.open("shared") as other:
        check(stage, history(other), control)
        stage.append(other, "a")
        other.seal()
