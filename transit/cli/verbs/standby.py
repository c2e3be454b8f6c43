"""`transit standby`: a folder kept where its remote is, until it takes over or is told to end."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import click

from transit import Progress, RemoteUnavailableError, Standby, StandbyStatus
from transit.cli.opening import Session
from transit.cli.options import DURATION, store_options
from transit.cli.standbys import open_standby, standby_row, takeover_row

_EVERY_S = 5.0
_STEP_S = 0.1


class _Ended(BaseException):
    """The command was told to end in the middle of a transfer."""


class _Signals:
    """Whether a signal asked for the end."""

    def __init__(self) -> None:
        self.came = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """A handler that only takes note: what runs ends at its next step."""
        self.came = True

    def check(self, progress: Progress) -> None:
        """A progress callback that ends a transfer."""
        if self.came:
            raise _Ended

    def wait(self, seconds: float) -> None:
        """Until then, or until a signal comes."""
        deadline = time.monotonic() + seconds
        while not self.came and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _STEP_S))


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--every", type=DURATION, metavar="D", help="Look so often; 5s if not given.")
@click.option("--once", is_flag=True, help="Bring what there is now, and end.")
@click.option("--healthz", metavar="URL", help="Take over when this address does not answer 200.")
@click.option("--check", metavar="COMMAND", help="Take over when this command does not end with 0.")
@click.option(
    "--failures", type=click.IntRange(1), default=3, show_default=True,
    help="Take over after so many in a row.",
)  # fmt: skip
@click.option("--then", "then", metavar="COMMAND", help="Become this command after taking over.")
@store_options
def command(
    context: Session,
    folder: str,
    *,
    every: float | None,
    once: bool,
    healthz: str | None,
    check: str | None,
    failures: int,
    then: str | None,
) -> None:
    """Keep FOLDER where the remote is, and say what comes; Ctrl-C ends it.

    Everything is brought, and verified. With --healthz or --check it takes over by itself: a false
    alarm does no harm, the writer that lives on is fenced off and loses nothing.
    """
    if healthz is not None and check is not None:
        raise click.UsageError("--healthz or --check, not both")
    watched = healthz is not None or check is not None
    if once and (watched or every is not None):
        raise click.UsageError("--once looks once, and takes nothing over")
    if then is not None and not watched:
        raise click.UsageError("--then is for --healthz and --check")
    with _signals() as signals, open_standby(context, folder) as standby:
        follower = _Follower(context, standby, signals)
        if once:
            follower.follow()
            return
        is_well = _check(healthz, check)
        while not signals.came and not follower.count(is_well, failures):
            signals.wait(_EVERY_S if every is None else every)
    if then is not None and follower.took_over:
        words = shlex.split(then)
        context.output.flush()
        os.execvp(words[0], words)


class _Follower:
    """One standby, and what was told of it."""

    def __init__(self, context: Session, standby: Standby, signals: _Signals) -> None:
        self._context = context
        self._standby = standby
        self._signals = signals
        # Of each kind of news what was told last.
        self._told: dict[str, object] = {"failures": 0}
        self._failures = 0
        self._epoch = -1
        self.took_over = False

    def follow(self) -> StandbyStatus | None:
        """Bring what is new, and tell of it; None where it was told to end meanwhile."""
        try:
            with self._context.output.progress("follow") as report:

                def tell(progress: Progress) -> None:
                    self._signals.check(progress)
                    report(progress)

                status = self._standby.follow(tell)
        except _Ended:
            return None
        self._told.pop("error", None)
        self._tell("root", status.root, standby_row(status))
        return status

    def count(self, is_well: Callable[[], bool] | None, failures: int) -> bool:
        """One round; whether it took over."""
        try:
            status = self.follow()
        except RemoteUnavailableError as error:
            # Nothing can be taken over without it, either.
            self._tell("error", str(error), {"error": str(error)})
            return False
        if status is None or is_well is None:
            return False
        if status.epoch != self._epoch:
            # Another writer, or the same one opened anew.
            self._epoch, self._failures = status.epoch, 0
        self._failures = 0 if is_well() else self._failures + 1
        self._tell("failures", self._failures, {"failures": self._failures, "of": failures})
        if self._failures < failures or self._signals.came:
            return False
        self._take_over(f"not healthy {self._failures} times")
        return True

    def _take_over(self, reason: str) -> None:
        log, takeover = self._standby.take_over(reason=reason)
        log.close()
        self.took_over = True
        self._tell("takeover", takeover.commit, takeover_row(takeover))

    def _tell(self, kind: str, news: object, row: Mapping[str, object]) -> None:
        """Say what was not said the last time."""
        if self._told.get(kind) != news:
            self._told[kind] = news
            self._context.output.row(row)
            self._context.output.flush()


def _check(healthz: str | None, check: str | None) -> Callable[[], bool] | None:
    # Imported here: `--help` needs no views.
    from transit.views.loops.standing import answers, succeeds

    if healthz is not None:
        return answers(healthz)
    return None if check is None else succeeds(shlex.split(check))


@contextmanager
def _signals() -> Iterator[_Signals]:
    """Take note of Ctrl-C and SIGTERM instead of dying of them."""
    signals = _Signals()
    before = {
        number: signal.signal(number, signals.note) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
