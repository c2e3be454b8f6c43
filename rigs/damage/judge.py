"""Whether a store with one damaged file keeps its word: the real engine opens it, and is asked.

Owns a folder for readers and one for writers, both the sample again after each judgement. For one
damage it asks:

    a reader    every question of the sample: each answer is right or refused as damaged
                `verify` finds it, naming file and place; or it is harmless and nothing is found
    a writer    refuses and leaves every file as it is; or answers the same, reports what it cut,
                appends behind what is there, and all of that is there when it is opened again

What may be cut, and what is harmless, says `rigs.damage.expect`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import transit
from rigs.damage.answers import Compared, ask, compare, without_details
from rigs.damage.expect import SIGNED, Expected, expected_of
from rigs.damage.kinds import SECTOR_BYTES, Changes, Damage
from rigs.damage.plants import replaced
from rigs.damage.stores import STILL, Sample, class_of, files_in, put_files
from transit.log import catalog, recover

_NEW: Final = "appended by the judge"
_HEADERS: Final = {"who": "the judge"}
_NUMBER: Final = re.compile(r"(?:byte|frame at) (\d+)")
# What a store says that has no FORMAT, or one that names another store than the remote's.
NO_STORE: Final = (transit.InvalidInputError, transit.NotFoundError)

_Errors = tuple[type[transit.TransitError], ...]
Parts = list[tuple[int, int, str]]
"""Place, one past the last byte and kind of each part of a file."""


def parts_of(path: Path) -> Parts:
    """The parts of an undamaged file that findings must name."""
    if path.suffix not in (".wal", ".seg"):
        return []
    kinds = ("header", "block", "index", "footer", "tail", "frame", "mark", "end")
    parts = transit.inspect_file(path).parts
    return [(p.place, p.place + p.size, p.kind) for p in parts if p.kind in kinds]


def unnamed(places: Sequence[str], damage: Damage, changes: Changes, parts: Parts) -> Iterator[str]:
    """What is missing when `places`, of findings or an error, do not name file and place.

    parts: of the damaged file.
    """
    if "FORMAT" in changes:
        # Nothing in it tells an id from a damaged one: all other files are another store's.
        return
    names = [Path(name).name for name in changes]
    if damage.kind == "removed" and class_of(damage.name) in ("wal", "commits"):
        # What is missing has no name: the gap is told where the next file should go on.
        names += ["/wal"]
    about = [place for place in places if any(name in place for name in names)]
    if not about:
        yield f"the file is not named: {places}"
    elif damage.kind in ("flip", "sector") and not _is_placed(about, damage, parts):
        yield f"the place is not named: {about}"


def _is_placed(places: Sequence[str], damage: Damage, parts: Parts) -> bool:
    """Whether one of `places` names a part of the file that is damaged."""
    last = damage.place + (SECTOR_BYTES if damage.kind == "sector" else 1)
    hit = [part for part in parts if part[0] < last and damage.place < part[1]]
    if not hit or any(kind in ("header", "tail") for _, _, kind in hit):
        # These are few bytes at the two ends of a file, so its name is place enough.
        return True
    for place in places:
        numbers = {int(number) for number in _NUMBER.findall(place)}
        for start, stop, kind in hit:
            if kind in place or any(start <= number < stop for number in numbers):
                return True
    return False


class LocalJudge:
    """Judges damage to one sample's folder, one damage at a time.

    attached: open the sample with its remote, which is whole. A sample with a remote that is not
    attached may say of anything that it is out of reach (`RetentionGapError`).
    """

    def __init__(self, sample: Sample, folder: Path, *, attached: bool = False) -> None:
        self.sample = sample
        self._reader = folder / "reader"
        self._writer = folder / "writer"
        for root in (self._reader, self._writer):
            put_files(root, sample.files)
        self._remote = folder / "remote" if attached else None
        if self._remote is not None:
            put_files(self._remote, sample.remote)
        alone = bool(sample.remote) and not attached
        self._gap: _Errors = (transit.RetentionGapError,) if alone else ()
        self._damaged: _Errors = (transit.FormatError, *self._gap)
        self._parts = {name: parts_of(self._reader / name) for name in sample.files}
        # What a writer is asked: a reader was asked for each record by itself.
        self._few = list(without_details(sample.expected))
        self._judged = 0

    def judge(self, damage: Damage) -> list[str]:
        """What is not as it must be, as text; nothing when all is."""
        changes = damage.changes(self.sample.files)
        expected = expected_of(self.sample, damage, changes)
        self._judged += 1
        # Beside a living writer a reader looks at some things again, after a while; here is none.
        with replaced((recover, "LOOK_AGAIN_S", (0.0,)), (catalog, "_TRIES", 2)):
            problems = [f"reader: {p}" for p in self._read(damage, changes, expected)]
            problems += [f"writer: {p}" for p in self._write(damage, changes, expected)]
        return [f"{self.sample.name}, {damage}: {problem}" for problem in problems]

    # A reader

    def _read(self, damage: Damage, changes: Changes, expected: Expected) -> list[str]:
        root = self._reader
        put_changes(root, changes)
        try:
            log = self._open(root, "read")
        except transit.TransitError as error:
            return list(self._refusal(error, damage, changes, expected))
        else:
            with log:
                return list(self._opened(log, damage, changes, expected))
        finally:
            put_changes(root, {name: self.sample.files[name] for name in changes})

    def _open(self, root: Path, mode: str) -> transit.Log:
        return transit.open(root, mode=mode, settings=STILL, remote=self._remote)

    def _refusal(
        self, error: transit.TransitError, damage: Damage, changes: Changes, expected: Expected
    ) -> Iterator[str]:
        if isinstance(error, self._gap):
            return
        if expected.harmless:
            yield f"refused: {error!r}"
        allowed = (transit.FormatError, *(NO_STORE if "FORMAT" in changes else ()))
        if not isinstance(error, allowed):
            yield f"an error of another kind: {error!r}"
        yield from unnamed([str(error)], damage, changes, self._parts[damage.name])
        found = f"damage before byte {expected.whole_from}"
        if expected.whole_from >= 0 and found not in str(error):
            yield f"the range is not told, {found}: {error!r}"

    def _opened(
        self, log: transit.Log, damage: Damage, changes: Changes, expected: Expected
    ) -> Iterator[str]:
        if expected.refused:
            yield "opened, although what is damaged was durable once"
        compared = compare(ask(log, self.sample.expected), expected.answers)
        yield from self._not_right(compared, expected)
        report = log.verify()
        if class_of(damage.name) == SIGNED:
            # No key says who signed it; what it is about is compared.
            places = [finding.place for finding in report.findings]
            if places:
                yield from unnamed(places, damage, changes, self._parts[damage.name])
        elif expected.harmless:
            yield from (f"found: {finding}" for finding in report.findings)
        elif expected.cut >= 0:
            if not report.ok:
                yield f"found what may be torn: {report.findings[0]}"
            rest = (changes[damage.name] or b"")[expected.cut :]
            # What is left of a header that was never finished is nothing that is counted.
            if expected.cut and any(rest) and not report.counts.get("torn_bytes"):
                yield "a torn tail that is not counted"
        elif report.ok:
            yield f"verify finds nothing; {len(compared.refused)} answers were refused"
        else:
            yield from unnamed(
                [f.place for f in report.findings], damage, changes, self._parts[damage.name]
            )

    def _not_right(self, compared: Compared, expected: Expected) -> Iterator[str]:
        yield from compared.wrong
        for error in compared.refused:
            if isinstance(error, self._gap):
                continue
            if not isinstance(error, transit.FormatError) or expected.harmless or expected.cut >= 0:
                yield f"refused: {error!r}"

    # A writer

    def _write(self, damage: Damage, changes: Changes, expected: Expected) -> list[str]:
        root = self._writer
        put_changes(root, changes)
        before: Changes = {**self.sample.files, **changes}
        mode = "shared" if self._judged % 4 == 0 and self._remote is None else "exclusive"
        try:
            log = self._open(root, mode)
        except transit.TransitError as error:
            problems = list(self._refusal(error, damage, changes, expected))
            return problems + _touched(before, files_in(root))
        else:
            return list(self._written(log, damage, changes, expected))
        finally:
            self._put_back(root)

    def _written(
        self, log: transit.Log, damage: Damage, changes: Changes, expected: Expected
    ) -> Iterator[str]:
        if expected.refused:
            yield "opened, although what is damaged was durable once"
        compared = compare(ask(log, self._few), expected.answers)
        yield from self._not_right(compared, expected)
        yield from self._recovered(log, changes, expected)
        whole = expected.harmless or expected.cut >= 0
        appended: tuple[int, str] | None = None
        try:
            with log:
                appended = _append(log, expected)
        except self._damaged as error:
            if whole and not isinstance(error, self._gap):
                yield f"does not go on: {error!r}"
        try:
            with self._open(self._writer, "read") as again:
                yield from self._again(again, expected, appended)
        except self._damaged as error:
            if whole or not compared.refused:
                yield f"cannot be opened again: {error!r}"

    def _recovered(self, log: transit.Log, changes: Changes, expected: Expected) -> Iterator[str]:
        wal = self.sample.wal
        cuts = log.recovery
        if wal is None or expected.cut < 0:
            yield from (f"cut: {cut}" for cut in cuts)
            return
        rest = (changes.get(wal.name) or b"")[expected.cut :]
        if expected.cut and any(rest) and [c.position for c in cuts] != [expected.cut]:
            yield f"cut {cuts} and not at {expected.cut}"
        if not any(rest) and cuts:
            yield f"cut where nothing was: {cuts}"

    def _again(
        self, log: transit.Log, expected: Expected, appended: tuple[int, str] | None
    ) -> Iterator[str]:
        if appended is not None:
            offset, name = appended
            payload = log.stream(name)[offset].payload
            if payload != _NEW.encode() or log.stream(_NEW)[0].payload != _NEW.encode():
                yield f"what was appended is not there: {payload!r}"
        grown, stop = ("", 0) if appended is None else (appended[1], appended[0])
        asked = [q for q in self._few if q[1:] and q[1] not in (grown, _NEW)]
        # That stream has one record more than it had: those before it are asked for one by one.
        asked += [("record", grown, offset) for offset in range(stop)]
        compared = compare(ask(log, asked), expected.answers)
        yield from (f"afterwards: {wrong}" for wrong in compared.wrong)

    def _put_back(self, root: Path) -> None:
        found = files_in(root)
        for name in found.keys() - self.sample.files.keys():
            (root / name).unlink()
        wanted = self.sample.files
        put_changes(root, {name: data for name, data in wanted.items() if found.get(name) != data})


def _append(log: transit.Log, expected: Expected) -> tuple[int, str]:
    """Append behind what is there: to a stream with records, and to a new one."""
    names = expected.answers[("names",)]
    assert isinstance(names, list)
    name = str(names[-1])
    stream = log.stream(name)
    offset = stream.append(_NEW.encode(), headers=_HEADERS).offset
    log.create(_NEW).append(_NEW.encode())
    return offset, name


def _touched(before: Changes, after: dict[str, bytes]) -> list[str]:
    """The files that a writer changed although it refused."""
    names = before.keys() | after.keys()
    return [
        f"refused, and changed {name}"
        for name in sorted(names)
        if not name.startswith("LOCK") and before.get(name) != after.get(name)
    ]


def put_changes(root: Path, changes: Changes) -> None:
    """Make these files of `root` what `changes` says."""
    for name, data in changes.items():
        path = root / name
        if data is None:
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
