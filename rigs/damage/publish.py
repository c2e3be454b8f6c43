"""Whether damage in a folder gets into a remote: it must not.

A store with a damaged file is opened with an empty remote, goes on until its next index snapshot
(eight commits after the last), and publishes. Whatever comes of it, the remote holds nothing that
an audit finds wrong, but for an index snapshot that was damaged: it is left out, and missing there.
Where publishing says that all is there, it is, byte for byte.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import transit
from rigs.damage.answers import ask, compare
from rigs.damage.judge import put_changes
from rigs.damage.kinds import Changes, Damage
from rigs.damage.stores import STILL, Sample, class_of, put_files

# From one index snapshot to the next, and the commit that names it.
_MORE_COMMITS: Final = 9


class PublishJudge:
    """Judges damage to the folder of one sample, one damage at a time."""

    def __init__(self, sample: Sample, folder: Path) -> None:
        self.sample = sample
        self._store = folder / "store"
        self._remote = folder / "remote"
        self._restored = folder / "restored"

    def judge(self, damage: Damage) -> list[str]:
        """What is not as it must be, as text; nothing when all is."""
        for folder in (self._store, self._remote, self._restored):
            shutil.rmtree(folder, ignore_errors=True)
        put_files(self._store, self.sample.files)
        changes = damage.changes(self.sample.files)
        problems = list(self._publish(changes))
        return [f"publishing, {self.sample.name}, {damage}: {problem}" for problem in problems]

    def _publish(self, changes: Changes) -> Iterator[str]:
        put_changes(self._store, changes)
        published = False
        try:
            with transit.open(self._store, remote=self._remote, settings=STILL) as log:
                for number in range(_MORE_COMMITS):
                    log.create(f"more {number}", durability="os")
                    log.seal()
                log.publish()
                published = True
        except transit.FormatError:
            pass
        except transit.TransitError as error:
            yield f"an error of another kind: {error!r}"
        try:
            report = transit.audit(self._remote, settings=STILL)
        except transit.NotFoundError:
            return
        left_out = [name for name in changes if class_of(name) == "index"]
        for finding in report.findings:
            gone = finding.found == "no object"
            if not gone or not any(name in finding.place for name in left_out):
                yield f"published: {finding}"
        if published:
            yield from self._restore()

    def _restore(self) -> Iterator[str]:
        try:
            transit.restore(self._remote, self._restored, settings=STILL)
        except transit.TransitError as error:
            yield f"what was published cannot be restored: {error!r}"
            return
        asked = [q for q in self.sample.expected if q[0] not in ("names", "graph")]
        with transit.open(self._restored, mode="read", settings=STILL) as log:
            compared = compare(ask(log, asked), self.sample.expected)
        yield from compared.wrong
        yield from (f"refused: {error!r}" for error in compared.refused)
