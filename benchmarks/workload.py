"""What a workload is: facts that say what is measured and aimed at, a raw baseline, and transit.

A workload is one row of the report. `raw()` and `ours()` each do all of the work once and return
one figure in the row's unit; what only prepares or tidies up lies outside the time they take. The
runner decides how often and in which order they are called.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

Better = Literal["more", "less"]
Of = Literal["ratio", "value"]


class Aim(msgspec.Struct, frozen=True):
    """The bound to reach: of transit's figure itself, or of its ratio to the raw baseline's."""

    of: Of
    bound: float

    def reached(self, figure: float, better: Better) -> bool:
        """Whether `figure` is on the right side of the bound."""
        return figure >= self.bound if better == "more" else figure <= self.bound


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the report about a workload.

    name: what the command line calls it. work, raw: what transit and the baseline do.
    better: whether more or less of `unit` is. records: handled in one run, or the closest to it.
    runs_max: enough runs for a figure that hardly varies; None: as many as asked for.
    """

    name: str
    work: str
    raw: str
    unit: str
    better: Better
    aim: Aim
    records: int
    payload_bytes: int
    runs_max: int | None = None


class Workload(Protocol):
    """One row. `remark` is read after the last run, for what a number cannot say."""

    @property
    def facts(self) -> Facts:
        """What is measured."""

    @property
    def remark(self) -> str:
        """What else the reader should know; empty when nothing."""

    def setup(self, folder: str, records: int) -> None:
        """Prepare to work with `records` records in the empty folder `folder`."""

    def raw(self) -> float:
        """The baseline's figure."""

    def ours(self) -> float:
        """Transit's figure."""

    def close(self) -> None:
        """Let go of everything that is open; the folder is removed by the caller."""
