"""Writes what was measured into docs/benchmarks.md, between its markers, and the plots beside it.

    python -m benchmarks.page --peers FILE --growth FILE --syscalls FILE

Each FILE is what `--json` of the command wrote; sections whose file is not given stay as they are.
The JSON is kept beside the plots, so that what the page says can be looked up.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import svg
from benchmarks.contests.__main__ import Comparison
from benchmarks.contests.rounds import Standing, Table
from benchmarks.growth.__main__ import Grown, Growth
from benchmarks.processes import ROOT
from benchmarks.report import Machine, number, spread
from benchmarks.syscalls import Traced, said

PAGE: Final = ROOT / "docs" / "benchmarks.md"
PLOTS: Final = "benchmarks"
OURS: Final = "transit"
# Nearer than this is no difference on a machine with neighbours.
_EVEN: Final = 1.15


def marked(text: str, name: str, body: str) -> str:
    """`text` with `body` between the markers of section `name`; ValueError without them."""
    begin, end = f"<!-- measured: {name} -->\n", f"<!-- end: {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no section {name!r}")
    return f"{before}{begin}\n{body.strip()}\n\n{end}{after}"


def peers(comparison: Comparison, plots: Path) -> str:
    """The section of the contests; writes a plot for each."""
    parts = [_machine(comparison.machine, comparison.runs), _standings(comparison)]
    for table in comparison.tables:
        plot = plots / f"{table.facts.name}.svg"
        plot.write_text(_bars(table), encoding="utf-8")
        parts.append("\n\n".join(_contest(table, plot)))
    return "\n\n".join(parts)


def _machine(machine: Machine, runs: int) -> str:
    gigabytes = machine.memory_bytes / 1024**3
    return (
        f"Made at revision `{machine.revision[:12]}`, {machine.cores} cores ({machine.processor}), "
        f"{gigabytes:.0f} GiB, {machine.file_system}, {machine.system}, Python {machine.python}. "
        f"Medians of {runs} rounds, with the lowest and the highest."
    )


def _standings(comparison: Comparison) -> str:
    """Where transit wins and loses, each row against the best of the others."""
    lines = ["| contest | transit | best of the others | transit is |", "|---|---|---|---|"]
    for table in comparison.tables:
        ours = next((each for each in table.standings if each.system == OURS), None)
        others = [each for each in table.standings if each.system != OURS]
        if ours is None or not others:
            continue
        sign = -1 if table.facts.better == "more" else 1
        best = min(others, key=lambda each: sign * each.figures.median)
        lines.append(
            f"| [{table.facts.name}](#{table.facts.name}) "
            f"| {number(ours.figures.median)} {table.facts.unit} "
            f"| {best.title}: {number(best.figures.median)} | {_verdict(table, ours, best)} |"
        )
    return "\n".join(lines)


def _verdict(table: Table, ours: Standing, best: Standing) -> str:
    """In words, with the factor between the two medians."""
    factor = ours.figures.median / best.figures.median
    if table.facts.better == "less":
        factor = 1 / factor
    if factor > _EVEN:
        return f"**better**, {number(factor)} ×"
    return f"**worse**, {number(1 / factor)} ×" if factor < 1 / _EVEN else "about even"


def _contest(table: Table, plot: Path) -> Iterator[str]:
    facts = table.facts
    yield f"#### {facts.name}"
    yield f"{_capital(facts.work)}; {facts.payload_bytes} bytes each. Raw: {facts.raw}."
    rows = [
        f"| system | {facts.unit} | × raw | records | what an append survives |",
        "|---|---|---|---|---|",
        f"| raw | {spread(table.raw)} | 1 | {table.records:,} | |",
    ]
    rows += [
        f"| {each.title} {each.version} | {spread(each.figures)} | {number(each.ratio.median)} "
        f"| {each.records:,} | {each.durability}{_forks(table, each)} |"
        for each in table.standings
    ]
    rows += [f"| {title} | – | | | {why} |" for title, why in table.left_out.items()]
    yield "\n".join(rows)
    yield f"![{facts.name}]({PLOTS}/{plot.name})"


def _forks(table: Table, standing: Standing) -> str:
    forks = table.facts.name.startswith(("fork", "agent"))
    return f"; forks by {standing.fork_by}" if forks else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _bars(table: Table) -> str:
    rows = [
        svg.Bar("raw", table.raw.median, table.raw.low, table.raw.high, number(table.raw.median))
    ]
    rows += [
        svg.Bar(each.title, f.median, f.low, f.high, number(f.median))
        for each in table.standings
        for f in (each.figures,)
    ]
    better = f"{table.facts.unit}, {table.facts.better} is better"
    return svg.bars(table.facts.name, better, rows, OURS, "raw")


def growth(grown: Growth, plots: Path) -> str:
    """The section of growth; writes a plot for each axis."""
    parts = [_machine(grown.machine, grown.runs)]
    for axis in grown.axes:
        plot = plots / f"growth-{axis.name}.svg"
        series = [
            svg.Series(
                f"{curve.name}: exponent {curve.exponent:.2f}",
                [(point.size, point.figures.median) for point in curve.points],
            )
            for curve in axis.curves
        ]
        title = f"cost against {axis.across}"
        plot.write_text(svg.log_log(title, axis.across, "µs", series), encoding="utf-8")
        parts += [_axis(axis), f"![{title}]({PLOTS}/{plot.name})"]
    return "\n\n".join(parts)


def _axis(axis: Grown) -> str:
    sizes = [f"{point.size:,}" for point in axis.curves[0].points]
    rows = [
        f"| µs, by {axis.across} | {' | '.join(sizes)} | exponent |",
        "|---|" + "---|" * (len(sizes) + 1),
    ]
    for curve in axis.curves:
        medians = " | ".join(number(point.figures.median) for point in curve.points)
        rows.append(f"| {curve.name} | {medians} | {curve.exponent:.2f} |")
    return "\n".join(rows)


def syscalls(traced: Traced, plots: Path) -> str:
    """The section of system calls; no plot."""
    rows = ["| system | level | system calls of one append |", "|---|---|---|"]
    rows += [f"| {e.title} {e.version} | {e.level} | {said(e.calls)} |" for e in traced.systems]
    return "\n".join(rows)


def write(name: str, given: Path, make: Callable[[Path], str]) -> None:
    """One section of the page, its plots, and the JSON it was made from."""
    plots = PAGE.parent / PLOTS
    plots.mkdir(exist_ok=True)
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(marked(text, name, make(plots)), encoding="utf-8")
    kept = plots / f"{name}.json"
    if given.resolve() != kept.resolve():
        shutil.copyfile(given, kept)


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m benchmarks.page")
    for name in ("peers", "growth", "syscalls"):
        made.add_argument(f"--{name}", type=Path, metavar="FILE")
    arguments = made.parse_args()
    if arguments.peers:
        comparison = msgspec.json.decode(arguments.peers.read_bytes(), type=Comparison)
        write("peers", arguments.peers, lambda plots: peers(comparison, plots))
    if arguments.growth:
        grown = msgspec.json.decode(arguments.growth.read_bytes(), type=Growth)
        write("growth", arguments.growth, lambda plots: growth(grown, plots))
    if arguments.syscalls:
        traced = msgspec.json.decode(arguments.syscalls.read_bytes(), type=Traced)
        write("syscalls", arguments.syscalls, lambda plots: syscalls(traced, plots))
    return 0


if __name__ == "__main__":
    sys.exit(main())
