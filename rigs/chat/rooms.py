"""Processes in one room, some of them killed, and what must be true of the room afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import transit
from rigs.chat.last import Last
from rigs.chat.roles import CHANNEL
from transit import chat

WAIT_S = 300


class Actor(NamedTuple):
    """A process: its role, its name, how much it does."""

    role: str
    name: str
    times: int


class Room:
    """A store in which processes talk."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.store = folder / "store"
        self._folder, self._seed = folder, seed
        self._lot = random.Random(seed)
        self._turn = 0
        self.said: list[tuple[str, ...]] = []
        """What processes said that they did, all rounds together."""
        self.problems: list[str] = []

    def play(self, actors: list[Actor], kill: int = 0) -> None:
        """Let them act at once; kill some at moments drawn at random."""
        self._turn += 1
        started = [self._start(actor) for actor in actors]
        for place in self._lot.sample(range(len(actors)), kill):
            time.sleep(self._lot.random() * 0.5)
            started[place][0].send_signal(signal.SIGKILL)
        for (process, output), actor in zip(started, actors, strict=True):
            try:
                code = process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = None
            self._take(actor, code, output)

    def _start(self, actor: Actor) -> tuple[subprocess.Popen[bytes], Path]:
        output = self._folder / f"{self._turn}-{actor.role}-{actor.name}"
        command = [sys.executable, "-m", "rigs.chat.roles", actor.role, str(self.store)]
        with output.open("wb") as said, output.with_suffix(".failed").open("wb") as failed:
            process = subprocess.Popen(
                [*command, actor.name, str(actor.times), str(self._seed + self._turn)],
                stdout=said,
                stderr=failed,
                cwd=Path(__file__).parents[2],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
        return process, output

    def _take(self, actor: Actor, code: int | None, output: Path) -> None:
        text = output.read_text()
        # A line that was not ended was not said.
        lines = text[: text.rfind("\n") + 1].splitlines()
        self.said += [tuple(line.split(" ")) for line in lines]
        if code not in (0, -signal.SIGKILL):
            failed = output.with_suffix(".failed").read_text()
            self.problems.append(f"{actor} ended with {code}: {failed[-2000:]}")

    def judge(self) -> None:
        """Hold the room to what was said."""
        with transit.open(self.store, mode="shared", durability="os") as log:
            channel = chat.channel(log, CHANNEL)
            self._messages(channel)
            self._replies(channel)
            # What nobody had decided is decided now; then each is decided, and once.
            list(chat.threading(channel, classifier=Last()).run())
            self._decisions(channel)
            report = log.verify()
            if not report.ok:
                self.problems.append(f"verify: {report.findings[:3]}")

    def _messages(self, channel: chat.Channel) -> None:
        ids = Counter(message.id for message in channel.messages())
        doubled = [each for each, count in ids.items() if count > 1]
        if doubled:
            self.problems.append(f"{len(doubled)} messages are there twice: {doubled[:3]}")
        index = channel.index
        for what, *rest in self.said:
            if what == "posted" and index.find(rest[0]) != int(rest[1]):
                self.problems.append(f"{rest} was acknowledged; {index.find(rest[0])} is there")

    def _replies(self, channel: chat.Channel) -> None:
        there: Counter[str] = Counter()
        for thread in channel.threads().all():
            for stream, index in thread.replies():
                for offset in index.messages(0):
                    there[f"{stream.name}@{offset}"] += 1
        for what, *rest in self.said:
            if what == "replied" and there[rest[1]] != 1:
                self.problems.append(f"{rest} was acknowledged; {there[rest[1]]} are there")

    def _decisions(self, channel: chat.Channel) -> None:
        threads = channel.threads()
        before = None
        for offset in channel.index.messages(0):
            place = threads.fold.evidence(offset)
            if place is None:
                self.problems.append(f"message {offset} was never decided")
                continue
            assert threads.stream is not None
            found = threads.stream[place].payload
            wanted = "null" if before is None else str(before)
            if f'"parent":{wanted},'.encode() not in found:
                self.problems.append(f"message {offset} answers {before}, not {found!r}")
            before = offset
        said = [(rest[0], rest[1]) for what, *rest in self.said if what == "overridden"]
        kept = Counter(
            (str(each.message), str(each.parent))
            for each in threads.decisions()
            if isinstance(each, chat.Override)
        )
        for pair, count in Counter(said).items():
            if kept[pair] < count:
                self.problems.append(f"override {pair} was said {count} times: {kept[pair]}")
        adopted = [rest[0] for what, *rest in self.said if what == "adopted"]
        if len(adopted) != len(set(adopted)) or threads.adoption < len(adopted):
            self.problems.append(f"adopted: {adopted}; {threads.adoption} are in force")
