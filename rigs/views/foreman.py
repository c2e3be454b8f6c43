"""Runners in processes of their own, on one store in mode "shared", killed and stopped at random.

`python -m rigs.views.foreman FOLDER SEED KILLS PLANT` has everything imported, no thread and no
open store, and makes runners from itself by fork(): in milliseconds. One kill in three is a SIGSTOP
instead that lasts longer than a claim, then SIGCONT. The clock of the runners goes 50 times as fast
as the machine's: a tick is due each 2 ms, a schedule each 20 ms, a claim lasts 20 ms.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Final, NoReturn

import transit
from rigs.views.plants import plant
from transit.views.loops.due import Wake
from transit.views.loops.reconcile import reconciler
from transit.views.loops.running import runner
from transit.views.loops.scheduling import schedule
from transit.views.loops.ticks import Tick

RUNNERS: Final = 3
SPEED: Final = 50
PERIOD_S: Final = 0.1
FIRED_PERIOD_S: Final = 1.0
EFFECTS: Final = "effects"
FIRED: Final = "fired"
NAME: Final = "count"
BODIES: Final = "bodies"
SETTINGS: Final = transit.Settings(seal_bytes=64 * 1024)


class FastClock:
    """A clock that was right at `base`, and goes faster."""

    def __init__(self, base: int) -> None:
        self._base = base

    def now(self) -> int:
        """See `Clock.now`."""
        return self._base + (time.time_ns() - self._base) * SPEED

    def wait(self, wake: Wake, until: int | None) -> None:
        """See `Clock.wait`."""
        seconds = 0.2 if until is None else (until - self.now()) / SPEED / 1e9
        if seconds > 0:
            wake.wait(min(seconds, 0.2))


def _work(folder: Path, base: int, seed: int) -> None:
    """Run ticks and fire a schedule until killed."""
    draw = random.Random(seed)
    bodies = os.open(folder / BODIES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @reconciler(name=NAME, every=PERIOD_S, catch_up="all", timeout=3_600.0)
    def count(tick: Tick) -> None:
        os.write(bodies, b"%d\n" % tick.n)
        number = tick.kv["n"] = int(str(tick.kv.get("n", 0))) + 1
        if draw.random() < 0.5:
            time.sleep(draw.random() * 0.01)
        tick.batch.append(EFFECTS, b"%d" % number)

    with transit.open(folder / "store", mode="shared", durability="os", settings=SETTINGS) as log:
        clock = FastClock(base)
        with runner(log, [count], clock=clock, claim=1.0) as running:
            running.run()


def _set_up(folder: Path, base: int) -> None:
    with transit.open(folder / "store", mode="shared", durability="os", settings=SETTINGS) as log:
        log.create(EFFECTS)
        log.create(FIRED)
        schedule(
            log,
            NAME,
            every=FIRED_PERIOD_S,
            append=(FIRED, b"x"),
            catch_up="all",
            clock=FastClock(base),
        )


def _fork(folder: Path, base: int, seed: int, planted: str) -> int:
    child = os.fork()
    if child:
        return child
    try:
        plant(planted)
        _set_up(folder, base) if seed < 0 else _work(folder, base, seed)
        _end(0)
    except BaseException:
        (folder / f"failed-{os.getpid()}").write_text(traceback.format_exc())
    _end(1)


def _end(code: int) -> NoReturn:
    os._exit(code)


def _disturb(draw: random.Random, pid: int) -> bool:
    """Kill a runner, or stop it for a while; whether it is dead."""
    if draw.random() < 1 / 3:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.01 + draw.random() * 0.07)
        if draw.random() < 0.8:
            os.kill(pid, signal.SIGCONT)
            return False
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def main(folder: Path, seed: int, kills: int, planted: str) -> None:
    """Disturb runners so often, then end them all."""
    draw, base = random.Random(seed), time.time_ns()
    os.waitpid(_fork(folder, base, -1, ""), 0)
    runners = [_fork(folder, base, draw.randrange(2**31), planted) for _ in range(RUNNERS)]
    while kills:
        time.sleep(0.005 + draw.random() * 0.05)
        place = draw.randrange(RUNNERS)
        if _disturb(draw, runners[place]):
            runners[place] = _fork(folder, base, draw.randrange(2**31), planted)
        kills -= 1
    for pid in runners:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
