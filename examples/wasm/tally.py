"""The same view three times: by a module written in C, one in AssemblyScript, and in Python.

    python examples/wasm/tally.py

The modules lie beside their sources; `scripts/wasm_examples.sh` makes them again.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec

import transit
from transit import views

HERE = Path(__file__).resolve().parent
DIGESTS: Final = {
    "tally_c.wasm": "c85017eba19958014b499d8c9508ee007dcd31389aff796933b7fe762a12bdcb",
    "tally_as.wasm": "fb813802b50e78884e168993bdfb6cd195bbf015cafbb2603797f95a3378eeee",
}
"""BLAKE3 of the modules, as `b3sum` and the spec of a view have it."""


class Run(msgspec.Struct, frozen=True):
    name: str
    records: int = 0
    tokens: int = 0


class Result(msgspec.Struct):
    run: str
    tokens: int = 0


runs = views.table("runs", Run, key="name")


@views.reducer(runs, reads=Result)
def tally(runs: Any, event: Result, at: views.At) -> None:
    row = runs.get(event.run) or Run(event.run)
    runs.put(Run(row.name, row.records + 1, row.tokens + event.tokens))


def by_module(name: str) -> views.WasmReducer:
    return views.wasm(HERE / name, tables=[runs])


def main() -> None:
    chance = random.Random(7)
    with tempfile.TemporaryDirectory() as folder, transit.open(Path(folder) / "store") as log:
        task = log.create("task")
        for _ in range(20):
            task.append_many(
                [
                    b'{"run": "run-%d", "tokens": %d}' % (chance.randrange(9), chance.randrange(99))
                    for _ in range(100)
                ]
            )
        expected = list(views.open(log, tally).of(task).runs)
        for name in DIGESTS:
            state = views.open(log, by_module(name)).of(task)
            print(name, "same rows:", list(state.runs) == expected, len(state.runs))


if __name__ == "__main__":
    main()
