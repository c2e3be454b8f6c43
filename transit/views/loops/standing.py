"""A ready-made reconciler that takes a store over: a standby, a health check, a count.

It runs in a store of the operator's own, which is not the one that it watches: that one may be
dead. A false alarm is safe: the fence keeps the two writers apart, the one that was taken over from
finds out when it publishes, and loses nothing. A takeover is made once, and a retry of a tick that
was cut short finds it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Final, Unpack

import transit
from transit import InvalidInputError, Keyring, Log, Settings, Standby
from transit.views.loops.keeping import Options
from transit.views.loops.reconcile import TIMEOUT_S_MAX, Reconciler, reconciler
from transit.views.loops.ticks import Tick

FAILURES: Final = 3
CHECK_S: Final = 5.0
_TOLD_MAX: Final = 500
Healthy = Callable[[], bool]


def answers(url: str, *, timeout: float = CHECK_S) -> Healthy:
    """A health check: whether `url` answers with a status of 200 to 299 within `timeout` seconds.

    A server of transit answers at `/healthz`. Needs urllib3 (transit[client]). `InvalidInputError`
    for what is no http(s) URL.
    """
    try:
        # The room that may open sockets, loaded when it is used.
        room = import_module("transit.client.health")
    except ModuleNotFoundError as error:
        if error.name != "urllib3":
            raise
        raise InvalidInputError(
            "a health check of a URL needs urllib3: pip install 'transit[client]'"
        ) from None
    healthy: Healthy = room.answers(url, timeout)
    return healthy


def succeeds(command: Sequence[str], *, timeout: float = CHECK_S) -> Healthy:
    """A health check: whether `command`, a program and its words, ends with 0 in `timeout` seconds.

    What it prints is not shown.
    """
    words = list(command)
    if not words:
        raise InvalidInputError("a health check needs a program to run")

    def healthy() -> bool:
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0

    return healthy


def take_over(  # noqa: PLR0913 - as many things are said of a takeover
    path: str | os.PathLike[str],
    remote: transit.ObjectStore | str | os.PathLike[str],
    healthy: Healthy,
    every: float | None = 10.0,
    *,
    failures: int = FAILURES,
    on_takeover: Callable[[Log], object] | None = None,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: Keyring | None = None,
    **options: Unpack[Options],
) -> Reconciler:
    """Keep `path` a standby of the store in `remote`, and take over when its writer is not well.

    healthy: asked at each tick; False, or an exception, is a failure. failures: so many in a row
    make a takeover, with them as its reason. A commit by a writer that was opened anew begins the
    count again. on_takeover: called with the opened store, which is then its own to close; None:
    the store is closed. It is called again where a crash came before its tick was recorded.
    Once it has taken over it does nothing more. Deleted and made again, it begins anew.
    """
    if type(failures) is not int or failures < 1:
        raise InvalidInputError(f"failures must be a count from 1 on, not {failures!r}")

    def make() -> Standby:
        return transit.standby(
            path, remote, storage_options=storage_options, settings=settings, keyring=keyring
        )

    watch = _Watch(path, keyring, make, healthy, failures, on_takeover)
    given: Options = {"timeout": TIMEOUT_S_MAX, "name": "take-over", **options}
    made = reconciler(every=None if "cron" in given else every, retries=0, **given)
    return made(watch.tick)


class _Watch:
    """One standby, kept from tick to tick, so that its commits are verified once."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        keyring: Keyring | None,
        make: Callable[[], Standby],
        healthy: Healthy,
        failures: int,
        on_takeover: Callable[[Log], object] | None,
    ) -> None:
        self._path, self._keyring = path, keyring
        self._make = make
        self._healthy = healthy
        self._failures = failures
        self._on_takeover = on_takeover
        self._standby: Standby | None = None

    def tick(self, tick: Tick) -> None:
        """Follow, ask, count, and take over when it is time."""
        if tick.kv.get("commit") is not None:
            tick.noop()
            return
        if self._standby is None:
            self._standby = self._make()
        try:
            self._look(tick, self._standby)
        except BaseException:
            # Whatever is wrong with it, the next tick begins with another.
            self._standby.close()
            self._standby = None
            raise

    def _look(self, tick: Tick, standby: Standby) -> None:
        before = standby.status().commits
        status = standby.follow()
        known = tick.kv.get("epoch")
        if known != status.epoch:
            if isinstance(known, int) and self._was_made(tick, known):
                self._take_over(tick, standby, known, "")
                return
            # Another writer, or the same one opened anew: what was counted was about the last one.
            tick.kv.update(epoch=status.epoch, failures=0)
        problem = self._problem()
        if not problem:
            self._is_well(tick, status.commits - before)
            return
        count = _count(tick) + 1
        tick.kv["failures"] = count
        tick.warning(f"not healthy, {count} of {self._failures}: {problem}")
        # What a takeover is found again by must have been recorded before it.
        if count >= self._failures and known == status.epoch:
            self._take_over(tick, standby, status.epoch, f"not healthy {count} times: {problem}")

    def _problem(self) -> str:
        try:
            return "" if self._healthy() else "the check says so"
        except Exception as error:
            # Whatever a check of the user's raises, it did not find the writer well.
            return f"the check raised {type(error).__name__}: {error}"[:_TOLD_MAX]

    def _is_well(self, tick: Tick, brought: int) -> None:
        if _count(tick):
            tick.kv["failures"] = 0
        if brought:
            tick.emit("follow", commits=brought)
        else:
            tick.noop()

    def _was_made(self, tick: Tick, epoch: int) -> bool:
        """Whether a tick before took over from the writer of `epoch`, and was cut short then."""
        with transit.open(self._path, mode="read", keyring=self._keyring) as log:
            return any(each.takeover_id == _id(tick, epoch) for each in transit.takeovers(log))

    def _take_over(self, tick: Tick, standby: Standby, epoch: int, reason: str) -> None:
        tick.check()
        log, takeover = standby.take_over(reason=reason, takeover_id=_id(tick, epoch))
        self._standby = None
        try:
            if self._on_takeover is not None:
                self._on_takeover(log)
        except BaseException:
            log.close()
            raise
        if self._on_takeover is None:
            log.close()
        tick.kv["commit"] = takeover.commit
        tick.emit(
            "take_over",
            commit=takeover.commit,
            records=takeover.records,
            root=takeover.root,
            written=takeover.written,
            reason=takeover.reason,
        )


def _count(tick: Tick) -> int:
    count = tick.kv.get("failures")
    return count if isinstance(count, int) else 0


def _id(tick: Tick, epoch: int) -> str:
    """What a takeover is found again by: one for each writer that it is from."""
    return f"{tick.log.store_id}/{tick.name}/{epoch}"
