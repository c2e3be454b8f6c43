"""Rounds of a server that is killed while producers send frames to it.

Each producer sends frame after frame, and the same one again after every failure, whichever it was,
until it is answered. A server process is killed with SIGKILL at a moment that the seed decides, and
another is started on the store. In the end each frame is there once, and whole: in stream `a` and
in stream `b`, in the order in which its producer sent it, with the receipts that were answered.

`python -m rigs.server.frames [ROUNDS] [SEED]` runs more of them.
"""

from __future__ import annotations

import http.client
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import transit
from transit import Log

STREAMS: Final = ("a", "b")
PRODUCERS: Final = 4
NEVER: Final = 1 << 40
WAIT_S: Final = 120
SERVER: Final = Path(__file__).parents[2] / "tests" / "server" / "api" / "dying_server.py"

Receipts = dict[tuple[int, int], list[int]]
"""By producer and number of the frame: the offsets that were answered, one a stream."""


class Servers:
    """One server process after another, on one store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._started = 0
        self.port = 0

    def start(self) -> None:
        """Start one, and wait until it listens."""
        ready = self._folder / f"port{self._started}"
        self._started += 1
        command = [sys.executable, str(SERVER), str(self._folder / "store"), str(ready)]
        self._child = subprocess.Popen([*command, str(NEVER)])
        for _ in range(WAIT_S * 100):
            if ready.exists():
                self.port = int(ready.read_text())
                return
            if self._child.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError("the server did not start")

    def kill(self) -> None:
        """End it at once."""
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL)
            self._child.wait(WAIT_S)
            self._child = None


class Producer(threading.Thread):
    """Sends frames until it is told to stop, each until it is answered."""

    def __init__(self, servers: Servers, number: int, receipts: Receipts) -> None:
        super().__init__()
        self._servers = servers
        self._number = number
        self._receipts = receipts
        self.stopping = threading.Event()
        self.sent = 0
        self.repeated = 0
        self.refused = ""

    def run(self) -> None:
        """Send one frame after the other."""
        while not self.stopping.is_set() and not self.refused:
            text = f"{self._number}:{self.sent}"
            while not self._send(text) and not self.refused:
                time.sleep(0.005)
            self.sent += 1

    def _send(self, text: str) -> bool:
        steps = [{"op": "append", "stream": name, "text": text} for name in STREAMS]
        headers = {
            "content-type": "application/json",
            "producer-id": f"p{self._number}",
            "producer-epoch": "0",
            "producer-seq": str(self.sent),
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._servers.port, timeout=WAIT_S)
        try:
            connection.request("POST", "/v1/frames", json.dumps({"steps": steps}), headers)
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        if answer.status != 200:
            self.refused = f"{text}: {answer.status} {told}"
            return False
        self.repeated += answer.headers["transit-repeated"] == "true"
        offsets = [each["offset"] for each in told["receipts"]]
        self._receipts[self._number, self.sent] = offsets
        return True


def rounds(folder: Path, count: int, seed: int) -> tuple[int, int, list[str]]:
    """Kill so many servers; frames that were answered, of these from memory, and what is wrong."""
    draw = random.Random(seed)
    with transit.open(folder / "store") as log:
        for name in STREAMS:
            log.create(name)
    servers, receipts = Servers(folder), Receipts()
    producers = [Producer(servers, number, receipts) for number in range(PRODUCERS)]
    try:
        servers.start()
        for producer in producers:
            producer.start()
        for _ in range(count):
            time.sleep(draw.uniform(0.01, 0.3))
            servers.kill()
            servers.start()
        for producer in producers:
            producer.stopping.set()
        for producer in producers:
            producer.join(WAIT_S)
    finally:
        for producer in producers:
            producer.refused = producer.refused or "ended"
            producer.stopping.set()
        servers.kill()
    with transit.open(folder / "store") as log:
        wrong = list(findings(log, receipts))
        wrong += [each.refused for each in producers if each.refused != "ended"]
    return len(receipts), sum(each.repeated for each in producers), wrong


def findings(log: Log, receipts: Receipts) -> Iterator[str]:
    """What is not as the producers were told: a frame missing, torn, twice, or elsewhere."""
    for place, name in enumerate(STREAMS):
        told = {f"{p}:{n}": offsets[place] for (p, n), offsets in receipts.items()}
        found: dict[str, list[int]] = {}
        for record in log.stream(name):
            found.setdefault(record.payload.decode(), []).append(record.offset)
        for text, offset in told.items():
            if found.get(text) != [offset]:
                yield f"{name}: frame {text} is at {found.get(text)}, not at {offset} alone"
        for text in found.keys() - told.keys():
            yield f"{name}: frame {text} was never answered"
    if not log.verify().ok:
        yield "the store is damaged"


def main(count: int, seed: int) -> int:
    """Run rounds and say what came of them."""
    with tempfile.TemporaryDirectory() as folder:
        answered, repeated, wrong = rounds(Path(folder), count, seed)
    print(f"seed {seed}: {count} kills, {answered} frames, {repeated} answered again")
    print("\n".join(wrong) or "all there once")
    return bool(wrong)


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:]]
    sys.exit(main(*(numbers + [20, 1][len(numbers) :])))
