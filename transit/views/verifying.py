"""Whether what a view recorded comes out again: its intervals are folded once more elsewhere.

Elsewhere is another process, which has another seed for the hashes of text and random numbers of
its own, and gets records and nodes from this one. It imports the module of the reducer, and nothing
else of the program. A reducer that is no module's own, as in a notebook or in the file that is run,
is folded again in this process, which finds less.
"""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from typing import Final, Protocol

import msgspec

from transit import CorruptError, InvalidInputError, Stream, TransitError
from transit.views.advancing import AnyView
from transit.views.errors import DivergedError, EventError, ReducerError
from transit.views.maps.map import EMPTY, Map
from transit.views.merges import is_three_way
from transit.views.reducing import Program

_END_S: Final = 10.0
_WORK: Final = "from transit.views.verifying import work; work(int(sys.argv[1]))"


class Divergence(msgspec.Struct, frozen=True):
    """An interval that does not come out again.

    first, stop: offsets, of the first record and after the last. expected, found: roots, 64 hex
    digits; found is "" where folding failed, as `reason` says. offset: of the first record after
    which two folds differ from one another; None where all agree, but not with what was recorded.
    """

    stream: str
    first: int
    stop: int
    expected: str
    found: str
    reason: str
    offset: int | None


class Verified(msgspec.Struct, frozen=True):
    """What came of folding again.

    intervals: how many there are. checked: how many were folded. isolated: in another process.
    """

    intervals: int
    checked: int
    isolated: bool
    divergences: tuple[Divergence, ...]

    @property
    def ok(self) -> bool:
        """Whether all that was folded again came out as it was recorded."""
        return not self.divergences


class Interval(msgspec.Struct, frozen=True):
    """Records between two states. start, root: positions and roots of these."""

    start: int
    start_root: bytes
    stop: int
    root: bytes


class _Folder(Protocol):
    def fold(self, interval: Interval, stop: int) -> bytes:
        """The root at `stop`, folded from the start of the interval."""


def verified(view: AnyView, stream: Stream, sample: float, seed: int | None) -> Verified:
    """Fold a sample of a stream's intervals again; as `View.verify`."""
    intervals = intervals_of(view, stream)
    chosen = sampled(intervals, sample, seed)
    isolated = _is_importable(view.program)
    with _folders(view, stream, isolated) as (one, two):
        # Backwards: what a reducer keeps of records before would come out again in their order.
        found = [_compare(stream, each, one, two) for each in reversed(chosen)]
    return Verified(len(intervals), len(chosen), isolated, tuple(filter(None, found[::-1])))


def sampled(intervals: Sequence[Interval], sample: float, seed: int | None) -> list[Interval]:
    """So many of them, at least one, in order; `InvalidInputError` for a share that is none."""
    if not isinstance(sample, int | float) or not 0.0 < sample <= 1.0:
        raise InvalidInputError(f"sample must be more than 0 and at most 1, not {sample!r}")
    if not intervals:
        return []
    count = max(1, round(len(intervals) * sample))
    numbers = sorted(random.Random(seed).sample(range(len(intervals)), count))
    return [intervals[number] for number in numbers]


def intervals_of(view: AnyView, stream: Stream) -> list[Interval]:
    """What lies between the savepoints of a stream, from where the first of them began."""
    found: list[Interval] = []
    points = view.points(stream)
    if not points:
        return found
    start, root = _begin(view, stream, points[0].next)
    jump = stream.own_start if is_three_way(view, stream) else 0
    for point in points:
        if start < jump <= point.next:
            # What the merge begins with is not made of the records before.
            start, root = jump, view.reach(stream, jump).root
        after = bytes.fromhex(point.root)
        found.append(Interval(start, root, point.next, after))
        start, root = point.next, after
    return found


def _begin(view: AnyView, stream: Stream, stop: int) -> tuple[int, bytes]:
    """Where the first interval begins, which ends at `stop`: where no other stream goes along."""
    shared = max((count for _, count in view.sources(stream, stop)), default=0)
    if shared == stop and view.program.spec.merge == "fold":
        return 0, EMPTY
    return shared, view.reach(stream, shared).root


def _compare(stream: Stream, interval: Interval, one: _Folder, two: _Folder) -> Divergence | None:
    try:
        root = one.fold(interval, interval.stop)
    except (ReducerError, EventError) as error:
        return _divergence(stream, interval, b"", str(error), error.offset)
    if root == interval.root:
        return None
    offset = _first_difference(interval, one, two)
    return _divergence(stream, interval, root, "another root", offset)


def _divergence(
    stream: Stream, interval: Interval, root: bytes, reason: str, offset: int | None
) -> Divergence:
    return Divergence(
        stream.name, interval.start, interval.stop, interval.root.hex(), root.hex(), reason, offset
    )


def _first_difference(interval: Interval, one: _Folder, two: _Folder) -> int | None:
    """The offset of the first record after which two folds differ; None where they agree."""
    low, high = interval.start, interval.stop
    with suppress(ReducerError, EventError):
        if one.fold(interval, high) == two.fold(interval, high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if one.fold(interval, middle) == two.fold(interval, middle):
                low = middle
            else:
                high = middle
    return high - 1


def _is_importable(program: Program) -> bool:
    """Whether another process can have the program without running what is run here."""
    try:
        data = pickle.dumps(program)
        return b"__main__" not in data and pickle.loads(data).spec == program.spec
    except Exception:
        # Whatever pickling raises: it is no module's own, and folded in this process.
        return False


@contextmanager
def _folders(view: AnyView, stream: Stream, isolated: bool) -> Iterator[tuple[_Folder, _Folder]]:
    if not isolated:
        yield _Here(view, stream), _Here(view, stream)
        return
    one, two = _Elsewhere(view, stream), _Elsewhere(view, stream)
    try:
        yield one, two
    finally:
        one.end()
        two.end()


def _batches(view: AnyView, stream: Stream, start: int, stop: int) -> Iterator[object]:
    where = view.program.spec.where or None
    return iter(stream.batches(start, stop, where=where))


class _Here:
    """Folds in this process."""

    def __init__(self, view: AnyView, stream: Stream) -> None:
        self._view, self._stream = view, stream

    def fold(self, interval: Interval, stop: int) -> bytes:
        """The root at `stop`."""
        view, stream = self._view, self._stream
        start = view.settle(stream, interval.start, interval.start_root, {}, 0)
        fold = view.program.fold(start.map, stream.name)
        for batch in stream.batches(interval.start, stop, where=view.program.spec.where or None):
            fold.take(batch, 0, len(batch))
        return fold.flush().root


class _Elsewhere:
    """Folds in another process, which asks this one for batches and nodes."""

    def __init__(self, view: AnyView, stream: Stream) -> None:
        self._view, self._stream = view, stream
        self._end, far = Pipe()
        with far:
            code = f"import sys; sys.path[:] = {sys.path!r}; {_WORK}"
            self._process = subprocess.Popen(
                # -E: not the seed of this process, where one is set; the path is given.
                [sys.executable, "-E", "-c", code, str(far.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[far.fileno()],
            )
        self._end.send(pickle.dumps(view.program))

    def end(self) -> None:
        """End the process."""
        self._end.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def fold(self, interval: Interval, stop: int) -> bytes:
        """The root at `stop`."""
        view, stream = self._view, self._stream
        nodes = view.settle(stream, interval.start, interval.start_root, {}, 0).nodes
        batches = _batches(view, stream, interval.start, stop)
        try:
            self._end.send(("fold", interval.start_root, stream.name))
            while True:
                kind, value = self._end.recv()
                if kind == "batch":
                    self._end.send(next(batches, None))
                elif kind == "node":
                    self._end.send(nodes.load(value))
                elif kind == "root":
                    return bytes(value)
                else:
                    raise value
        except (EOFError, OSError) as error:
            raise DivergedError(f"the process that folds again ended: {error!r}") from error


def work(descriptor: int) -> None:
    """What the other process does, until its end is closed."""
    with Connection(descriptor) as end, suppress(EOFError, OSError, KeyboardInterrupt):
        program: Program = pickle.loads(end.recv())
        while True:
            _, root, stream = end.recv()
            try:
                end.send(("root", _fold(end, program, root, stream)))
            except (TransitError, CorruptError) as error:
                end.send(("error", error))


def _fold(end: Connection, program: Program, root: bytes, stream: str) -> bytes:
    fold = program.fold(Map(_FarNodes(end), root), stream)
    while True:
        end.send(("batch", None))
        batch = end.recv()
        if batch is None:
            return fold.flush().root
        fold.take(batch, 0, len(batch))


class _FarNodes:
    """Nodes of the process that asked."""

    def __init__(self, end: Connection) -> None:
        self._end = end
        self._known: dict[bytes, bytes] = {}

    def load(self, digest: bytes) -> bytes:
        """The bytes of a node."""
        if digest not in self._known:
            self._end.send(("node", digest))
            self._known[digest] = self._end.recv()
        return self._known[digest]

    def save(self, digest: bytes, data: bytes) -> None:
        """Keep a new node."""
        self._known[digest] = data
