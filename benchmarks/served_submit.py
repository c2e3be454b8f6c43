"""`submit` over a connection, beside the same records posted by hand and appended without a server.

Records of 200 B to a server in another process of this machine, durability `os`. "posted" are the
same frames, encoded before the clock starts and sent by bare urllib3: what the server and HTTP
cost. "embedded" is `append_many` of as many at once in this process. Rates are by wall clock: read
them beside the load that is printed; CPU is of each process, a record. Rounds take turns.

    python -m benchmarks.served_submit [--records N] [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import urllib3

import transit
from benchmarks.served import cpu_s
from benchmarks.servers import ours, working_place
from transit.protocol.calls import MSGPACK, AppendMany, FrameRequest, encode

RECORD_BYTES: Final = 200
FRAME_RECORDS: Final = 4_000


class Way(NamedTuple):
    """One round of one way: records a second, CPU microseconds a record here and of the server."""

    rate: float
    here_us: float
    server_us: float


def submitted(url: str, payloads: list[bytes]) -> Callable[[], object]:
    """All by `submit`, each with its future, until the last is answered."""

    def work() -> None:
        with transit.connect(url) as log:
            stream = log.stream("s")
            futures = [stream.submit(payload) for payload in payloads]
            for future in futures:
                future.result()

    return work


def posted(url: str, payloads: list[bytes]) -> Callable[[], object]:
    """The same in frames that are encoded already, one after the other."""
    frames = [
        encode(FrameRequest([AppendMany("s", payloads[at : at + FRAME_RECORDS])]), MSGPACK)
        for at in range(0, len(payloads), FRAME_RECORDS)
    ]
    address = urlsplit(url)
    pool = urllib3.HTTPConnectionPool(address.hostname or "", address.port)
    headers = {"content-type": MSGPACK, "accept": MSGPACK, "producer-epoch": "0"}
    headers["producer-id"] = os.urandom(8).hex()

    def work() -> None:
        for number, frame in enumerate(frames):
            given = {**headers, "producer-seq": str(number)}
            answer = pool.urlopen("POST", "/v1/frames", frame, given)
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {answer.data[:300]!r}")

    return work


def embedded(payloads: list[bytes]) -> Callable[[], object]:
    """As many at once, without a server."""

    def work() -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            transit.open(folder, durability="os") as log,
        ):
            stream = log.create("s")
            for at in range(0, len(payloads), FRAME_RECORDS):
                stream.append_many(payloads[at : at + FRAME_RECORDS])

    return work


def timed(work: Callable[[], object], count: int, pid: int) -> Way:
    """One round."""
    server, here, began = cpu_s(pid), time.process_time(), time.perf_counter()
    work()
    wall, used = time.perf_counter() - began, time.process_time() - here
    return Way(count / wall, used / count * 1e6, (cpu_s(pid) - server) / count * 1e6)


def measure(records: int, rounds: int) -> dict[str, list[Way]]:
    """The rounds of each way."""
    payloads = [b"%08d" % number + b"x" * (RECORD_BYTES - 8) for number in range(records)]
    found: dict[str, list[Way]] = {}
    with working_place() as place, ours(place) as server:
        with transit.connect(server.url) as log:
            log.create("s")
        for _ in range(rounds):
            for name, work in (
                ("submit", submitted(server.url, payloads)),
                ("posted", posted(server.url, payloads)),
                ("embedded", embedded(payloads)),
            ):
                found.setdefault(name, []).append(timed(work, records, server.pid))
    return found


def main() -> None:
    """Measure, print medians and ratios, and keep the rounds where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.records, options.rounds)
    for name, rounds in found.items():
        rates = [each.rate for each in rounds]
        here, server = (statistics.median(each[place] for each in rounds) for place in (1, 2))
        print(
            f"{name:9} {statistics.median(rates):10,.0f} records/s (up to {max(rates):,.0f})"
            f"  CPU a record: {here:5.1f} us here, {server:5.1f} us server"
        )
    submit = statistics.median(each.rate for each in found["submit"])
    for name in ("posted", "embedded"):
        print(f"submit to {name}: {submit / statistics.median(e.rate for e in found[name]):.2f} x")
    print("load:", *(f"{each:.1f}" for each in os.getloadavg()), "on", os.cpu_count(), "cores")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
