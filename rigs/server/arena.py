"""A server and its clients over one store, for a long time: kill -9 of both, and what must hold.

A round starts clients (`rigs.server.clients`), each a process: producers, programs that submit,
one that forks, followers. Clients are killed at random, and another life of theirs begins. In the
first part of the time the server is killed too, and started again on the same port; in the second
part one server process lives through all rounds. After each round the store is opened beside the
server and judged (`rigs.server.judging`), and when all clients have gone the server's memory and
open files are looked at: after a while they must not grow.
"""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, NamedTuple

import transit
from rigs.server.clients import JSONS, STREAMS, Job, live, stop_file
from rigs.server.judging import Judge, said_by

ROUND_S: Final = 20.0
KILLS_SHARE: Final = 0.4
"""The part of the time in which servers are killed."""
_WAIT_S: Final = 120.0
_NOISE_BYTES: Final = 4 * 1024 * 1024
_STREAM_BYTES: Final = 8 * 1024
"""What a stream more may cost the server: its name, its place in the lineage, its records."""
_LIMITS: Final = ("answers_bytes_max=1MiB", "ping_s=1s", "frame_producers_max=1000", "sse_s=20s")
_SETTINGS: Final = {
    "TRANSIT_LIMITS_SEAL_BYTES": "4194304",
    "TRANSIT_LIMITS_CACHE_BYTES_MAX": "4194304",
}
# One listens, two are the event loop's own.
_OWN_SOCKETS: Final = 3
_FILES_MORE: Final = 8
CLIENTS: Final = (
    ("append", "p0", ("a",)),
    ("append", "p1", ("b",)),
    ("append", "p2", ("a",)),
    ("submit", "u0", ("a", "c")),
    ("submit", "u1", ("b", "c")),
    ("fork", "f0", ("a", "b")),
    ("follow", "r0", ("a",)),
    ("follow", "r1", ("b",)),
    ("follow", "r2", ("c",)),
)
_IMPATIENT: Final = "u1"
_IMPATIENT_S: Final = 0.3

_PROCESSES: Final = multiprocessing.get_context("forkserver")
# Imported once, so that a client begins in milliseconds.
_PROCESSES.set_forkserver_preload(["rigs.server.clients"])


class Sample(NamedTuple):
    """What the server holds when it has no client: bytes, open files, sockets; and streams."""

    seconds: float
    rss: int
    files: int
    sockets: int
    streams: int


class Tally(NamedTuple):
    """What a soak came to."""

    rounds: int
    records: int
    lines: int
    servers_killed: int
    clients_killed: int
    samples: list[Sample]
    problems: list[str]


class Server:
    """One server process after another, on one store and one port."""

    def __init__(self, folder: Path, plant: str) -> None:
        self.store = folder / "store"
        self._log = folder / "server.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        named = ["rigs.server.planted", plant] if plant else ["transit"]
        limits = [part for limit in _LIMITS for part in ("--limit", limit)]
        self._command = [
            sys.executable, "-m", *named, "serve", "--store", str(self.store), "--quiet",
            "--bind", f"127.0.0.1:{self.port}", *limits,
        ]  # fmt: skip
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._child is not None
        return self._child.pid

    def start(self) -> None:
        """Start one, and wait until it answers."""
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                self._command, stdout=log, stderr=log, env={**os.environ, **_SETTINGS}
            )
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline and self._child.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask("GET", "/healthz") == 200:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"the server did not start: {self._log.read_text()[-2000:]}")

    def ask(self, method: str, path: str, kind: str = "") -> int:
        """The status of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_WAIT_S)
        with contextlib.closing(connection):
            connection.request(method, path, headers={"content-type": kind} if kind else {})
            return connection.getresponse().status

    def kill(self) -> None:
        """Kill -9."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def end(self) -> int:
        """Tell it to end; its exit code."""
        assert self._child is not None
        self._child.send_signal(signal.SIGTERM)
        return self._child.wait(_WAIT_S)

    def sample(self, seconds: float, streams: int) -> Sample:
        """What it holds, once the last client's connection has gone."""
        place = Path(f"/proc/{self.pid}")
        deadline = time.monotonic() + _WAIT_S / 4
        while True:
            links = []
            for each in (place / "fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    links.append(os.readlink(each))
            sockets = sum(each.startswith("socket:") for each in links)
            if sockets <= _OWN_SOCKETS or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        status = (place / "status").read_text()
        rss = int(status.partition("VmRSS:")[2].split()[0]) * 1024
        return Sample(seconds, rss, len(links) - sockets, sockets, streams)


class Arena:
    """One store, its server, and the rounds on it."""

    def __init__(self, folder: Path, seed: int, plant: str = "") -> None:
        self._folder, self._seed = folder, seed
        self._lot = random.Random(f"soak {seed}")
        self.judge = Judge()
        self.server = Server(folder, plant)
        self.samples: list[Sample] = []
        self.rounds = self.servers_killed = self.clients_killed = 0
        self._lives = 0
        self._said = folder / "said"
        self._running: dict[str, tuple[Job, BaseProcess]] = {}
        self._began = time.monotonic()
        self.server.start()
        for name in STREAMS:
            kind = "application/json" if name in JSONS else "text/plain"
            if self.server.ask("PUT", f"/v1/stream/{name}", kind) != 201:
                raise RuntimeError(f"stream {name} was not made")

    @property
    def problems(self) -> list[str]:
        """What was wrong so far."""
        return self.judge.problems

    def round(self, seconds: float, *, server_dies: bool) -> None:
        """Clients that work for so long, some of which are killed; then the judgement."""
        self.rounds += 1
        self._said = self._folder / f"round-{self.rounds}"
        self._said.mkdir()
        for client in CLIENTS:
            self._start(client, self.judge.seen[client[2][0]])
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, self._lot.uniform(0.1, min(3.0, seconds / 4))))
            if server_dies and self._lot.random() < 0.7:
                self.server.kill()
                time.sleep(self._lot.choice((0.0, 0.2)))
                self.server.start()
                self.servers_killed += 1
            elif self._lot.random() < 0.5:
                self._replace(self._lot.choice(CLIENTS))
        stop_file(self._said).touch()
        self._judge()
        if not server_dies:
            self._look()
        shutil.rmtree(self._said)

    def _start(self, client: tuple[str, str, tuple[str, ...]], start: int) -> None:
        role, name, streams = client
        self._lives += 1
        patience = {"timeout_s": _IMPATIENT_S} if name == _IMPATIENT else {}
        job = Job(
            role, name, self._lives, self.server.port, str(self._said), self._seed, streams, start,
            **patience,
        )  # fmt: skip
        process = _PROCESSES.Process(target=live, args=(job,), daemon=True)
        process.start()
        self._running[name] = job, process

    def _replace(self, client: tuple[str, str, tuple[str, ...]]) -> None:
        """Kill one, and begin its next life."""
        job, process = self._running[client[1]]
        if process.exitcode is None:
            process.kill()
            self.clients_killed += 1
        process.join(_WAIT_S)
        self._start(client, self._reached(job))

    def _reached(self, job: Job) -> int:
        """Where a follower stands."""
        lines = said_by(self._said).get(job.id, []) if job.role == "follow" else []
        return max((line.stop for line in lines if line.what == "saw"), default=job.start)

    def _judge(self) -> None:
        for job, process in self._running.values():
            if job.role != "follow":
                process.join(_WAIT_S)
                if process.exitcode != 0:
                    self.problems.append(f"{job.id} ended with {process.exitcode}")
        # What a client that was killed had sent may still be on its way.
        time.sleep(0.2)
        with transit.open(self.server.store, mode="read") as log:
            self._await_followers({name: len(log.stream(name)) for name in STREAMS})
            self.judge.hold(log, said_by(self._said))
        for path in self._said.glob("*.failed"):
            self.problems.append(f"{path.stem}: {path.read_text()[-2000:]}")

    def _await_followers(self, counts: dict[str, int]) -> None:
        """Followers see all there is; then they are killed."""
        for job, process in self._running.values():
            if job.role == "follow":
                (stream,), deadline = job.streams, time.monotonic() + _WAIT_S / 2
                while self._reached(job) < counts[stream] and time.monotonic() < deadline:
                    time.sleep(0.05)
                if self._reached(job) < counts[stream]:
                    reached = self._reached(job)
                    self.problems.append(f"{job.id} saw {reached} of {counts[stream]} records")
                process.kill()
                process.join(_WAIT_S)

    def _look(self) -> None:
        with transit.open(self.server.store, mode="read") as log:
            streams = sum(1 for _ in log.streams()) + sum(1 for _ in log.hidden())
        self.samples.append(self.server.sample(time.monotonic() - self._began, streams))

    def finish(self) -> Tally:
        """End the server, and hold all of the store to what was judged."""
        code = self.server.end()
        if code:
            self.problems.append(f"the server ended with {code}")
        with transit.open(self.server.store) as log:
            self.judge.hold_all(log)
        self.problems.extend(grown(self.samples))
        return Tally(
            self.rounds, self.judge.records, self.judge.lines, self.servers_killed,
            self.clients_killed, self.samples, self.problems,
        )  # fmt: skip

    def close(self) -> None:
        """End all processes."""
        for _, process in self._running.values():
            process.kill()
        self.server.kill()


def grown(samples: Sequence[Sample]) -> list[str]:
    """What grew in the server's process while it had time to come to rest: in the second half."""
    half = samples[len(samples) // 2 :]
    if len(half) < 3:
        return []
    problems = []
    files = max(each.files for each in half) - max(each.files for each in samples[: -len(half)])
    if files > _FILES_MORE:
        problems.append(f"grew: {files} files more are open, {half[-1]}")
    if half[-1].sockets > _OWN_SOCKETS:
        problems.append(f"grew: {half[-1].sockets} sockets are open without a client")
    times = [each.seconds for each in half]
    line = statistics.linear_regression(times, [each.rss for each in half])
    rest = [each.rss - line.slope * each.seconds - line.intercept for each in half]
    rise = line.slope * (times[-1] - times[0])
    fair = (half[-1].streams - half[0].streams) * _STREAM_BYTES
    if rise > fair + _NOISE_BYTES + 3 * statistics.pstdev(rest):
        problems.append(f"grew: memory rose by {rise:,.0f} bytes; {fair:,} are fair")
    return problems


def soak(
    seconds: float, seed: int, folder: Path, say: Callable[[object], object], plant: str = ""
) -> Tally:
    """Rounds for so long, or until something is wrong."""
    began = time.monotonic()
    each_s = min(ROUND_S, max(2.0, seconds / 12))
    arena = Arena(folder, seed, plant)
    try:
        while (past := time.monotonic() - began) < seconds and not arena.problems:
            arena.round(each_s, server_dies=past < seconds * KILLS_SHARE)
            last = arena.samples[-1] if arena.samples else ""
            say(f"{past:.0f} s: round {arena.rounds}, {arena.judge.records} records, {last}")
        return arena.finish()
    finally:
        arena.close()
