"""Look for inputs that a decoder does not expect: `python rigs/fuzz/fuzz.py SECONDS [TARGET…]`.

Each target gets its share of the time, under atheris, which watches which lines an input reaches
and goes on from those that reach new ones. Inputs are changed as `rigs.fuzz.targets`
does it, or as atheris would, and made valid again. What fails is kept in `found/`. What reached new
lines is kept in the folder that TRANSIT_FUZZ_CORPUS names, and begun with the next time; without
it, it is forgotten. Ends with 1 when anything failed.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULES = ("transit",)
INPUT_SECONDS_MAX = 20
MEMORY_MIB_MAX = 2048
STARTING_S = 300


def fuzz_one(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process, which atheris ends."""
    # Only here: it is an extra, and instruments what is imported after it.
    import atheris

    with atheris.instrument_imports(include=list(MODULES)):
        # What is imported here is instrumented.
        from rigs.fuzz.targets import BYTES_MAX, TARGETS, mutated
    target = TARGETS[name]
    seeds = [path.read_bytes() for path in sorted((HERE / "seeds" / name).glob("*"))]

    def try_one(data: bytes) -> None:
        try:
            target.run(data)
        except target.expected:
            return

    def change(data: bytes, size_max: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            changed = mutated(data, seeds, chance)
        else:
            changed = atheris.Mutate(data, min(size_max, BYTES_MAX))
        if target.reseals and chance.random() < 0.8:
            changed = chance.choice(target.reseals)(changed)
        return changed[:size_max]

    atheris.Setup([sys.argv[0], *arguments], try_one, custom_mutator=change)
    atheris.Fuzz()


def run(name: str, seconds: int, seed: int, corpus: Path) -> tuple[int, int, bool]:
    """Fuzz one target in a process of its own: inputs tried, edges reached, and whether it held."""
    found, own = HERE / "found" / name, corpus / name
    for folder in (found, own):
        folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, str(Path(__file__).resolve()), "--one", name,
        f"-max_total_time={seconds}", f"-seed={seed}", f"-artifact_prefix={found}/",
        f"-timeout={INPUT_SECONDS_MAX}", f"-rss_limit_mb={MEMORY_MIB_MAX}", "-max_len=16384",
        "-print_final_stats=1", "-verbosity=1", str(own), str(HERE / "seeds" / name), str(found),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # Neither may fill a pipe that is not read, nor be waited for without end.
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        with subprocess.Popen(
            command, stdout=said, stderr=said, env=environment, cwd=ROOT
        ) as process:
            try:
                code = process.wait(seconds + STARTING_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = -1
        said.seek(0)
        output = said.read()
    if code:
        print(output[-4000:], flush=True)
    tried = re.findall(r"number_of_executed_units: (\d+)", output)
    edges = re.findall(r" cov: (\d+)", output)
    if found.is_dir() and not any(found.iterdir()):
        found.rmdir()
    return int(tried[-1]) if tried else 0, int(edges[-1]) if edges else 0, code == 0


def main() -> int:
    # Without it there is nothing to do, and the reason is said.
    try:
        import atheris  # noqa: F401
    except ImportError as error:
        print(f"nothing can be fuzzed here: {error}: pip install atheris")
        return 1
    seconds = float(sys.argv[1])
    targets = sys.argv[2:] or sorted(path.name for path in (HERE / "seeds").iterdir())
    seed = int(os.environ.get("TRANSIT_FUZZ_SEED", "0")) or int(time.time()) % 2**31
    broken = total = 0
    with tempfile.TemporaryDirectory(prefix="transit-corpus-") as forgotten:
        corpus = Path(os.environ.get("TRANSIT_FUZZ_CORPUS", forgotten))
        for name in targets:
            share = max(int(seconds / len(targets)), 1)
            tried, edges, whole = run(name, share, seed, corpus)
            total += tried
            broken += not whole
            state = "clean" if whole else "FAILED"
            print(f"{name:14} {tried:9,} inputs {edges:6,} edges, seed {seed}: {state}", flush=True)
    print(f"{total:,} inputs of {len(targets)} decoders, {broken} with failures")
    return 1 if broken else 0


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        fuzz_one(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
