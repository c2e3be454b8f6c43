"""Whether a rebase that was cut short and then damaged keeps its word when it is finished.

The next opening for writing finishes a rebase: from then on `rebase/` is the store. So each of its
files is damaged, and the opening is refused, or what is answered is right or refused. Without READY
the rebase is given up, and the store is the one before. No code reads `diverged/`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import transit
from rigs.damage.answers import Answers, ask, compare
from rigs.damage.judge import put_changes
from rigs.damage.kinds import Damage
from rigs.damage.stores import STILL, Sample, put_files

READY = "rebase/READY"


class RebaseJudge:
    """Judges damage to the sample "rebasing", one damage at a time."""

    def __init__(self, sample: Sample, folder: Path) -> None:
        self.sample = sample
        self._store = folder / "store"
        self._remote = folder / "remote"
        put_files(self._remote, sample.remote)

    def judge(self, damage: Damage) -> list[str]:
        """What is not as it must be, as text; nothing when all is."""
        changes = damage.changes(self.sample.files)
        shutil.rmtree(self._store, ignore_errors=True)
        put_files(self._store, self.sample.files)
        put_changes(self._store, changes)
        given_up = READY in changes and changes[READY] is None
        answers = self.sample.commits[0] if given_up else self.sample.expected
        problems = [] if given_up else list(self._refused_to_readers())
        harmless = damage.name.startswith("diverged/")
        problems += self._finished(answers, harmless)
        return [f"rebasing, {damage}: {problem}" for problem in problems]

    def _refused_to_readers(self) -> Iterator[str]:
        try:
            transit.open(self._store, mode="read", settings=STILL).close()
        except transit.StoreUnavailableError:
            return
        except transit.TransitError as error:
            yield f"an error of another kind: {error!r}"
            return
        yield "a reader was let in"

    def _finished(self, answers: Answers, harmless: bool) -> Iterator[str]:
        try:
            log = transit.open(self._store, remote=self._remote, settings=STILL)
        except transit.FormatError as error:
            if harmless:
                yield f"refused: {error!r}"
            return
        with log:
            compared = compare(ask(log, answers), answers)
        yield from compared.wrong
        for refused in compared.refused:
            if harmless or not isinstance(refused, transit.FormatError):
                yield f"refused: {refused!r}"
