"""What encryption costs: the same records sealed, published and appended, in clear and encrypted.

    python -m benchmarks.encryption [--records N] [--streams N] [--turns N] [--json FILE]

Each turn does the same work on a store in clear, one with `encrypt="remote"` and one with
`encrypt="all"`, one after the other, so that all meet the same machine; figures are medians of
ratios within a turn. CPU time of all threads. Sizes do not depend on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any, Final

import msgspec

import transit
from benchmarks.payloads import payloads
from benchmarks.report import Machine, aligned, machine, to_json

MODES: Final = ("clear", "remote", "all")


class Row(msgspec.Struct, frozen=True):
    """One figure; value: of the encrypted store in parts of the clear one's, or bytes."""

    name: str
    value: float
    unit: str


class Encryption(msgspec.Struct, frozen=True):
    """A run: on what machine, with how many records of how many streams, and its figures."""

    machine: Machine
    records: int
    streams: int
    rows: list[Row]


def cpu(work: Callable[[], Any]) -> float:
    """The CPU time of all threads that `work` takes, seconds."""
    begun = process_time()
    work()
    return process_time() - begun


def one(folder: Path, mode: str, data: list[bytes], streams: int) -> dict[str, float]:
    """CPU seconds and bytes of one store."""
    how: dict[str, Any] = {}
    if mode != "clear":
        key_file = transit.Keyring.new_key_file(folder / "key")
        how = {
            "encrypt": mode,
            "keyring": transit.Keyring.create(folder / "ring", key_file=key_file),
        }
    found: dict[str, float] = {}
    with transit.open(folder / "store", remote=folder / "remote", durability="os", **how) as log:
        made = [log.create(f"run-{number}") for number in range(streams)]
        share = len(data) // streams

        def one_by_one() -> None:
            for number, stream in enumerate(made):
                for payload in data[number * share : (number + 1) * share]:
                    stream.append(payload)

        found["append, one by one"] = cpu(one_by_one)
        found["seal and publish"] = cpu(log.publish)
        log.evict(bytes_max=0)
    with (
        transit.open(folder / "remote", mode="read")
        if mode == "clear"
        else transit.open(f"file://{folder / 'remote'}", mode="read", keyring=how["keyring"]) as log
    ):
        found["read from the remote"] = cpu(
            lambda: [list(log.stream(f"run-{number}").read()) for number in range(streams)]
        )
    segments = list((folder / "remote" / "segments").iterdir())
    found["bytes of segments"] = sum(path.stat().st_size for path in segments)
    found["audit without keys"] = cpu(lambda: transit.audit(folder / "remote"))
    return found


def measure(records: int, streams: int, turns: int) -> list[Row]:
    """All figures of one run."""
    data = payloads(records)
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(turns):
        found = {}
        for mode in MODES:
            with tempfile.TemporaryDirectory() as folder:
                found[mode] = one(Path(folder), mode, data, streams)
        for mode in MODES[1:]:
            for name, value in found["clear"].items():
                ratios[name, mode].append(found[mode][name] / value)
    return [
        Row(f"{name}, {mode}", statistics.median(values), "× clear")
        for (name, mode), values in ratios.items()
    ] + [Row("bytes an envelope has beside its chunk", envelope_bytes(), "bytes")]


def envelope_bytes() -> float:
    """What a chunk that does not shrink takes more in its envelope."""
    from transit.format.envelope import ENVELOPE, TAG_BYTES

    return ENVELOPE.size + TAG_BYTES


def main() -> None:
    """Measure and print; keep the figures where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = measure(options.records, options.streams, options.turns)
    print(aligned([("row", "value", "")] + [(r.name, f"{r.value:.3g}", r.unit) for r in rows]))
    if options.json:
        about = machine(tempfile.gettempdir())
        found = Encryption(about, options.records, options.streams, rows)
        options.json.write_bytes(to_json(found))


if __name__ == "__main__":
    main()
