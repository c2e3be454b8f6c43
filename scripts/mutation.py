"""Mutation score: which small bugs, planted one at a time, the tests of every day notice.

    python scripts/mutation.py format/record            all mutants of transit/format/record.py
    python scripts/mutation.py all --sample 50          50 of each module in TESTS
    python scripts/mutation.py log/commits --again      only those that survived the last time

Needs cosmic-ray and coverage (`pip install 'transit[mutation]'`). Works on a copy of the tree in
memory, never on the checkout. Asked are the tests of the module, without those marked `slow`, that
run the changed line: the quickest first, as many as take `--budget` seconds together, up to the
first that fails. A mutant whose tests hang, or take far more time than without it, is counted as
noticed, and named. Modules with the same tests share one measurement of them: name them in one
call. Results are kept as a JSON file a module.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import judging
import mutants

# What transit and its tests load of others: loaded once, before all processes fork from this one.
PRELOADED: Final = (
    "asyncio", "backports.zstd", "blake3", "concurrent.futures.thread",
    "fsspec.implementations.local",
    "hypothesis.strategies", "msgspec", "multiprocessing", "subprocess", "xxhash",
)  # fmt: skip
SCORE_MIN: Final = 85
GOLDEN: Final = ("tests/format/test_golden.py", "tests/format/test_limits.py")
RECORD: Final = ("tests/format/test_record*.py", "tests/format/test_written.py", *GOLDEN)
DIGEST: Final = ("tests/format/test_digest*.py", *GOLDEN)
LOG: Final = (
    "tests/log/test_*.py",
    "tests/engine/test_appending.py",
    "tests/process/test_clocks.py",
)
ENDING: Final = (
    "tests/log/test_unended_files.py",
    "tests/log/test_taking_up.py",
    "tests/log/test_sealing.py",
    "tests/process/test_clocks.py",
)
# The tests of each module that is measured, by its path in the package.
TESTS: Final[dict[str, tuple[str, ...]]] = {
    "format/record": RECORD,
    "format/columns": RECORD,
    "format/headers": RECORD,
    "format/frame": ("tests/format/test_frame*.py", *GOLDEN),
    "format/segment": ("tests/format/test_segment*.py", *GOLDEN),
    "format/commit": ("tests/format/test_commit*.py", *GOLDEN),
    "format/snapshot": ("tests/format/test_snapshot*.py", *GOLDEN),
    "format/lineage": ("tests/format/test_lineage*.py", *GOLDEN),
    "format/life": ("tests/format/test_life*.py", "tests/engine/test_life.py", *GOLDEN),
    "format/preview": ("tests/format/test_preview.py", "tests/format/test_needs.py", *GOLDEN),
    "format/cursor": ("tests/format/test_cursor*.py", "tests/engine/test_cursors.py", *GOLDEN),
    "format/names": (
        "tests/format/test_names*.py",
        "tests/engine/test_names.py",
        "tests/engine/test_layers.py",
        *GOLDEN,
    ),
    "format/head": ("tests/format/test_head*.py", *GOLDEN),
    "format/uid": ("tests/format/test_uid*.py", *GOLDEN),
    "format/written": ("tests/format/test_written*.py", *GOLDEN),
    "format/compression": ("tests/format/test_compression*.py", *GOLDEN),
    "format/digest": DIGEST,
    "format/checksum": DIGEST,
    "log/recover": ("tests/log/test_recover_*.py",),
    "log/commits": ("tests/log/test_commits_*.py",),
    "log/wal": (
        "tests/log/test_wal_*.py",
        "tests/log/test_gather.py",
        "tests/log/test_recover_*.py",
        "tests/log/test_unended_files.py",
    ),
    "log/taking_up": ("tests/log/test_taking_up.py", "tests/log/test_unended_files.py"),
    "log/rotation": ENDING,
    "log/syncs": ENDING,
    "log/stated": ("tests/log/test_stated.py", "tests/log/test_recover_*.py"),
    "log/files": ("tests/log/test_wal_folder.py",),
    "log/snapshots": ("tests/log/test_snapshots_taken.py",),
    "log/segments": ("tests/log/test_segments.py", "tests/log/test_sealing.py"),
    "log/seal": ("tests/log/test_sealing.py", "tests/log/test_writer_rules.py"),
    "log/writer": LOG,
    "log/framing": LOG,
    "tier/conditional": ("tests/tier/test_publish_conditions.py", "tests/tier/test_conditional.py"),
    "tier/publish": ("tests/tier/test_publish_st*.py",),
    "tier/bucket": ("tests/tier/test_publish_view.py",),
    "tier/remote": ("tests/tier/test_publish_objects.py",),
    "tier/restore": ("tests/tier/test_restore*.py", "tests/tier/test_layers.py"),
    "tier/adopt": ("tests/tier/test_adopt.py",),
    "tier/fetch": ("tests/tier/test_fetch.py", "tests/tier/test_reading.py"),
    "tier/retain": ("tests/tier/test_retain.py", "tests/tier/test_same_place.py"),
    "tier/progress": ("tests/tier/test_restore_steps.py", "tests/tier/test_publish.py"),
    "tier/apart": ("tests/tier/test_same_place.py",),
    "tier/probe": ("tests/tier/test_conditional.py",),
    "tier/pools": ("tests/tier/test_pools.py",),
    "chat/folding": ("tests/chat/test_folding.py", "tests/chat/test_threads.py"),
    "chat/once": ("tests/chat/test_channels.py", "tests/chat/test_threads.py"),
    "chat/identities": ("tests/chat/test_channels.py", "tests/chat/test_importing.py"),
    "chat/deciding": ("tests/chat/test_deciding.py", "tests/chat/test_threads.py"),
    "chat/adopting": ("tests/chat/test_threads.py", "tests/chat/test_others.py"),
    "chat/freezing": ("tests/chat/test_freezing.py", "tests/chat/test_elsewhere.py"),
    "chat/marking": ("tests/chat/test_readers.py", "tests/chat/test_reported.py"),
}


def again(report: Path, source: mutants.Source, digest: str) -> list[mutants.Site]:
    """The sites of the mutants that survived the last time."""
    last = json.loads(report.read_text())
    if last["source"] != digest:
        raise SystemExit(f"{report}: of another version of the module; run all mutants again")
    wanted = {(each["operator"], each["occurrence"]) for each in last["survived"]}
    return [site for site in source.sites if (site.operator, site.occurrence) in wanted]


def ordered(tests: Iterable[str], seconds: dict[str, float], budget: float) -> list[str]:
    """The quickest of the tests; a file's stay together, for the sake of its fixtures."""
    chosen: list[str] = []
    total = 0.0
    for test in sorted(tests, key=lambda test: (seconds[test], test)):
        total += seconds[test]
        if chosen and total > budget:
            break
        chosen.append(test)
    files = list(dict.fromkeys(test.partition("::")[0] for test in chosen))
    return sorted(chosen, key=lambda test: files.index(test.partition("::")[0]))


class Module:
    """The mutants of one module, and what became of them."""

    def __init__(self, name: str, text: str, arguments: argparse.Namespace) -> None:
        self.name = name
        self._report = Path(arguments.report) / f"{name.replace('/', '-')}.json"
        self._source = mutants.Source(text)
        self._digest = hashlib.sha256(text.encode()).hexdigest()
        self._again, self._seed = arguments.again, arguments.seed
        if self._again:
            self._sites = again(self._report, self._source, self._digest)
        else:
            count = arguments.sample or len(self._source.sites)
            self._sites = self._source.sample(count, self._seed)
        self._mutants: list[mutants.Mutant] = []

    def planted(self, known: judging.Known, budget: float) -> Iterator[judging.Planted]:
        """Each mutant and the tests for it."""
        lines = known.lines[self.name]
        for site in self._sites:
            changed = self._source.mutate(site)
            mutant = self._source.described(site, changed)
            self._mutants.append(mutant)
            run_by = {
                test for line in self._source.around(site.line) for test in lines.get(line, ())
            }
            # What has its effect when the module is loaded concerns all.
            tests = ordered(run_by - {""} or known.seconds, known.seconds, budget)
            change = f"line {site.line}: {mutant.before}  ->  {mutant.after}"
            yield judging.Planted(self.name, change, changed, tests, quick="" not in run_by)

    def report(self, verdicts: list[str], seconds: float) -> float:
        """Keep and say what became of the mutants; the score."""
        found: dict[str, list[Any]] = {"passed": [], "failed": [], "too slow": []}
        for mutant, verdict in zip(self._mutants, verdicts, strict=True):
            found[verdict].append(mutant._asdict())
        result: dict[str, Any] = {
            "module": self.name,
            "source": self._digest,
            "sites": len(self._source.sites),
            "tried": len(verdicts),
            "seed": self._seed,
            "too_slow": found["too slow"],
            "survived": found["passed"],
        }
        if self._again:
            # Those noticed before are noticed still: tests are only added.
            last = json.loads(self._report.read_text())
            result |= {"tried": last["tried"], "seed": last["seed"]}
            result["too_slow"] = last["too_slow"] + found["too slow"]
        self._report.parent.mkdir(parents=True, exist_ok=True)
        self._report.write_text(json.dumps(result, indent=1) + "\n")
        tried, survive = result["tried"], len(found["passed"])
        score = 100 * (1 - survive / tried)
        print(
            f"{self.name}: {score:.1f} %, {survive} of {tried} survive ({result['sites']} sites,"
            f" {len(result['too_slow'])} too slow, {seconds:.0f} s)",
            flush=True,
        )
        return score


def measure(names: list[str], files: tuple[str, ...], arguments: argparse.Namespace) -> float:
    """Plant the mutants of modules that have the same tests, one by one; the worst score."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    worst = 100.0
    with tempfile.TemporaryDirectory(prefix="transit-mutation-", dir=memory) as work:
        rig = judging.Rig(Path(work), files)
        modules = [Module(name, rig.path(name).read_text(), arguments) for name in names]
        known = rig.measure(names)
        print(f"{len(known.seconds)} tests, {sum(known.seconds.values()):.0f} s", flush=True)
        for module in modules:
            start = time.monotonic()
            verdicts = rig.judge(list(module.planted(known, arguments.budget)))
            worst = min(worst, module.report(verdicts, time.monotonic() - start))
    return worst


def parsed() -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="+", choices=[*TESTS, "all"], metavar="MODULE")
    parser.add_argument("--sample", type=int, default=0, help="mutants a module (all)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--budget", type=float, default=30, help="seconds of tests a mutant")
    parser.add_argument("--report", default=".mutation", help="folder of the results")
    parser.add_argument("--again", action="store_true", help="only what survived the last time")
    return parser.parse_args()


def main() -> int:
    """Measure each module; 1 when one has a score below `SCORE_MIN`."""
    arguments = parsed()
    for name in PRELOADED:
        # Python 3.14 has its own zstd.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    wanted = [name for name in TESTS if {name, "all"} & set(arguments.modules)]
    groups = groupby(wanted, key=lambda name: TESTS[name])
    worst = min(measure(list(names), files, arguments) for files, names in groups)
    return 0 if worst >= SCORE_MIN else 1


if __name__ == "__main__":
    sys.exit(main())
