"""What evidence costs: checkpoints beside seals, and proofs made and checked.

    python -m benchmarks.evidence [--streams N] [--turns N] [--json FILE]

CPU time in milliseconds, medians of the turns of one run: of rounds that append to every stream,
seal and sign; of proofs of one record, made with and without the leaves of its segment at hand, and
checked from their files. Sizes are in bytes, and do not depend on the machine; requests are those
to a remote that has everything.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import process_time
from typing import Any, Final

import msgspec

import transit
from benchmarks.report import Machine, aligned, machine, to_json
from transit.store import open_store
from transit.testing.doors import FaultDoor

PAYLOAD: Final = b'{"event": "tool-call", "name": "search", "text": "%06d of %06d"}' + b" " * 400
ROUNDS_MIN: Final = 5


class Row(msgspec.Struct, frozen=True):
    """One figure."""

    name: str
    value: float
    unit: str


class Evidence(msgspec.Struct, frozen=True):
    """A run: on what machine, with how many streams, and its figures."""

    machine: Machine
    streams: int
    rows: list[Row]


def cpu_ms(work: Callable[[], Any]) -> float:
    """The CPU time of all threads that `work` takes, milliseconds."""
    begun = process_time()
    work()
    return (process_time() - begun) * 1e3


def rounds(log: transit.Log, key: transit.SigningKey, streams: int, turns: int) -> list[Row]:
    """Rounds of a record a stream: a seal alone, one and a signature, and nothing new."""
    runs = [log.create(f"run-{number:06}", durability="memory") for number in range(streams)]
    log.checkpoint(key)
    alone, signed, nothing = [], [], []
    for turn in range(2 * turns):
        for number, run in enumerate(runs):
            run.append(PAYLOAD % (turn, number), durability="memory")
        log.sync()
        if turn % 2:
            alone.append(cpu_ms(log.seal))
        else:
            signed.append(cpu_ms(lambda: log.checkpoint(key)))
            nothing.append(cpu_ms(lambda: log.checkpoint(key)))
    seal = statistics.median(alone)
    return [
        Row(f"seal of {streams:,} streams", seal, "ms"),
        Row("the same with a checkpoint", statistics.median(signed), "ms"),
        Row("of it, beside the seal", statistics.median(signed) / seal, "×"),
        Row("a checkpoint with nothing new", statistics.median(nothing), "ms"),
    ]


def proofs(path: Path, key: transit.SigningKey, streams: int, turns: int) -> list[Row]:
    """Proofs of one record, made by a reader of the folder, and checked."""
    cold, warm, checked, sizes, beside, names = [], [], [], [], [], []
    with transit.open(path, mode="read") as log:
        for turn in range(turns):
            name = f"run-{turn * (streams // turns):06}"
            offset = turn % len(log.stream(name))
            cold.append(cpu_ms(lambda n=name, o=offset: log.prove(n, o)))  # type: ignore[misc]
            warm.append(cpu_ms(lambda n=name, o=offset: log.prove(n, o)))  # type: ignore[misc]
            proof = log.prove(name, offset)
            files = {name: data for name, data in proof.items() if name != "HOW.txt"}
            checked.append(cpu_ms(lambda f=files: transit.check_proof(f, key.verifying)))  # type: ignore[misc]
            sizes.append(sum(map(len, files.values())))
            shown = sum(len(data) for name, data in files.items() if name.startswith("leaves/"))
            beside.append(sizes[-1] - shown - len(files["payload"]))
            names.append(_of_the_name(files))
    return [
        Row("a proof of a record, first of its segment", statistics.median(cold), "ms"),
        Row("a proof of a record, leaves at hand", statistics.median(warm), "ms"),
        Row("a check of it", statistics.median(checked), "ms"),
        Row("its files without HOW.txt", statistics.median(sizes), "bytes"),
        Row("of these, beside chunks and payload", statistics.median(beside), "bytes"),
        Row("of these, what shows the stream's name", statistics.median(names), "bytes"),
    ]


def _of_the_name(files: Mapping[str, bytes]) -> int:
    """Bytes of a proof that say which stream its record is in: a leaf, and its commit if apart."""
    leaves = msgspec.json.decode(files["proof.json"])["leaves"]
    lineage = [leaf for leaf in leaves if leaf["stream"] == 0]
    others = {leaf["commit"] for leaf in leaves if leaf["stream"]}
    apart = {f"commits/{leaf['commit']:020}" for leaf in lineage if leaf["commit"] not in others}
    of_commits = sum(len(data) for name, data in files.items() if name.split(".")[0] in apart)
    return of_commits + sum(len(msgspec.json.encode(leaf)) + 1 for leaf in lineage)


def requests(folder: Path, key_name: str) -> list[Row]:
    """What a remote is asked for."""
    door = FaultDoor(open_store(folder / "remote"))
    with transit.open(folder / "published", remote=door, durability="os") as log:
        key = transit.SigningKey.generate(f"{key_name}/{log.store_id}")
        run = log.create("run")
        for _ in range(300):
            run.append(PAYLOAD % (0, 0))
            log.seal()
        log.publish()
        log.checkpoint(key)
        run.append(PAYLOAD % (0, 0))
        log.publish()
        counts = []
        for _ in range(2):
            start = len(door.requests)
            log.checkpoint(key)
            puts = [kind for kind, _ in door.requests[start:] if kind in ("put", "create")]
            counts += [len(puts), len(door.requests) - start]
    start = len(door.requests)
    transit.restore(door, folder / "restored", lazy=True)
    commits = [key for _, key in door.requests[start:] if key.startswith(("commits/", "tile/"))]
    return [
        Row("PUTs of a checkpoint", counts[0], ""),
        Row("requests with nothing new", counts[3], ""),
        Row("requests for the 301 commits of a restore", len(commits), ""),
    ]


def measure(streams: int, turns: int, folder: Path) -> list[Row]:
    """All figures of one run."""
    with transit.open(folder / "store", durability="os") as log:
        key = transit.SigningKey.generate(f"bench.example/{log.store_id}")
        rows = rounds(log, key, streams, turns)
        log.checkpoint(key)
    rows += proofs(folder / "store", key, streams, turns)
    return rows + requests(folder, "bench.example")


def main() -> None:
    """Measure and print; keep the figures where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--streams", type=int, default=3_000)
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options.streams, max(options.turns, ROUNDS_MIN), Path(folder))
    print(f"{options.streams:,} streams")
    print(aligned([("row", "value", "")] + [(r.name, f"{r.value:.3g}", r.unit) for r in rows]))
    if options.json:
        found = Evidence(machine(tempfile.gettempdir()), options.streams, rows)
        options.json.write_bytes(to_json(found))


if __name__ == "__main__":
    main()
