"""The report: a table for people, JSON for programs."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import msgspec

import transit
from benchmarks.processes import ROOT
from benchmarks.runner import Figures, Result

DEPENDENCIES = ("msgspec", "blake3", "xxhash", "backports.zstd", "s3fs", "aiobotocore")
HEAD = ("workload", "raw median (low … high)", "transit median (low … high)", "unit", "ratio",
        "aim", "is", "reached")  # fmt: skip


class Machine(msgspec.Struct, frozen=True):
    """Where and with what the figures were made."""

    system: str
    processor: str
    cores: int
    memory_bytes: int
    file_system: str
    python: str
    transit: str
    dependencies: dict[str, str]
    revision: str


class Report(msgspec.Struct, frozen=True):
    """Everything that is written as JSON; `left_out`: why, by the name of the workload."""

    machine: Machine
    quick: bool
    runs: int
    results: list[Result]
    left_out: dict[str, str]


def machine(folder: str) -> Machine:
    """This machine, with the file system that holds `folder`."""
    return Machine(
        system=platform.platform(),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        file_system=_file_system(folder),
        python=platform.python_version(),
        transit=transit.__version__,
        dependencies={name: _version(name) for name in DEPENDENCIES},
        revision=_revision(),
    )


def table(results: Sequence[Result]) -> str:
    """One aligned line a result, then what was remarked."""
    lines = [aligned([HEAD, *map(_row, results)])]
    lines += [f"{r.facts.name}: {r.remark}" for r in results if r.remark]
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells with their columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def explain(results: Sequence[Result]) -> str:
    """What each row measured, against what."""
    return "\n".join(
        f"{r.facts.name}: {r.facts.work}; {r.records:,} × {r.facts.payload_bytes} B\n"
        f"    raw: {r.facts.raw}"
        for r in results
    )


def to_json(report: msgspec.Struct) -> bytes:
    """A report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def _row(result: Result) -> tuple[str, ...]:
    facts = result.facts
    sign = "≥" if facts.better == "more" else "≤"
    times = "×" if facts.aim.of == "ratio" else ""
    ratio = "–" if math.isinf(result.ratio.median) else f"{result.ratio.median:.2f}"
    return (
        facts.name,
        spread(result.figures["raw"]),
        spread(result.figures["transit"]),
        facts.unit,
        ratio,
        f"{sign} {number(facts.aim.bound)}{times}",
        f"{number(result.measured)}{times}",
        "yes" if result.reached else "NO",
    )


def spread(figures: Figures) -> str:
    """The median, with the lowest and the highest."""
    low, high = number(figures.low), number(figures.high)
    return f"{number(figures.median)} ({low} … {high})"


def number(value: float) -> str:
    """Three digits that matter, or all before the point."""
    if not value or abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 2) if abs(value) >= 0.01 else digits}f}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = (line.partition(":")[2].strip() for line in file if "model name" in line)
            return next(names, platform.machine())
    except OSError:
        return platform.processor() or platform.machine()


def _file_system(folder: str) -> str:
    folder = os.path.realpath(folder)
    best, kind = "", "unknown"
    try:
        with open("/proc/mounts", encoding="utf-8") as file:
            for line in file:
                _, place, name, *_ = line.split()
                inside = os.path.commonpath((folder, place)) == place
                if inside and len(place) >= len(best):
                    best, kind = place, name
    except OSError:
        pass
    return kind


def _revision() -> str:
    """The revision of the source, with a "+" when files differ from it; empty outside git."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "--no-optional-locks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()
