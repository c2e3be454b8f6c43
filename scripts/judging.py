"""Judges mutants: a copy of the tree in memory, and forks of processes that have loaded all else.

First the tests of the modules run once, and the lines that each of them runs are noted. Then one
process collects these tests and forks for each mutant of a function: the fork plants it
(`planting`) and runs the tests that run its line, the quickest first, up to the first that fails.
What `planting` cannot do, because it has its effect when a module is loaded or a test collected,
has a pytest of its own, forked from a process that has loaded the packages of others.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import planting
import pytest
from hypothesis import HealthCheck, Phase, settings

ROOT: Final = Path(__file__).resolve().parents[1]
COPIED: Final = (
    "transit",
    "tests",
    "rigs",
    "examples",
    "benchmarks",
    "pyproject.toml",
    "README.md",
)
MEMORY_MAX: Final = 6 * 1024**3
PYTEST: Final = (
    "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "-rN",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip
# A test that hangs ends its process.
UNLESS_IT_HANGS: Final = ("-o", "faulthandler_timeout=20")
# What a process ends with; 1 is that of pytest's own end of a test that hangs.
PASSED, HANGS, FAILED, UNPLANTED = 0, 1, 3, 4


class Known(NamedTuple):
    """What the tests did when nothing was planted."""

    seconds: dict[str, float]
    """Of the processor, with its children, by the test's id."""
    lines: dict[str, dict[int, list[str]]]
    """By module: the tests that run each line; "" is the loading of modules and tests."""


class Planted(NamedTuple):
    """A mutant and the tests to be asked, in order."""

    module: str
    change: str
    """For people."""
    text: str
    tests: list[str]
    quick: bool
    """No part of it runs while modules are loaded and tests collected."""


class Watch:
    """Notes what each test takes of the processor, and which lines of the modules it runs."""

    def __init__(self, paths: Sequence[Path]) -> None:
        # Only the measuring process needs it.
        import coverage

        include = [str(path) for path in paths]
        self._coverage = coverage.Coverage(data_file=None, include=include, config_file=False)
        self.seconds: dict[str, float] = {}

    def start(self) -> None:
        """Begin, before the modules are loaded."""
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Around each test."""
        self._coverage.switch_context(item.nodeid)
        start = sum(os.times()[:4])
        result = yield
        self.seconds[item.nodeid] = sum(os.times()[:4]) - start
        return result

    def tests_of_lines(self, path: Path) -> dict[int, list[str]]:
        """The tests that run each line."""
        self._coverage.stop()
        return self._coverage.get_data().contexts_by_lineno(str(path))


class Chosen:
    """Runs some of the tests, in an order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._tests = tests

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Once all tests are known."""
        known = {item.nodeid: item for item in items}
        items[:] = [known[test] for test in self._tests if test in known]

    def pytest_collection_finish(self) -> None:
        """The tests have set their own profile by then."""
        settings.load_profile("mutation")


class Judge:
    """Judges mutants in forks of a session that has collected the tests."""

    def __init__(self, rig: Rig, planted: Sequence[Planted]) -> None:
        self._rig = rig
        self._planted = planted
        self.verdicts: list[str | None] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of running the tests."""
        settings.load_profile("mutation")
        known = {item.nodeid: item for item in session.items}
        for module in {each.module for each in self._planted}:
            # Some are loaded when a store is opened for the first time.
            importlib.import_module(f"transit.{module.replace('/', '.')}")
        for each in self._planted:
            if each.quick and not any(self.verdicts):
                # Nothing is changed yet: what fails now would be taken for noticed later.
                same = each._replace(text=self._rig.path(each.module).read_text())
                assert self._judge(session, known, same) == "passed", self._rig.output()[-4000:]
            self.verdicts.append(self._judge(session, known, each))
            self._rig.tell(each, self.verdicts[-1])
        return True

    def _judge(
        self, session: pytest.Session, known: dict[str, pytest.Item], each: Planted
    ) -> str | None:
        """None where the mutant cannot be planted into what is loaded."""
        codes = planting.replacements(self._rig.path(each.module).read_text(), each.text)
        if not each.quick or codes is None:
            return None

        def run() -> int:
            if not planting.plant(codes):
                return UNPLANTED
            session.config.pluginmanager.unregister(self)
            session.items[:] = [known[test] for test in each.tests]
            with contextlib.suppress(session.Failed):
                session.config.hook.pytest_runtestloop(session=session)
            return FAILED if session.testsfailed else PASSED

        with self._rig.changed(each):
            verdict = self._rig.forked(run, self._rig.limit(each.tests))
        return None if verdict == "unplanted" else verdict


class Rig:
    """A copy of the tree in which one module after another is changed and tested."""

    def __init__(self, work: Path, files: Sequence[str]) -> None:
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
        found = (sorted(self._tree.glob(name)) for name in files)
        self._files = list(dict.fromkeys(str(path) for paths in found for path in paths))
        self._known = Known({}, {})
        # Of this process, wherever the output of its forks goes.
        self._console = os.dup(1)
        settings.register_profile(
            "mutation",
            max_examples=25,
            derandomize=True,
            database=None,
            deadline=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )

    def path(self, module: str) -> Path:
        """The module's file in the copy."""
        return self._tree / "transit" / f"{module}.py"

    def measure(self, modules: Sequence[str]) -> Known:
        """Run the tests with the modules as they are."""
        kept = self._work / "measured.json"

        def run() -> int:
            watch = Watch([self.path(module) for module in modules])
            watch.start()
            code = self._pytest(self._files, watch)
            lines = {
                module: list(watch.tests_of_lines(self.path(module)).items()) for module in modules
            }
            kept.write_text(json.dumps([watch.seconds, lines]))
            return code

        # What is compiled now is there for all the processes to come.
        sys.dont_write_bytecode = False
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        if self.forked(run, 0) != "passed":
            raise SystemExit(f"the tests fail:\n{self.output()[-4000:]}")
        # From here on nothing is cached: a mutant of the same size and second would be mistaken.
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        for module in modules:
            path = self.path(module)
            for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
                cached.unlink()
        seconds, lines = json.loads(kept.read_text())
        self._known = Known(seconds, {module: dict(each) for module, each in lines.items()})
        return self._known

    def judge(self, planted: Sequence[Planted]) -> list[str]:
        """What becomes of the tests of each mutant: "passed", "failed" or "too slow"."""
        kept = self._work / "verdicts.json"

        def run() -> int:
            judge = Judge(self, planted)
            code = self._pytest(self._files, judge, *UNLESS_IT_HANGS)
            kept.write_text(json.dumps(judge.verdicts))
            return code

        if self.forked(run, 0) != "passed":
            raise SystemExit(f"no test was judged:\n{self.output()[-4000:]}")
        verdicts = json.loads(kept.read_text())
        for number, each in enumerate(planted):
            if verdicts[number] is None:
                verdicts[number] = self._judge_loading(each)
                self.tell(each, verdicts[number])
        return verdicts

    def _judge_loading(self, each: Planted) -> str:
        """As `judge`, with all modules loaded anew."""
        files = {test.partition("::")[0] for test in each.tests}
        chosen = [file for file in self._files if file.removeprefix(f"{self._tree}/") in files]

        def run() -> int:
            return self._pytest(chosen, Chosen(each.tests), *UNLESS_IT_HANGS)

        with self.changed(each):
            return self.forked(run, self.limit(each.tests))

    def tell(self, each: Planted, verdict: str | None) -> None:
        """Say at once which mutants the tests do not notice."""
        if verdict in ("passed", "too slow"):
            os.write(self._console, f"  {verdict}: {each.module}, {each.change}\n".encode())

    @contextlib.contextmanager
    def changed(self, each: Planted) -> Iterator[None]:
        """Until the end of the block the file has the mutant, for processes that tests start."""
        path = self.path(each.module)
        right = path.read_text()
        path.write_text(each.text)
        try:
            yield
        finally:
            path.write_text(right)

    def limit(self, tests: Sequence[str]) -> float:
        """More seconds of the processor than these tests take without a mutant."""
        return 10 + 4 * sum(self._known.seconds.get(test, 0) for test in tests)

    def output(self) -> str:
        """What the last run said."""
        return (self._work / "output").read_text(errors="replace")

    def _pytest(self, files: Sequence[str], plugin: object, *options: str) -> int:
        places = (f"--basetemp={self._work / 'tests'}", f"--rootdir={self._tree}")
        code = pytest.main([*PYTEST, *options, *places, *files], plugins=[plugin])
        return FAILED if code else PASSED

    def forked(self, run: Callable[[], int], seconds: float) -> str:
        """Run in a process of its own; "passed", "failed", "too slow", or "unplanted"."""
        pid = os.fork()
        if pid == 0:
            self._become_child(run, seconds)
        deadline = time.monotonic() + (60 + seconds * 5 if seconds else 7200)
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
        if os.WIFSIGNALED(status):
            return "too slow" if os.WTERMSIG(status) == signal.SIGXCPU else "failed"
        named = {PASSED: "passed", HANGS: "too slow", UNPLANTED: "unplanted"}
        return named.get(os.WEXITSTATUS(status), "failed")

    def _become_child(self, run: Callable[[], int], seconds: float) -> NoReturn:
        code = 99
        try:
            os.setsid()
            output = os.open(self._work / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(output, stream)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
            if seconds:
                used = sum(os.times()[:2])
                most = int(used + seconds)
                resource.setrlimit(resource.RLIMIT_CPU, (most + 1, most + 10))
            os.chdir(self._tree)
            if str(self._tree) not in sys.path:
                sys.path.insert(0, str(self._tree))
            code = run()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
