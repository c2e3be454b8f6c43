"""The page and its plots say what was measured, where transit loses as well."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import page, svg
from benchmarks.contests.__main__ import Comparison
from benchmarks.contests.contest import ContestFacts
from benchmarks.contests.rounds import Standing, Table
from benchmarks.growth.__main__ import Curve, Grown, Growth, Point
from benchmarks.report import Machine
from benchmarks.runner import summary
from benchmarks.syscalls import Calls, Traced
from benchmarks.workload import Better

SECTIONS = ("peers", "growth", "syscalls")
MACHINE = Machine("Linux", "a processor", 2, 2**34, "ext4", "3.11", "0.1", {}, "0123456789abcdef")


def table(name: str, better: Better, ours: float, theirs: float) -> Table:
    facts = ContestFacts(
        name=name, work="do it", raw="the least", unit="things", better=better, level=None,
        records=10, payload_bytes=256,
    )  # fmt: skip
    standings = [
        Standing(
            key, key.title(), "1.0", "the power", "copying", 10, summary([value]), summary([1.0])
        )
        for key, value in (("transit", ours), ("other <1>", theirs), ("third", theirs / 10))
    ]
    return Table(facts, 10, summary([500.0]), standings, {"Absent": "not installed"}, [])


def test_committed_page_has_a_place_for_every_section() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    for section in SECTIONS:
        assert "the figures" in page.marked(text, section, "the figures")


def test_section_is_replaced_between_its_markers_and_nowhere_else() -> None:
    text = "a\n<!-- measured: peers -->\nold\n<!-- end: peers -->\nb\n"
    once = page.marked(text, "peers", "new\n")
    assert once == "a\n<!-- measured: peers -->\n\nnew\n\n<!-- end: peers -->\nb\n"
    assert page.marked(once, "peers", "new") == once
    for broken in ("a\nb\n", "<!-- measured: peers -->\nold\n", text.replace("peers", "others")):
        with pytest.raises(ValueError, match="no section"):
            page.marked(broken, "peers", "new")


def test_peers_say_where_transit_wins_and_where_it_loses(tmp_path: Path) -> None:
    found = page.peers(
        Comparison(MACHINE, False, 5, [
            table("rate-won", "more", 200.0, 100.0), table("rate-lost", "more", 50.0, 100.0),
            table("even", "more", 100.0, 105.0), table("time-lost", "less", 30.0, 100.0),
            table("time-won", "less", 2.0, 100.0),
        ]),
        tmp_path,
    )  # fmt: skip
    lines = {line.split("]")[0][3:]: line for line in found.splitlines() if line.startswith("| [")}
    assert lines["rate-won"].endswith("| **better**, 2.00 × |")
    assert lines["rate-lost"].endswith("| **worse**, 2.00 × |")
    assert lines["even"].endswith("| about even |")
    assert lines["time-lost"].endswith("| **worse**, 3.00 × |")
    assert lines["time-won"].endswith("| **better**, 5.00 × |")
    assert "| Absent | – | | | not installed |" in found
    assert "0123456789ab" in found
    assert len(list(tmp_path.glob("*.svg"))) == 5
    for plot in tmp_path.glob("*.svg"):
        assert f"benchmarks/{plot.name}" in found
        texts = [each.text for each in ElementTree.parse(plot).iter() if each.tag.endswith("text")]
        assert {"raw", "Transit", "Other <1>"} <= set(texts)


def test_growth_and_system_calls_are_shown(tmp_path: Path) -> None:
    points = [Point(size, summary([size / 100])) for size in (10, 100, 1_000)]
    grown = Growth(MACHINE, 5, [Grown("records", "records", [Curve("reading", points, 1.0)])])
    found = page.growth(grown, tmp_path)
    assert "| reading | 0.10 | 1.00 | 10.0 | 1.00 |" in found
    assert (tmp_path / "growth-records.svg").exists()
    calls = Calls("transit", "transit", "0.1", "durable", {"pwrite64": 1.0, "fdatasync": 1.0})
    found = page.syscalls(Traced(10, [calls], {}), tmp_path)
    assert "| transit 0.1 | durable | 1 × pwrite64, 1 × fdatasync |" in found


def test_page_is_written_with_the_json_it_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "benchmarks.md"
    copy.write_text(page.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", copy)
    given = tmp_path / "measured.json"
    given.write_bytes(b"{}")
    for _ in range(2):
        page.write("syscalls", given, lambda plots: "the figures")
    assert copy.read_text(encoding="utf-8").count("the figures") == 1
    assert (tmp_path / "benchmarks" / "syscalls.json").read_bytes() == b"{}"


def test_points_ten_times_apart_are_equally_far_apart() -> None:
    series = [svg.Series("a & b", [(1, 1), (10, 10), (100, 100)])]
    tree = ElementTree.fromstring(svg.log_log("title", "x", "y", series))
    circles = [each for each in tree.iter() if each.tag.endswith("circle")]
    xs, ys = ([float(each.attrib[axis]) for each in circles] for axis in ("cx", "cy"))
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert ys[0] > ys[1], "more is further up"


def test_longer_bar_is_the_larger_value() -> None:
    rows = [svg.Bar(name, value, value, value, "") for name, value in (("a", 5.0), ("b", 5_000.0))]
    tree = ElementTree.fromstring(svg.bars("title", "unit", rows, "a", "raw"))
    widths = [
        float(each.attrib["width"])
        for each in tree.iter()
        if each.tag.endswith("rect") and "y" in each.attrib
    ]
    assert widths[0] < widths[1]
