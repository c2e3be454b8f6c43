"""Findings and counts, as a check comes by them, and the report they end in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from transit.errors import CorruptError, FormatError, TransitError, UnsupportedVersionError

FINDINGS_MAX: Final = 1000
ERASURES_MAX: Final = 10_000
# What is shown of one finding: damaged bytes may hold texts of any length.
_TEXT_SIZE_MAX: Final = 500


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be: where, what was expected, what was found."""

    place: str
    expected: str
    found: str


class Erasure(msgspec.Struct, frozen=True):
    """Records that were erased, and the record of `$names` that says so.

    stream: name. first, last: offsets. commit: number of the commit that has the record that
    deleted or trimmed them, -1 when it is not sealed. by: the writer, "" for a process that had the
    store open. when: UTC nanoseconds. basis, reason: as they were given.
    """

    stream: str
    first: int
    last: int
    commit: int
    by: str
    when: int
    basis: str
    reason: str


class Report(msgspec.Struct, frozen=True):
    """What was checked (`counts`, by kind) and what was found wrong; `ok` when nothing was.

    head: root of the last commit that follows from the first, "" when there is none.
    stage: what binds all of it, a word of `transit.verify.stages`; "" where something is wrong.
    erased: records that are gone as `$names` says; `counts["erased_records"]` of them.
    Findings past the first 1,000 are counted, not listed; so are erasures past the first 10,000.
    """

    level: str
    counts: Mapping[str, int]
    findings: tuple[Finding, ...]
    head: str = ""
    stage: str = ""
    erased: tuple[Erasure, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.findings


class Ledger:
    """Takes findings and counts for one report.

    place: named where an error names none. passes: errors that end the check and are no finding.
    """

    def __init__(self, place: str, passes: tuple[type[TransitError], ...] = ()) -> None:
        self.counts: Counter[str] = Counter()
        self._findings: list[Finding] = []
        self._erased: list[Erasure] = []
        self._place = place
        self._passes = passes

    def find(self, place: str, expected: str, found: str) -> None:
        """Note one thing that is wrong."""
        self.counts["findings"] += 1
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(Finding(*map(_shown, (place, expected, found))))

    def erased(self, erasure: Erasure) -> None:
        """Note records that are gone, as they should be."""
        self.counts["erased_records"] += erasure.last + 1 - erasure.first
        if len(self._erased) < ERASURES_MAX:
            self._erased.append(erasure)

    def take(self, error: TransitError) -> None:
        """Note what `error` says, or raise it when it is one that ends the check."""
        if isinstance(error, self._passes):
            raise error
        if isinstance(error, CorruptError):
            self.find(error.place, error.expected, error.found)
        elif isinstance(error, UnsupportedVersionError):
            self.find(error.place, "a format this transit reads", str(error))
        elif isinstance(error, FormatError):
            self.find(self._place, "a format this transit reads", str(error))
        else:
            self.find(self._place, "a readable file", str(error))

    def catching(self) -> _Catching:
        """A block whose errors become findings."""
        return _Catching(self.take)

    def report(self, level: str, head: str, stage: str) -> Report:
        """All that was noted. stage: what is bound by, where nothing was found wrong."""
        counts, findings = dict(self.counts), tuple(self._findings)
        reached = "" if findings else stage
        return Report(level, counts, findings, head, reached, tuple(self._erased))


class _Catching:
    """Gives away the errors of a block. No generator, as `transit.translation.translated` says."""

    def __init__(self, take: Callable[[TransitError], None]) -> None:
        self._take = take

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: object, traceback: object) -> bool:
        if isinstance(error, TransitError):
            self._take(error)
        return isinstance(error, TransitError)


def _shown(text: str) -> str:
    return text if len(text) <= _TEXT_SIZE_MAX else f"{text[:_TEXT_SIZE_MAX]}…"
