"""What a WebAssembly module costs beside a Python reducer of the same result, in one run.

    python -m benchmarks.wasm [--records N] [--turns N] [--json FILE]

Both add up tokens and records by run, of events of about 570 bytes; the module is the one in C of
`examples/wasm`. They take turns; CPU time of all threads, the median of the turns' ratios. A module
writes one row for each run of a call, so how many runs there are decides what is left for Python.
Of the module's time the parts are told too: reading the records, and the calls.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from time import process_time
from types import ModuleType
from typing import Final

import msgspec

import transit
from benchmarks.report import Machine, aligned, machine, to_json
from transit import views

RUNS: Final = (10, 100, 900)
TALLY: Final = Path(__file__).resolve().parents[1] / "examples" / "wasm" / "tally.py"


class Row(msgspec.Struct, frozen=True):
    """One shape. python, module, reading: CPU µs a record. ratio: how many times as fast."""

    runs: int
    python: float
    module: float
    reading: float
    ratio: float


class Wasm(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    records: int
    rows: list[Row]


def payloads(count: int, runs: int, rng: random.Random) -> Iterator[bytes]:
    """Events as an agent's are, with what is looked for at both ends."""
    words = ["".join(rng.choices("abcdefghij ", k=8)) for _ in range(500)]
    for _ in range(count):
        event = {
            "event": "tool_result",
            "run": f"run-{rng.randrange(runs):04}",
            "result": " ".join(rng.choices(words, k=55)),
            "tokens": rng.randrange(1_000),
        }
        yield msgspec.json.encode(event)


def example() -> ModuleType:
    """The example's tables, reducer and modules."""
    spec = importlib.util.spec_from_file_location("tally", TALLY)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of one call, of all threads."""
    begun = process_time()
    work()
    return process_time() - begun


def read(stream: transit.Stream) -> None:
    """Decompress all records, and look at none."""
    for batch in stream.batches():
        assert len(batch.data) == batch.ends[-1]


def measure(log: transit.Log, runs: int, records: int, turns: int) -> Row:
    """Both over one stream, in turns; they must come to the same."""
    tally = example()
    stream = log.create(f"runs-{runs}")
    made = payloads(records, runs, random.Random(records + runs))
    while part := list(islice(made, 1_000)):
        stream.append_many(part)
    log.seal()
    module = tally.by_module("tally_c.wasm")

    def fold(program: views.Program) -> views.State:
        return views.open(log, program, persist="ephemeral").of(stream)

    if list(fold(module).runs) != list(fold(tally.tally).runs):
        raise SystemExit("the module and the reducer come to different rows")
    found = [
        (
            cpu_s(lambda: fold(tally.tally)),
            cpu_s(lambda: fold(module)),
            cpu_s(lambda: read(stream)),
        )
        for _ in range(turns)
    ]
    python, in_module, reading = (
        1e6 * statistics.median(each) / records for each in zip(*found, strict=True)
    )
    ratio = statistics.median(each[0] / each[1] for each in found)
    return Row(runs, python, in_module, reading, ratio)


def main() -> None:
    """Measure and print; keep the figures where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        transit.open(Path(folder) / "store", durability="os") as log,
    ):
        rows = [measure(log, runs, options.records, options.turns) for runs in RUNS]
    print(f"{options.records:,} records, CPU µs a record")
    shown = [
        (f"{row.runs} runs", *(f"{each:.2f}" for each in (row.python, row.module, row.reading)),
         f"{row.ratio:.2f} x")
        for row in rows
    ]  # fmt: skip
    print(aligned([("", "Python", "module", "of it reading", "rate"), *shown]))
    if options.json:
        options.json.write_bytes(
            to_json(Wasm(machine(tempfile.gettempdir()), options.records, rows))
        )


if __name__ == "__main__":
    main()
