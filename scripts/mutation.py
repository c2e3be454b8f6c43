"""Mutation score: which small bugs, planted one at a time, the tests of a module notice.

    python scripts/mutation.py format/record            all mutants of transit/format/record.py
    python scripts/mutation.py all --sample 80          80 of each module in TESTS
    python scripts/mutation.py log/commits --again      only those that survived the last time

Needs cosmic-ray and coverage (`pip install 'transit[mutation]'`). Works on a copy of the tree in
memory, never on the checkout. Each mutant has a process of its own, forked from one that has
loaded pytest already: those of the module's tests run that run the changed line, the quick ones
before the slow ones, up to the first that fails; with --again all of them. One that takes far more
time than the tests do is counted as noticed, and named. Results are kept as a JSON file a module.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import mutants
import pytest
from hypothesis import HealthCheck, Phase, settings

ROOT: Final = Path(__file__).resolve().parents[1]
COPIED: Final = ("transit", "tests", "examples", "benchmarks", "pyproject.toml", "README.md")
MEMORY_MAX: Final = 6 * 1024**3
PYTEST: Final = (
    "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "-rN",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip

# What transit and its tests load of others: loaded once, before all processes fork from this one.
PRELOADED: Final = (
    "asyncio", "backports.zstd", "blake3", "concurrent.futures.thread",
    "fsspec.implementations.local",
    "hypothesis.strategies", "msgspec", "multiprocessing", "subprocess", "xxhash",
)  # fmt: skip
GOLDEN: Final = ("tests/format/test_golden.py", "tests/format/test_limits.py")
# The tests of each module that is measured, by its path in the package.
TESTS: Final[dict[str, tuple[str, ...]]] = {
    "format/record": ("tests/format/test_record*.py", *GOLDEN),
    "format/frame": ("tests/format/test_frame*.py", *GOLDEN),
    "format/segment": ("tests/format/test_segment*.py", *GOLDEN),
    "format/commit": ("tests/format/test_commit*.py", *GOLDEN),
    "format/snapshot": ("tests/format/test_snapshot*.py", *GOLDEN),
    "format/lineage": ("tests/format/test_lineage*.py", *GOLDEN),
    "format/names": ("tests/format/test_names*.py", *GOLDEN),
    "format/head": ("tests/format/test_head*.py", *GOLDEN),
    "format/compression": ("tests/format/test_compression*.py", *GOLDEN),
    "format/digest": ("tests/format/test_digest*.py", *GOLDEN),
    "format/checksum": ("tests/format/test_digest*.py", *GOLDEN),
    "log/recover": ("tests/log/test_recover_*.py",),
    "log/commits": ("tests/log/test_commits_*.py",),
    "tier/conditional": ("tests/tier/test_publish_conditions.py", "tests/tier/test_conditional.py"),
    "tier/publish": ("tests/tier/test_publish_st*.py",),
    "tier/bucket": ("tests/tier/test_publish_view.py",),
    "tier/remote": ("tests/tier/test_publish_objects.py",),
}


class Watch:
    """Notes what each test takes of the processor, and which lines of one file it runs."""

    def __init__(self, path: Path) -> None:
        # Only the measuring process needs it.
        import coverage

        self._path = str(path)
        self._coverage = coverage.Coverage(data_file=None, include=[str(path)], config_file=False)
        self.seconds: dict[str, float] = {}

    def start(self) -> None:
        """Begin, before the module is loaded."""
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Around each test."""
        self._coverage.switch_context(item.nodeid)
        start = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - start
        return result

    def tests_of_lines(self) -> dict[int, list[str]]:
        """The tests that run each line."""
        self._coverage.stop()
        return {
            line: [test for test in tests if test]
            for line, tests in self._coverage.get_data().contexts_by_lineno(self._path).items()
        }


class Ordered:
    """Brings tests into an order: what concerns the line first, then by file, then by time."""

    def __init__(self, concerned: set[str], seconds: dict[str, float], *, others: bool) -> None:
        self._concerned = concerned
        self._seconds = seconds
        self._others = others or not concerned

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Once all tests are known; a file's tests stay together, for the sake of its fixtures."""
        cost: dict[str, float] = {}
        if not self._others:
            items[:] = [item for item in items if item.nodeid in self._concerned]
        for item in items:
            if item.nodeid in self._concerned:
                file = str(item.path)
                cost[file] = min(cost.get(file, 9e9), self._seconds.get(item.nodeid, 0))
        items.sort(
            key=lambda item: (
                item.nodeid not in self._concerned,
                cost.get(str(item.path), 9e9),
                str(item.path),
                self._seconds.get(item.nodeid, 0),
            )
        )


class Rig:
    """A copy of the tree in which one module after another is changed and tested."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._tree = work / "tree"
        self._tree.mkdir()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", ".*")
                shutil.copytree(source, self._tree / name, ignore=ignored)
            else:
                shutil.copy(source, self._tree / name)
        settings.register_profile(
            "mutation",
            max_examples=25,
            derandomize=True,
            database=None,
            deadline=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        settings.load_profile("mutation")

    def path(self, module: str) -> Path:
        """The module's file in the copy."""
        return self._tree / "transit" / f"{module}.py"

    def measure(self, module: str) -> tuple[dict[str, float], dict[int, list[str]]]:
        """Run the module's tests as it is: seconds of each, and the tests that run each line."""
        kept = self._work / "measured.json"

        def run() -> int:
            watch = Watch(self.path(module))
            watch.start()
            code = int(pytest.main([*PYTEST, *self._arguments(module)], plugins=[watch]))
            lines = watch.tests_of_lines()
            kept.write_text(json.dumps([watch.seconds, list(lines.items())]))
            return code

        if self._forked(run, 0) != "passed":
            raise SystemExit(f"{module}: its tests fail:\n{self.output()[-4000:]}")
        # From here on nothing is cached: a mutant of the same size and second would be mistaken.
        for cached in (self.path(module).parent / "__pycache__").glob(f"{Path(module).name}.*"):
            cached.unlink()
        seconds, lines = json.loads(kept.read_text())
        return seconds, dict(lines)

    def judge(self, module: str, text: str, order: Ordered, seconds: float) -> str:
        """What becomes of the tests with `text` in the module's place."""
        path = self.path(module)
        right = path.read_text()
        path.write_text(text)

        def run() -> int:
            sys.dont_write_bytecode = True
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            return int(pytest.main([*PYTEST, *self._arguments(module)], plugins=[order]))

        try:
            return self._forked(run, seconds)
        finally:
            path.write_text(right)

    def output(self) -> str:
        """What the last run said."""
        return (self._work / "output").read_text(errors="replace")

    def _arguments(self, module: str) -> list[str]:
        files = [str(file) for name in TESTS[module] for file in sorted(self._tree.glob(name))]
        return [f"--basetemp={self._work / 'tests'}", f"--rootdir={self._tree}", *files]

    def _forked(self, run: Any, seconds: float) -> str:
        """Run in a process of its own; "passed", "failed" or "too slow"."""
        pid = os.fork()
        if pid == 0:
            self._become_child(run, seconds)
        deadline = time.monotonic() + (30 + seconds * 5 if seconds else 1800)
        try:
            while True:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    break
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    return "too slow"
                time.sleep(0.005)
        finally:
            # What its tests started ends with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
            return "too slow"
        return "passed" if status == 0 else "failed"

    def _become_child(self, run: Any, seconds: float) -> None:
        code = 99
        try:
            os.setsid()
            output = os.open(self._work / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(output, stream)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
            if seconds:
                hard = int(seconds) + 10
                resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, hard))
            os.chdir(self._tree)
            sys.path.insert(0, str(self._tree))
            code = run()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)


def again(report: Path, source: mutants.Source, digest: str) -> list[mutants.Site]:
    """The sites of the mutants that survived the last time."""
    last = json.loads(report.read_text())
    if last["source"] != digest:
        raise SystemExit(f"{report}: of another version of the module; run all mutants again")
    wanted = {(each["operator"], each["occurrence"]) for each in last["survived"]}
    return [site for site in source.sites if (site.operator, site.occurrence) in wanted]


def measure(rig: Rig, module: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Plant the module's mutants one by one; the report."""
    report = Path(arguments.report) / f"{module.replace('/', '-')}.json"
    text = rig.path(module).read_text()
    source, digest = mutants.Source(text), hashlib.sha256(text.encode()).hexdigest()
    if arguments.again:
        sites = again(report, source, digest)
    else:
        sites = source.sample(arguments.sample or len(source.sites), arguments.seed)
    start = time.monotonic()
    seconds, lines = rig.measure(module)
    found: dict[str, list[Any]] = {"passed": [], "failed": [], "too slow": []}
    for number, site in enumerate(sites):
        changed = source.mutate(site)
        concerned = {test for line in source.around(site.line) for test in lines.get(line, ())}
        order = Ordered(concerned, seconds, others=arguments.again)
        chosen = concerned if concerned and not arguments.again else set(seconds)
        limit = 5 + 3 * sum(seconds.get(test, 0) for test in chosen)
        verdict = rig.judge(module, changed, order, limit)
        mutant = source.described(site, changed)._asdict() | {"run_by": len(concerned)}
        found[verdict].append(mutant)
        if verdict != "failed":
            change = f"{mutant['before']}  ->  {mutant['after']}"
            print(f"  {verdict}: line {site.line}: {change}", flush=True)
        if number % 50 == 49:
            print(
                f"  {module}: {number + 1} of {len(sites)}, {len(found['passed'])} survive",
                flush=True,
            )
    result = {
        "module": module,
        "source": digest,
        "sites": len(source.sites),
        "tried": len(sites),
        "seed": arguments.seed,
        "seconds": round(time.monotonic() - start),
        "too_slow": found["too slow"],
        "survived": found["passed"],
    }
    report.parent.mkdir(parents=True, exist_ok=True)
    if arguments.again:
        # Those noticed before are noticed still: tests are only added.
        last = json.loads(report.read_text())
        result |= {"tried": last["tried"], "seed": last["seed"]}
        result["too_slow"] = last["too_slow"] + found["too slow"]
    report.write_text(json.dumps(result, indent=1) + "\n")
    return result


def parsed() -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="+", choices=[*TESTS, "all"], metavar="MODULE")
    parser.add_argument("--sample", type=int, default=0, help="mutants a module (all)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--report", default=".mutation", help="folder of the results")
    parser.add_argument("--again", action="store_true", help="only what survived the last time")
    return parser.parse_args()


def main() -> int:
    """Measure each module; 1 when one has a score below 90 %."""
    arguments = parsed()
    for name in PRELOADED:
        # Python 3.14 has its own zstd.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    modules = list(TESTS) if "all" in arguments.modules else arguments.modules
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    worst = 100.0
    for module in modules:
        with tempfile.TemporaryDirectory(prefix="transit-mutation-", dir=memory) as work:
            result = measure(Rig(Path(work)), module, arguments)
        tried, survived = result["tried"], len(result["survived"])
        score = 100 * (1 - survived / tried)
        worst = min(worst, score)
        print(
            f"{module}: {score:.1f} %, {survived} of {tried} survive ({result['sites']} sites,"
            f" {len(result['too_slow'])} too slow, {result['seconds']} s)",
            flush=True,
        )
    return 0 if worst >= 90 else 1


if __name__ == "__main__":
    sys.exit(main())
