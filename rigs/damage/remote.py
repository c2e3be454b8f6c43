"""Whether a remote with one damaged object keeps its word to every reader.

Owns a remote in a folder, which is the sample's again after each judgement. For one damage it asks:

    a reader by address     each answer is right or refused as damaged
    a reader with a folder  the same; its segments are in the remote alone
    a restore               refuses, and leaves no store but something to go on from; or gives a
                            store that answers right and verifies
    an audit of bodies      finds it, naming object and place
    an audit of roots       finds it in FORMAT and commits, and elsewhere when a size changed

Checkpoints, tiles and bundles are nothing that a reader believes: every answer is right, and an
audit with the log's key finds them, but for a `checkpoint` that is gone: it says nothing that the
notes of each size do not say.

HEAD and the index snapshots are derived: with one of them damaged every answer is right; an audit
finds a snapshot, and counts a hint that is not the head. Without its last commit a remote is what
it was before: a root that is kept elsewhere shows it, and nothing else can.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import transit
from rigs.damage.answers import Answers, ask, compare, without_details
from rigs.damage.judge import NO_STORE, parts_of, put_changes, unnamed
from rigs.damage.kinds import Changes, Damage
from rigs.damage.stores import STILL, Sample, class_of, put_files

_DERIVED: Final = ("HEAD", "index", "probes")
_UNREAD: Final = ("probes",)
_SIGNED: Final = ("checkpoint", "checkpoints", "tile")
_RESTORE_AGAIN: Final = 4


class _Case(NamedTuple):
    """One damage, and what it may do."""

    damage: Damage
    changes: Changes
    kind: str
    answers: Answers
    rolled_back: bool

    @property
    def harmless(self) -> bool:
        """Whether every reader must be answered as if nothing were wrong."""
        return self.kind in (*_DERIVED, *_SIGNED) or self.rolled_back


class RemoteJudge:
    """Judges damage to the remote of one sample, one damage at a time."""

    def __init__(self, sample: Sample, folder: Path) -> None:
        self.sample = sample
        self._remote = folder / "remote"
        self._folder = folder / "evicted"
        self._restored = folder / "restored"
        put_files(self._remote, sample.remote)
        kept = ("FORMAT", "REMOTE", "commits", "wal")
        local = {n: data for n, data in sample.files.items() if class_of(n) in kept}
        put_files(self._folder, local)
        self._parts = {name: parts_of(self._remote / name) for name in sample.remote}
        self._last = max(name for name in sample.remote if class_of(name) == "commits")
        self._root = transit.audit(self._remote, "roots").head
        self._keys = [] if sample.key is None else [sample.key]
        self._judged = 0

    def judge(self, damage: Damage) -> list[str]:
        """What is not as it must be, as text; nothing when all is."""
        changes = damage.changes(self.sample.remote)
        rolled_back = damage.kind == "removed" and damage.name == self._last
        answers = self.sample.commits[-2 if rolled_back else -1]
        case = _Case(damage, changes, class_of(damage.name), answers, rolled_back)
        self._judged += 1
        shutil.rmtree(self._restored, ignore_errors=True)
        put_changes(self._remote, changes)
        try:
            problems = [
                *(f"by address: {problem}" for problem in self._by_address(case)),
                *(f"with a folder: {problem}" for problem in self._with_folder(case)),
                *(f"restore: {problem}" for problem in self._restore(case)),
                *(f"audit: {problem}" for problem in self._audit(case)),
            ]
        finally:
            put_changes(self._remote, {name: self.sample.remote[name] for name in changes})
        if self._judged % _RESTORE_AGAIN == 0:
            problems += [f"restore, repaired: {problem}" for problem in self._restore_again()]
        return [f"remote, {damage}: {problem}" for problem in problems]

    # Readers

    def _by_address(self, case: _Case) -> Iterator[str]:
        try:
            log = transit.open(self._remote.as_uri(), mode="read", settings=STILL)
        except transit.TransitError as error:
            yield from self._refusal(error, case)
            return
        with log:
            yield from self._answers(log, case, case.answers)

    def _with_folder(self, case: _Case) -> Iterator[str]:
        # What an earlier reader kept in the cache would be read instead.
        shutil.rmtree(self._folder / "cache", ignore_errors=True)
        try:
            log = transit.open(self._folder, remote=self._remote, mode="read", settings=STILL)
        except transit.TransitError as error:
            yield from self._refusal(error, case)
            return
        with log:
            # Its commits and its WAL are its own.
            yield from self._answers(log, case, without_details(self.sample.expected))

    def _refusal(self, error: transit.TransitError, case: _Case) -> Iterator[str]:
        allowed = (transit.FormatError, *(NO_STORE if case.kind == "FORMAT" else ()))
        if case.harmless or not isinstance(error, allowed):
            yield f"refused: {error!r}"
        elif case.kind != "FORMAT" and not _names_one(case, [str(error)]):
            yield f"the object is not named: {error!r}"

    def _answers(self, log: transit.Log, case: _Case, answers: Answers) -> Iterator[str]:
        compared = compare(ask(log, answers), answers)
        yield from compared.wrong
        for error in compared.refused:
            yield from self._refusal(error, case)

    # A restore

    def _restore(self, case: _Case) -> Iterator[str]:
        try:
            restored = transit.restore(self._remote, self._restored, settings=STILL)
        except transit.TransitError as error:
            yield from self._refusal(error, case)
            if (self._restored / "FORMAT").exists():
                yield "was refused, and left a store"
            return
        if restored.root != self._root and not case.rolled_back:
            yield f"took another history: root {restored.root}"
        yield from self._check_restored(case.answers)

    def _check_restored(self, answers: Answers) -> Iterator[str]:
        try:
            log = transit.open(self._restored, mode="read", settings=STILL)
        except transit.TransitError as error:
            yield f"what was restored cannot be opened: {error!r}"
            return
        with log:
            compared = compare(ask(log, without_details(answers)), answers)
            yield from compared.wrong
            yield from (f"refused: {error!r}" for error in compared.refused)
            report = log.verify()
        yield from (f"found: {finding}" for finding in report.findings)

    def _restore_again(self) -> Iterator[str]:
        """What a refused restore left does not stand in the way of the next."""
        if (self._restored / "FORMAT").exists():
            return
        transit.restore(self._remote, self._restored, settings=STILL)
        yield from self._check_restored(self.sample.commits[-1])

    # An audit

    def _audit(self, case: _Case) -> Iterator[str]:
        for level in ("roots", "bodies"):
            try:
                report = transit.audit(self._remote, level, settings=STILL, keys=self._keys)
            except transit.TransitError as error:
                # Without FORMAT and commits there is no store.
                yield f"{level} ended: {error!r}"
                continue
            yield from (f"{level}: {problem}" for problem in self._report(report, case))
        if case.rolled_back:
            report = transit.audit(self._remote, "roots", trusted_root=self._root)
            if report.ok:
                yield "a trusted root does not show what is gone"

    def _report(self, report: transit.Report, case: _Case) -> Iterator[str]:
        if case.kind in _UNREAD:
            yield from (f"found: {finding}" for finding in report.findings)
        elif case.kind == "HEAD" or case.rolled_back:
            yield from (f"found: {finding}" for finding in report.findings)
            if report.counts["head_hint_stale"] != (case.changes.get("HEAD", b"") is not None):
                yield "a hint that is not the head is not counted"
        elif not report.ok:
            places = [finding.place for finding in report.findings]
            # A size alone has no place within the file.
            if report.level == "bodies":
                parts = self._parts[case.damage.name]
                yield from unnamed(places, case.damage, case.changes, parts)
            elif case.kind != "FORMAT" and not _names_one(case, places):
                yield f"the object is not named: {places}"
        elif (case.kind, case.damage.kind) == ("checkpoint", "removed"):
            pass
        elif report.level == "bodies" or (case.kind not in _SIGNED and self._changes_a_size(case)):
            yield "nothing was found"

    def _changes_a_size(self, case: _Case) -> bool:
        if case.kind in ("FORMAT", "commits"):
            return True
        before = self.sample.remote
        return any(len(data or b"") != len(before[name]) for name, data in case.changes.items())


def _names_one(case: _Case, places: list[str]) -> bool:
    """Whether one of `places` names one of the objects that are not what they were."""
    return any(name in place for place in places for name in case.changes)
