"""Whether a crash left what was promised: the real engine opens it, a model knows the answer.

A judge rebuilds one state in a folder of its own and asks:

    opening       works, in mode "read" and for writing
    contents      are those after some number of steps: no fewer than were promised to survive this
                  crash, no more than were tried; each record with its bytes, headers, timestamp and
                  origin, each batch whole or not at all
    going on      appending, creating, sealing (publishing, with a remote) work; opened again (one
                  state in three), everything is there, and `verify` finds nothing
    the remote    restored alone holds what was published, and an audit finds nothing
    signing       one more checkpoint extends all that may have been signed before the crash
    the copy      that a restore was making is a store, or becomes one when the restore is repeated

Where several processes wrote at once, contents have no single order. Then each process's steps must
be there as a prefix of what it tried, whole, and in order; and each receipt must hold.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

import transit
from rigs.crash.erasures import check_erased
from rigs.crash.histories import History, steps_of
from rigs.crash.session import Lane
from rigs.crash.signing import SignCheckpoint, check_signed
from rigs.crash.states import Image
from rigs.crash.steps import COPY, REMOTE, STORE, Step
from transit.config import Settings
from transit.format.digest import digest
from transit.testing.model import ModelLog

_SETTINGS: Final = Settings(flush_interval_ms=60_000, seal_bytes=64 * 1024)
_AFTER: Final = b"goes on"
# One state in so many is opened again, because that costs as much as all else.
_AGAIN: Final = 3
Receipt = tuple[str, int, tuple[str, ...]]
_GONE: Final[tuple[object, ...]] = (b"", [], 0, ("", -1))
Rows = list[tuple[object, ...]]


class LanePromise(NamedTuple):
    """Steps of one process, as numbers: the last tried, kept for certain, and published; or -1."""

    lane: Lane
    tried: int
    kept: int
    published: int


class Promise(NamedTuple):
    """What must hold after one crash. receipts: those of the steps that are kept for certain.

    signed: texts of checkpoints that may have been signed.
    """

    lanes: tuple[LanePromise, ...]
    receipts: tuple[Receipt, ...]
    restored: bool
    signed: tuple[str, ...] = ()


class BrokenPromiseError(Exception):
    """A promise that does not hold; the text says which."""


def rows_of(log: transit.Log, cursors: Sequence[tuple[str, str]]) -> Rows:
    """All that a store shows, as plain values."""
    rows: Rows = []
    for stream in log.streams():
        records = [
            (record.payload, sorted(record.headers.items()), record.timestamp, tuple(record.origin))
            for record in stream.read()
        ]
        parents = [tuple(parent) for parent in stream.parents]
        # In the place of each record that was trimmed there is none.
        gone = [_GONE] * stream.first_offset
        rows.append((stream.name, stream.kind, parents, [*gone, *records]))
    names = {row[0] for row in rows}
    for name, cursor in cursors:
        stands = log.stream(name).cursor(cursor).status() if name in names else None
        if stands is not None and stands.position:
            rows.append((name, cursor, (stands.position, stands.state)))
    return rows


def rows_of_model(model: ModelLog) -> Rows:
    """The same of a model."""
    rows: Rows = []
    for stream in model.streams.values():
        records = [
            (record.payload, sorted(record.headers.items()), record.timestamp, tuple(record.origin))
            for record in stream.records[stream.first :]
        ]
        parents = [tuple(parent) for parent in stream.parents]
        rows.append((stream.name, stream.kind, parents, [_GONE] * stream.first + records))
    for (name, cursor), stands in model.cursors.items():
        if name not in model.streams:
            continue
        rows.append((name, cursor, tuple(stands)))
    return rows


def _key(rows: Rows) -> bytes:
    return digest(msgspec.msgpack.encode(rows))


class Expected:
    """What a store of one history may hold after each of its steps."""

    def __init__(self, history: History) -> None:
        self._starts: dict[Lane, int] = {}
        self._ranges: dict[bytes, tuple[int, int]] = {}
        self._lanes: dict[Lane, Sequence[Step]] = {}
        self.alone = history.alone
        model = ModelLog()
        for life, plans in enumerate(history.lives):
            for number, plan in enumerate(plans):
                self._lanes[life, number] = plan
        if self.alone:
            self._take(-1, model)
            number = 0
            for lane, plan in self._lanes.items():
                self._starts[lane] = number
                for step in plan:
                    step.foresee(model)
                    self._take(number, model)
                    number += 1
        self.cursors = sorted(model.cursors)

    def _take(self, number: int, model: ModelLog) -> None:
        key = _key(rows_of_model(model))
        first, _ = self._ranges.get(key, (number, number))
        self._ranges[key] = (first, number)

    # One process at a time

    def _last(self, promise: Promise, what: str) -> int:
        numbers = [
            self._starts[lane.lane] + getattr(lane, what)
            for lane in promise.lanes
            if getattr(lane, what) >= 0
        ]
        return max(numbers, default=-1)

    def check(self, rows: Rows, promise: Promise, kept: str = "kept") -> None:
        """`BrokenPromiseError` unless `rows` may be there; `kept` names the number to reach."""
        if not self.alone:
            self._check_lanes(rows, promise)
            return
        found = self._ranges.get(_key(rows))
        if found is None:
            raise BrokenPromiseError(f"contents that no number of steps makes: {_short(rows)}")
        least, most = self._last(promise, kept), self._last(promise, "tried")
        if found[1] < least:
            raise BrokenPromiseError(
                f"lost: step {least} was promised, step {found[1]} is the last there"
            )
        if found[0] > most:
            raise BrokenPromiseError(
                f"step {found[0]} is there, and step {most} is the last that was tried"
            )

    # Several at once

    def _check_lanes(self, rows: Rows, promise: Promise) -> None:
        streams = {str(row[0]): row[3] for row in rows}
        own = {
            name: [bytes(row[0]) for row in records if row[3][0] == name]
            for name, records in streams.items()
            if isinstance(records, list)
        }
        found = Counter((name, payload) for name, records in own.items() for payload in records)
        if found and max(found.values()) > 1:
            raise BrokenPromiseError(f"a record that is there twice: {found.most_common(1)}")
        known: set[tuple[str, bytes]] = set()
        for lane in promise.lanes:
            known |= self._check_lane(lane, own, set(found))
        strangers = set(found) - known
        if strangers:
            raise BrokenPromiseError(f"records that were never appended: {strangers}")
        for name, offset, digests in promise.receipts:
            records = streams.get(name, [])
            assert isinstance(records, list)
            there = [digest(row[0]).hex() for row in records[offset : offset + len(digests)]]
            if tuple(there) != digests:
                raise BrokenPromiseError(f"{name}@{offset} was acknowledged, and is not there")

    def _check_lane(
        self, lane: LanePromise, own: dict[str, list[bytes]], found: set[tuple[str, bytes]]
    ) -> set[tuple[str, bytes]]:
        """The records of a process that are there; they must be those of its first steps."""
        known: set[tuple[str, bytes]] = set()
        order: dict[str, list[bytes]] = {}
        ended = False
        for number, step in enumerate(self._lanes[lane.lane]):
            streams, records = step.adds
            there = [name in own for name in streams] + [entry in found for entry in records]
            if not there:
                continue
            if any(there) != all(there):
                raise BrokenPromiseError(f"step {number} of {lane.lane} is there in part")
            if any(there) and ended:
                raise BrokenPromiseError(
                    f"step {number} of {lane.lane} is there, and one before is not"
                )
            if any(there) and number > lane.tried:
                raise BrokenPromiseError(
                    f"step {number} of {lane.lane} is there, and was not tried"
                )
            if not any(there) and number <= lane.kept:
                raise BrokenPromiseError(f"lost: step {number} of {lane.lane}")
            ended = ended or not any(there)
            known.update(records if any(there) else ())
            for name, payload in records if any(there) else ():
                order.setdefault(name, []).append(payload)
        for name, payloads in order.items():
            if [each for each in own[name] if (name, each) in known] != payloads:
                raise BrokenPromiseError(f"{name}: records of {lane.lane} are in another order")
        return known


def _short(rows: Rows) -> str:
    shown = []
    for row in rows:
        records = row[3] if len(row) > 3 else row[2]
        if isinstance(records, list):
            records = [bytes(record[0][:12]) for record in records]
        shown.append(f"{row[0]}: {records}")
    return "; ".join(shown)


class Judge:
    """Judges the states of one history, in folders below `scratch`."""

    def __init__(self, history: History, scratch: Path) -> None:
        self._expected = Expected(history)
        self._history = history
        self._scratch = scratch
        # With another id no key of ours is the store's.
        self._signs = any(isinstance(step, SignCheckpoint) for step in steps_of(history))
        self._judged: dict[tuple[object, ...], str] = {}

    def judge(self, image: Image, promise: Promise, look: int) -> str:
        """What is wrong with a state; empty when nothing is.

        look: a number that chooses how the store is opened, so that all ways have their turn.
        """
        root = self._scratch / "state"
        shutil.rmtree(root, ignore_errors=True)
        try:
            write_image(root, image)
            if self._history.remote:
                self._check_remote(root, image, promise)
            self._check_store(root, promise, look)
        except BrokenPromiseError as broken:
            return str(broken)
        except (transit.TransitError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    # The store

    def _check_store(self, root: Path, promise: Promise, look: int) -> None:
        remote = str(root / REMOTE) if self._history.remote else None
        path = root / STORE
        seen = self._peek(path, remote) if look % 4 == 0 else None
        mode = "shared" if look % 4 == 1 and remote is None else "exclusive"
        with transit.open(path, mode=mode, remote=remote, settings=_SETTINGS) as log:
            rows = rows_of(log, self._expected.cursors)
            self._expected.check(rows, promise)
            if seen is not None and seen != rows:
                raise BrokenPromiseError(
                    f"mode read saw other contents: {_short(seen)}; {_short(rows)}"
                )
            if self._history.name == "erasing":
                check_erased(log, root, {str(row[0]) for row in rows})
                if rows_of(log, self._expected.cursors) != rows:
                    raise BrokenPromiseError("erasing changed what a reader sees")
            added = self._go_on(log, rows, look)
            wrong = check_signed(log, promise.signed) if self._signs and look % 8 < 6 else ""
            if wrong:
                raise BrokenPromiseError(wrong)
        if look // 8 % _AGAIN == 0:
            self._check_again(path, remote, added)

    def _check_again(self, path: Path, remote: str | None, added: Rows) -> None:
        """What was there and what was appended is there when the store is opened again."""
        with transit.open(path, mode="read", remote=remote, settings=_SETTINGS) as log:
            if rows_of(log, self._expected.cursors) != added:
                raise BrokenPromiseError(
                    "what was there, or was appended, is not there when opened again"
                )
            _check_report("verify", log.verify())

    def _peek(self, path: Path, remote: str | None) -> Rows | None:
        """What a reader sees before the store is opened for writing."""
        try:
            log = transit.open(path, mode="read", remote=remote, settings=_SETTINGS)
        except transit.NotFoundError:
            # The store was never made, or its making was not finished.
            return None
        with log:
            return rows_of(log, self._expected.cursors)

    def _go_on(self, log: transit.Log, rows: Rows, look: int) -> Rows:
        """Write on in a store, and say what it must hold then."""
        streams = [row for row in rows if len(row) == 4]
        others = [row for row in rows if len(row) != 4]
        if streams:
            name, kind, parents, records = streams[look % len(streams)]
            assert isinstance(name, str)
            assert isinstance(records, list)
            receipt = log.stream(name).append(_AFTER, timestamp=2**62)
            if receipt.offset != len(records):
                raise BrokenPromiseError(
                    f"{name}: the next offset is {receipt.offset}, not {len(records)}"
                )
            longer = [*records, (_AFTER, [], 2**62, (name, receipt.offset))]
            streams[look % len(streams)] = (name, kind, parents, longer)
        log.create("after").append(_AFTER, timestamp=2**62, durability="os")
        streams.append(("after", "root", [], [(_AFTER, [], 2**62, ("after", 0))]))
        if look % 8 == 3:
            log.seal()
        if self._history.remote and look % 8 < 2:
            log.publish()
        return streams + others

    # What is published, and what is made from it

    def _check_remote(self, root: Path, image: Image, promise: Promise) -> None:
        part = tuple(item for item in sorted(image.items()) if not item[0].startswith(STORE))
        key = (part, promise.restored, *(lane.published for lane in promise.lanes))
        if key not in self._judged:
            self._judged[key] = ""
            try:
                self._restore(root, image, promise)
            except (BrokenPromiseError, transit.TransitError) as error:
                self._judged[key] = f"the remote alone: {type(error).__name__}: {error}"
        if self._judged[key]:
            raise BrokenPromiseError(self._judged[key])

    def _restore(self, root: Path, image: Image, promise: Promise) -> None:
        remote, copy = str(root / REMOTE), root / COPY
        whole = f"{COPY}/FORMAT" in image
        if promise.restored and not whole:
            raise BrokenPromiseError("a restore that returned left no store")
        if not whole:
            try:
                transit.restore(remote, copy)
            except transit.NotFoundError as error:
                if any(lane.published >= 0 for lane in promise.lanes):
                    raise BrokenPromiseError(f"published, and not there: {error}") from error
                return
            _check_report("audit", transit.audit(remote))
        with transit.open(copy, settings=_SETTINGS) as log:
            rows = rows_of(log, self._expected.cursors)
            _check_report("verify of the copy", log.verify())
        none = tuple(lane._replace(published=-1) for lane in promise.lanes)
        held = promise._replace(lanes=none) if whole else promise
        self._expected.check(rows, held, "published")


def _check_report(what: str, report: transit.Report) -> None:
    if not report.ok:
        raise BrokenPromiseError(f"{what}: {report.findings}")


def write_image(root: Path, image: Image) -> None:
    """Make the files and folders of a state below `root`."""
    root.mkdir(parents=True)
    made = {""}
    for path, (data, size) in image.items():
        folder = path.rpartition("/")[0]
        if folder not in made:
            (root / folder).mkdir(parents=True, exist_ok=True)
            made.add(folder)
        if not path.endswith("/"):
            with (root / path).open("wb") as file:
                file.write(data)
                if size > len(data):
                    file.truncate(size)
