"""A store and the model it is held to, with the handles that are open on it: what machines share.

Owns the folder, the handles in their mode, and which records wait in memory only. The rules are in
the modules beside this one, each a class of its own; `rigs.machines.machines` puts
them together.

Every rule is made by `step`, which counts that it ran, gives the turn to the next handle, and after
it frames what waits in memory, unless the rule said that this may wait on.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, rule
from hypothesis.strategies import SearchStrategy

import transit
from rigs.machines.compare import compare_all, outcome
from rigs.machines.values import CUSTOM, SMALL, register_policies
from transit.store import ObjectStore, open_store
from transit.testing.model import ModelLog, ModelStream

# Nothing here is lost when a process ends, so the stores need no real disk.
MEMORY_DISK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

Machine = TypeVar("Machine", bound="World")


def step(
    **arguments: SearchStrategy[object],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule of a machine: counted, and ended by framing what waits."""

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def counted(self: World, **drawn: object) -> None:
            self.fired[function.__name__] += 1
            self.turn += 1
            self.keeps = False
            function(self, **drawn)
            if not self.keeps:
                self.frame()

        made: Callable[..., None] = rule(**arguments)(counted)  # type: ignore[call-overload]
        return made

    return wrap


@contextlib.contextmanager
def still(logs: list[transit.Log]) -> Iterator[None]:
    """A block in which no sealer of these handles changes files."""
    with contextlib.ExitStack() as stack:
        for log in logs:
            stack.enter_context(log._handle.sealer.paused)
        yield


class World(RuleBasedStateMachine):
    """One store on disk, its handles, and the model of what it must hold.

    `fired` counts the rules of all machines of a class that ran in this process.
    """

    ATTACHED: ClassVar[bool] = False
    fired: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        register_policies()
        self.root = Path(tempfile.mkdtemp(prefix="transit-model-", dir=MEMORY_DISK))
        self.folder = self.root / "store"
        self.remote: ObjectStore | None = (
            open_store(self.root / "remote") if self.ATTACHED else None
        )
        self.model = ModelLog(CUSTOM)
        self.mode = "exclusive"
        self.turn = 0
        self.keeps = False
        # Streams, in order, of the records that no process but ours has: each may be lost.
        self.waiting: list[str] = []
        # How each merge was asked for, by the name of what it made.
        self.merges: dict[str, dict[str, object]] = {}
        self.logs: list[transit.Log] = []
        self.held: dict[tuple[int, str], transit.Stream] = {}
        self.readers: list[transit.Log] = []
        self.start("exclusive")

    # Handles

    def open(self, mode: str = "exclusive", settings: transit.Settings = SMALL) -> transit.Log:
        """The store on disk, in a handle of its own, attached if this machine has a remote."""
        return transit.open(
            self.folder, durability="os", mode=mode, settings=settings, remote=self.remote
        )

    def start(self, mode: str) -> None:
        """Open the store for writing: one handle, or in mode "shared" two."""
        self.mode = mode
        self.logs = [self.open(mode) for _ in range(2 if mode == "shared" else 1)]

    def stop(self) -> None:
        """Close every handle."""
        for log in [*self.logs, *self.readers]:
            log.close()
        self.logs.clear()
        self.readers.clear()
        self.held.clear()
        self.waiting.clear()

    @property
    def log(self) -> transit.Log:
        """The handle whose turn it is."""
        return self.logs[self.turn % len(self.logs)]

    def stream(self, name: str) -> transit.Stream:
        """A stream of that handle, kept: looking one up again would frame what waits."""
        key = (self.turn % len(self.logs), name)
        if key not in self.held:
            self.held[key] = self.log.stream(name)
        return self.held[key]

    def frame(self) -> None:
        """Have what waits in memory written."""
        if self.waiting:
            self.log.sync()
            self.waiting.clear()

    # The model

    def pick(self, spot: int) -> str:
        """One of the streams there are."""
        names = list(self.model.streams)
        return names[spot % len(names)]

    def picked(self, spot: int) -> ModelStream:
        """What the model says of one of the streams there are."""
        return self.model.stream(self.pick(spot))

    def fresh(self, name: str) -> str:
        """A name no stream has yet."""
        return name if name not in self.model.streams else f"{name}/{len(self.model.known)}"

    def same(self, modelled: Callable[[], object], real: Callable[[], object]) -> object:
        """Run both; the engine's outcome, whose class of error the model's must equal."""
        expected = outcome(modelled)
        found = outcome(real)
        if isinstance(expected, type) or isinstance(found, type):
            assert found == expected
        return found

    def compare(self) -> None:
        """Everything that every handle shows."""
        for log in self.logs:
            compare_all(log, self.model)

    # The end

    def teardown(self) -> None:
        """Compare everything, once more after opening again, and verify every byte."""
        try:
            if self.logs:
                self.compare()
                self.again()
        finally:
            self.stop()
            shutil.rmtree(self.root, ignore_errors=True)

    def again(self) -> None:
        """Close and open, compare, verify."""
        self.stop()
        self.start("exclusive")
        self.compare()
        report = self.log.verify()
        assert report.ok, report.findings
