"""A Ceph of one's own that is killed (kill -9) during publishes and started again.

Owns starting and killing its processes, the moments at which that happens, and the judgement: with
one writer nothing acknowledged is lost, no caller is told of a conflict, and what is in the bucket
is whole and the writer's.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import transit
from transit.store import ObjectStore, open_store
from transit.testing.doors import FaultDoor

# What scripts/s3_up.sh gives its user when it is told nothing else.
KEY: Final = "rigaccess"
SECRET: Final = "rigsecretkey"
# Each kind of victim, as often as it is drawn: all at once takes longest to start again.
VICTIMS: Final = (("rgw",), ("rgw",), ("rgw",), ("osd.0",), ("rgw", "osd.0", "mon.a"))
_PORTS: Final = 61
_PORT_FIRST: Final = 18_000
_PORT_LAST: Final = 28_000
_START_TIMEOUT_S: Final = 120
# One is over before the server is back, the other is not.
_TIMEOUTS_S: Final = (1.0, 60.0)
_REQUESTS: Final = 3
_SIDES: Final = ("before", "during", "after")
_CHECK_EVERY: Final = 5


class Ceph:
    """A server in `folder`, started by `script` (scripts/s3_up.sh) on free ports."""

    def __init__(self, script: Path, folder: Path) -> None:
        self._script = script
        self._folder = folder
        self._port = _free_ports()
        self._lock = threading.Lock()

    @property
    def options(self) -> dict[str, object]:
        """What fsspec needs to reach it."""
        endpoint = f"http://127.0.0.1:{self._port}"
        return {"endpoint_url": endpoint, "key": KEY, "secret": SECRET}

    def start(self) -> None:
        """Start what does not run; returns once it answers."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("TRANSIT_S3_")}
        with self._lock:
            done = subprocess.run(
                [str(self._script), str(self._folder), str(self._port)],
                capture_output=True, text=True, check=False, timeout=_START_TIMEOUT_S, env=kept,
            )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the server did not start: {done.stderr}")

    def kill(self, *names: str) -> None:
        """Kill -9 these of its processes: "mon.a", "osd.0", "rgw"."""
        with self._lock:
            for name in names:
                file = self._folder / "run" / f"{name}.pid"
                with contextlib.suppress(OSError, ValueError):
                    os.kill(int(file.read_text()), signal.SIGKILL)
                # Its parent may be slow to notice, and the number would look alive.
                file.unlink(missing_ok=True)

    def stop(self) -> None:
        """End all of it."""
        self.kill("rgw", "osd.0", "mon.a")


def _free_ports() -> int:
    """The first of so many ports in a row on which no process listens."""
    chance = random.SystemRandom()
    while True:
        first = chance.randrange(_PORT_FIRST, _PORT_LAST)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + _PORTS):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


class Blow(NamedTuple):
    """Which processes are killed, and on which side of which request of a publish."""

    victims: tuple[str, ...]
    number: int
    side: str


class KillingDoor(FaultDoor):
    """An `ObjectStore` whose server is killed at a request, and started again meanwhile.

    From the blow until the server runs again it asks `struck` instead of `store`: the same objects,
    with another deadline.
    """

    def __init__(self, store: ObjectStore, struck: ObjectStore, ceph: Ceph) -> None:
        super().__init__(store)
        self._patient = store
        self._struck = struck
        self.landed = False
        self._ceph = ceph
        self._blow: Blow | None = None
        self._start = 0
        self._threads: list[threading.Thread] = []

    def arm(self, blow: Blow) -> None:
        """Strike at a request counted from now."""
        self._start, self._blow = len(self.requests), blow
        self._store = self._struck

    def wait(self) -> None:
        """Return when the server runs again."""
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._ceph.start()
        self._store = self._patient

    def _pass(self, kind: str, key: str, call: Callable[[], Any]) -> Any:
        number = len(self.requests) - self._start
        self._strike(number, "before")
        self._strike(number, "during")
        result = super()._pass(kind, key, call)
        self._strike(number, "after")
        return result

    def _strike(self, number: int, side: str) -> None:
        blow = self._blow
        if blow is None or (blow.number, blow.side) != (number, side):
            return
        self.landed, self._blow = True, None

        def revive() -> None:
            if side == "during":
                # A request takes some milliseconds: long enough for it to be on its way.
                time.sleep(random.uniform(0, 0.01))
                self._ceph.kill(*blow.victims)
            self._ceph.start()

        if side != "during":
            self._ceph.kill(*blow.victims)
        thread = threading.Thread(target=revive, daemon=True)
        self._threads.append(thread)
        thread.start()


class Rounds:
    """A writer whose server is killed in each round; `wrong` says what was broken."""

    def __init__(self, ceph: Ceph, url: str, folder: Path, seed: int) -> None:
        self._ceph = ceph
        self._folder = folder
        self._chance = random.Random(seed)
        self._stores = {
            timeout_s: open_store(url, ceph.options, timeout_s) for timeout_s in _TIMEOUTS_S
        }
        self._written: list[bytes] = []
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self, rounds: int, deadline: float | None = None) -> int:
        """Kill once a round; the count of kills."""
        for number in range(rounds):
            if deadline is not None and time.monotonic() >= deadline:
                break
            self._round()
            if number % _CHECK_EVERY == _CHECK_EVERY - 1:
                self._check(f"check-{number}")
        self._check("check-last")
        for store in self._stores.values():
            store.close()
        return self.counts["kills"]

    def _round(self) -> None:
        chance = self._chance
        timeout_s = chance.choice(_TIMEOUTS_S)
        blow = Blow(chance.choice(VICTIMS), chance.randrange(_REQUESTS), chance.choice(_SIDES))
        patient = self._stores[_TIMEOUTS_S[-1]]
        door = KillingDoor(patient, self._stores[timeout_s], self._ceph)
        settings = transit.Settings(remote_timeout_s=timeout_s)
        with transit.open(
            self._folder / "a", remote=door, durability="os", settings=settings
        ) as log:
            stream = log.stream("s") if "s" in log else log.create("s")
            for _ in range(chance.randrange(1, 20)):
                self._written.append(b"%d " % len(self._written) * chance.randrange(1, 400))
                stream.append(self._written[-1])
            door.arm(blow)
            self._publish(log, blow)
            door.wait()
            self.counts["kills"] += door.landed
            # The same handle goes on.
            self._written.append(b"after")
            if stream.append(b"after", durability="tiered").durability != "tiered":
                self.wrong.append(f"{blow}: publishing does not go on")
            if log.status().published != log.status().commits:
                self.wrong.append(f"{blow}: {log.status()}")

    def _publish(self, log: transit.Log, blow: Blow) -> None:
        try:
            log.publish()
            self.counts["rode out"] += 1
        except (transit.RemoteUnavailableError, transit.OutcomeUnknownError) as error:
            self.counts[type(error).__name__] += 1
        except transit.TransitError as error:
            self.wrong.append(f"{blow}: {error!r}")

    def _check(self, name: str) -> None:
        """Compare the bucket with what was acknowledged, and audit it."""
        store = self._stores[_TIMEOUTS_S[-1]]
        transit.restore(store, self._folder / name)
        with transit.open(self._folder / name, mode="read") as log:
            found = [record.payload for record in log.stream("s").read()]
            root = log.status().head
        if found != self._written:
            self.wrong.append(
                f"{len(self._written)} records were acknowledged, {len(found)} are there"
            )
        report = transit.audit(store, trusted_root=root)
        self.wrong += [f"{each.place}: {each.found}" for each in report.findings]


def soak(
    ceph: Ceph, url: str, folder: Path, seconds: float, seed: int, say: Callable[[str], object]
) -> int:
    """Rounds for so long; the count of violations."""
    rounds = Rounds(ceph, url, folder, seed)
    kills = rounds.run(1_000_000, time.monotonic() + seconds)
    for wrong in rounds.wrong:
        say(f"seed {seed}: {wrong}")
    say(f"{kills} times killed, {dict(rounds.counts)}, {len(rounds.wrong)} violations")
    return len(rounds.wrong)
