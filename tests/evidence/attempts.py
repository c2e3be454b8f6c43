"""What somebody does with a published store, and how it must end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import transit
from transit.cli.main import run as main

from .published import Published, findings

FINDING = "a finding"
DAMAGED, UNPROVEN = 7, 14


class Attempt(NamedTuple):
    """A call, and how it ends: None: accepted; an error's class; FINDING; or an exit code.

    said: what the error or the finding says, a part of it.
    """

    call: Callable[[], object]
    ends: type[Exception] | str | int | None
    said: str = ""

    def judge(self) -> None:
        """Make the call, and see how it ends."""
        if isinstance(self.ends, type):
            with pytest.raises(transit.TransitError) as caught:
                self.call()
            assert (type(caught.value), self.said in str(caught.value)) == (self.ends, True)
            return
        found = self.call()
        if isinstance(self.ends, int):
            assert found == self.ends
        elif self.ends == FINDING:
            assert isinstance(found, transit.Report)
            assert (found.ok, found.stage) == (False, "")
            assert self.said in findings(found)
        elif isinstance(found, transit.Report):
            assert found.ok, findings(found)


def judge_all(attempts: Iterator[Attempt], ends_well: bool = False) -> None:
    """Judge each in turn: at least one control, and one that is refused unless all ends well."""
    ends = []
    for attempt in attempts:
        attempt.judge()
        ends.append(attempt.ends in (None, 0, 200))
    assert set(ends) == ({True} if ends_well else {True, False})


Attack = Callable[[Published, Path], Iterator[Attempt]]
"""Changes a published store; what it yields before it does so are the accepted controls."""


def command(*words: object) -> Callable[[], int]:
    """The exit code of `transit WORDS`."""
    return lambda: main([str(word) for word in words])


def audited(published: Published, *words: object) -> Callable[[], int]:
    """The exit code of `transit audit` of the remote."""
    return command("audit", published.remote, *words)


def kept_in(published: Published, to: Path) -> Path:
    """A file with the checkpoint that somebody kept."""
    to.mkdir(exist_ok=True)
    file = to / "kept"
    file.write_bytes(published.kept)
    return file


def refused_with_kept(published: Published, to: Path, kept: bytes, said: str) -> Iterator[Attempt]:
    """How all ends for those who kept a checkpoint: audit, a reader, a restore, their commands."""
    to.mkdir(exist_ok=True)
    file = to / "kept"
    file.write_bytes(kept)
    yield Attempt(lambda: published.audit(checkpoint=kept), FINDING, said)
    yield Attempt(audited(published, "--checkpoint", file), DAMAGED)
    yield Attempt(lambda: published.read(checkpoint=kept), transit.SplitViewError, said)
    address = f"file://{published.remote}"
    yield Attempt(command("verify", "--store", address, "--checkpoint", file), UNPROVEN)
    restore = ("restore", published.remote, to / "restored", "--checkpoint", file)
    yield Attempt(command(*restore), UNPROVEN)
    yield Attempt(
        lambda: transit.restore(published.remote, to / "again", checkpoint=kept),
        transit.SplitViewError,
        said,
    )


def accepted_with_kept(published: Published, to: Path, kept: bytes) -> Iterator[Attempt]:
    """The controls: the same calls on a history that extends the checkpoint."""
    to.mkdir(exist_ok=True)
    file = to / "sound"
    file.write_bytes(kept)
    yield Attempt(lambda: published.audit(checkpoint=kept, keys=published.vkey), None)
    yield Attempt(audited(published, "--checkpoint", file, "--vkey", published.vkey), 0)
    yield Attempt(lambda: published.read(checkpoint=kept).close(), None)
    address = f"file://{published.remote}"
    yield Attempt(command("verify", "--store", address, "--checkpoint", file), 0)
    restore = ("restore", published.remote, to / "good", "--checkpoint", file)
    yield Attempt(command(*restore), 0)
