"""What importing transit costs a program, and what it must not bring along."""

from __future__ import annotations

import os
from time import perf_counter

from benchmarks.processes import finish, start
from benchmarks.workload import Aim, Facts

AIM_MS = 80
UNWANTED = ("fsspec", "s3fs", "asyncio", "pyarrow", "numpy")
# What a program that uses a store loads; `import transit` alone puts it off.
OURS = "from transit import open"
LOADED = f"import sys; {OURS}; print(*(m for m in {UNWANTED!r} if m in sys.modules))"


class _Process:
    """Fresh interpreters that find all they import compiled, as it is once installed."""

    remark = ""

    def setup(self, folder: str, records: int) -> None:
        self._compiled = os.path.join(folder, "compiled")
        self._run("-c", f"import json; {OURS}")

    def _run(self, *arguments: str) -> tuple[str, str]:
        return finish(start(*arguments, compiled=self._compiled))

    def _wall_ms(self, program: str) -> float:
        begin = perf_counter()
        self._run("-c", program)
        return 1_000 * (perf_counter() - begin)

    def _cumulative_ms(self, program: str, package: str) -> float:
        errors = self._run("-X", "importtime", "-c", program)[1]
        # Lines read "import time: self [us] | cumulative | imported package", the name indented by
        # one space, and more for what another module imported.
        lines = [line.split("|") for line in errors.splitlines()]
        own = [line for line in lines if line[-1].removeprefix(" ").split(".")[0] == package]
        return sum(int(line[1]) for line in own) / 1_000

    def close(self) -> None:
        pass


class ImportWall(_Process):
    """Wall clock of whole processes, one right after the other."""

    facts = Facts(
        name="import-wall",
        work="a process that imports transit and its open, less one that imports nothing",
        raw="a process that imports nothing",
        unit="ms",
        better="less",
        aim=Aim("value", AIM_MS),
        records=1,
        payload_bytes=0,
    )

    def raw(self) -> float:
        return self._wall_ms("pass")

    def ours(self) -> float:
        bare = self._wall_ms("pass")
        return max(0.0, self._wall_ms(OURS) - bare)


class ImportTotal(_Process):
    """The cumulative time that the interpreter itself says it took."""

    facts = Facts(
        name="import-total",
        work="python -X importtime: cumulative, of transit and its open",
        raw="the same of the standard library's json",
        unit="ms",
        better="less",
        aim=Aim("value", AIM_MS),
        records=1,
        payload_bytes=0,
    )

    def raw(self) -> float:
        return self._cumulative_ms("import json", "json")

    def ours(self) -> float:
        return self._cumulative_ms(OURS, "transit")


class ImportUnwanted(_Process):
    """Modules that must stay out of programs which do not need them."""

    facts = Facts(
        name="import-unwanted",
        work=f"how many of {', '.join(UNWANTED)} are loaded after that",
        raw="nothing is loaded",
        unit="modules",
        better="less",
        aim=Aim("value", 0),
        records=1,
        payload_bytes=0,
        runs_max=1,
    )

    def raw(self) -> float:
        return 0.0

    def ours(self) -> float:
        found = self._run("-c", LOADED)[0].split()
        self.remark = f"loaded: {', '.join(found) or 'none of them'}"
        return len(found)
