"""Drawings of the lineage graph, from made-up streams; no store is involved."""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Sequence

import pytest

from rigs.resources import calls_made
from transit.cli.graph import (
    ASCII,
    UNICODE,
    document,
    dot,
    mermaid,
    rows,
    shown,
    text,
)
from transit.server.page.lanes import LANES_MAX, Parent, StreamFacts

TASK = StreamFacts("task", "root", 3)
RETRY = StreamFacts("retry", "branch", 3, (Parent("task", 1),), detail="second try")
FINAL = StreamFacts("final", "merge", 4, (Parent("task", 2), Parent("retry", 2)), "select")

# All of these pass the check of stream names.
ODD_NAMES = [
    'he said "hi"',
    "a[b]{c}(d)<e>|f|",
    "back\\slash and `tick` #1; &amp; %%",
    "rocket \U0001f680 ü 漢字",
    "1. not a list _nor_ *this*",
    "end",
    "-->",
    "n1[label=x]; }",
]
# No new stream is named so, for these break lines in some programs; metadata may hold them.
BREAKING = ["line\u2028separator", "paragraph\u2029separator"]


def made_up(seed: int, count: int, parents_max: int = 3) -> list[StreamFacts]:
    rng = random.Random(seed)
    streams: list[StreamFacts] = []
    for number in range(count):
        wanted = min(len(streams), rng.choice(range(parents_max + 1)))
        parents = tuple(Parent(s.name, rng.randrange(-1, 5)) for s in rng.sample(streams, wanted))
        kind = ["root", "branch"][wanted] if wanted < 2 else "merge"
        policy = "append" if wanted > 1 else ""
        streams.append(StreamFacts(f"s{number}", kind, rng.randrange(9), parents, policy))
    return streams


def followed(streams: Sequence[StreamFacts]) -> set[tuple[str, str]]:
    """The (parent, child) pairs that following the drawn lanes downwards gives."""
    sides = {glyph: names for names, glyph in UNICODE.links.items()}
    drawn = list(rows(streams))
    found: set[tuple[str, str]] = set()
    flowing: dict[int, set[str]] = {}
    last, place = "", 0
    for number, (lanes, stream) in enumerate(drawn):
        cells = lanes[::2]
        if stream is not None:
            place = next(i for i, c in enumerate(cells) if c in UNICODE.nodes.values())
            last = stream.name
            found |= {(last, child) for child in flowing.pop(place, set())}
            linked = number + 1 < len(drawn) and drawn[number + 1].stream is None
            if not linked and stream.parents:
                flowing[place] = {last}
            continue
        for low, high in [(place, len(cells) - 1), (place, 0)]:
            step = 1 if high >= low else -1
            for column in range(low, high + step, step):
                joined = sides[cells[column]]
                if column != place and joined == "ud":
                    continue
                if "d" in joined:
                    flowing.setdefault(column, set()).add(last)
                if ("r" if step > 0 else "l") not in joined:
                    break
    return found


def test_a_branch_that_is_merged_again_is_drawn_in_two_lanes() -> None:
    assert list(text([TASK, RETRY, FINAL])) == [
        "◆ final  merge by select of task@2, retry@2 · 4 records",
        "├─╮",
        "│ ● retry  branch of task@1 · 3 records · second try",
        "├─╯",
        "○ task  root · 3 records",
    ]


def test_ascii_draws_the_same_without_any_other_character() -> None:
    lines = list(text([TASK, RETRY, FINAL, StreamFacts("ü", "root", 1)], ASCII))
    assert lines == [
        "o \\xfc  root - 1 record",
        "M final  merge by select of task@2, retry@2 - 4 records",
        "+-.",
        "| * retry  branch of task@1 - 3 records - second try",
        "+-'",
        "o task  root - 3 records",
    ]
    assert all(line.isascii() for line in lines)


def test_a_lane_that_is_crossed_does_not_look_joined() -> None:
    wide = StreamFacts("wide", "merge", 0, (Parent("task", 0), Parent("x", 0), Parent("retry", 0)))
    inner = StreamFacts("inner", "merge", 0, (Parent("task", 0), Parent("other", 0)), "append")
    outer = StreamFacts("outer", "merge", 0, (Parent("inner", 0), Parent("x", 0)), "append")
    drawn = [
        TASK,
        RETRY,
        StreamFacts("other", "root", 0),
        StreamFacts("x", "root", 0),
        inner,
        outer,
        wide,
    ]
    crossing = [row.lanes for row in rows(drawn) if "─│─" in row.lanes]
    assert crossing
    assert followed(drawn) == {(p.name, s.name) for s in drawn for p in s.parents}


@pytest.mark.parametrize("seed", range(60))
def test_lanes_followed_down_lead_to_the_parents_and_nowhere_else(seed: int) -> None:
    streams = made_up(seed, 1 + seed % 14)
    assert followed(streams) == {(p.name, s.name) for s in streams for p in s.parents}


@pytest.mark.parametrize("seed", range(10))
def test_every_stream_has_one_row_and_stands_above_its_parents(seed: int) -> None:
    streams = made_up(seed, 200)
    order = [row.stream.name for row in rows(streams) if row.stream is not None]
    assert sorted(order) == sorted(stream.name for stream in streams)
    place = {name: number for number, name in enumerate(order)}
    for stream in streams:
        assert all(place[stream.name] < place[parent.name] for parent in stream.parents)


def test_families_are_not_mixed() -> None:
    streams = [StreamFacts(f"root-{n}", "root", 1) for n in range(5)]
    for turn in range(3):
        streams += [
            StreamFacts(f"{n}-{turn}", "branch", 1, (Parent(f"root-{n}", 0),)) for n in range(5)
        ]
    order = [row.stream.name for row in rows(streams) if row.stream is not None]
    assert [name.removeprefix("root-")[0] for name in order] == list("44443333222211110000")
    assert max(len(row.lanes) for row in rows(streams)) == len("├─╯")


def test_a_parent_that_is_not_drawn_is_named() -> None:
    assert list(text([RETRY])) == ["● retry  branch of task@1 · 3 records · second try"]
    assert not any("-->" in line for line in mermaid([RETRY]))
    assert not any("->" in line for line in dot([RETRY]))


def test_many_parents_are_counted_after_the_first_few() -> None:
    roots = [StreamFacts(f"r{n}", "root", 1) for n in range(9)]
    parents = tuple(Parent(root.name, 0) for root in roots)
    merged = StreamFacts("all", "merge", 9, parents, "append")
    first = next(iter(text([*roots, merged])))
    assert (
        first == "◆ all  merge by append of r0@0, r1@0, r2@0, r3@0, r4@0, r5@0, 3 more · 9 records"
    )


def test_a_branch_of_an_empty_stream_says_so() -> None:
    child = StreamFacts("child", "branch", 0, (Parent("task", -1),))
    assert "branch of task (empty) · 0 records" in next(iter(text([TASK, child])))


def test_more_lanes_than_fit_are_left_out_and_named() -> None:
    roots = [StreamFacts(f"r{n}", "root", 1) for n in range(LANES_MAX * 3)]
    parents = tuple(Parent(root.name, 0) for root in roots)
    merged = StreamFacts("all", "merge", 9, parents, "append")
    drawn = list(rows([*roots, merged]))
    assert max(len(row.lanes) for row in drawn) < 2 * (LANES_MAX + 1)
    assert len([row for row in drawn if row.stream is not None]) == len(roots) + 1


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["star", "chain", "roots", "tangle"])
def test_five_times_as_many_streams_cost_five_times_as_much_to_draw(shape: str) -> None:
    one = {
        "star": lambda n: StreamFacts(f"s{n}", "branch", 1, (Parent("s0", 0),)),
        "chain": lambda n: StreamFacts(f"s{n}", "branch", 1, (Parent(f"s{n - 1}", 0),)),
        "roots": lambda n: StreamFacts(f"s{n}", "root", 1),
    }
    costs = []
    for count in (2_000, 10_000):
        if shape == "tangle":
            streams = made_up(7, count)
        else:
            first = StreamFacts("s0", "root", 1)
            streams = [first, *(one[shape](n) for n in range(1, count))]
        costs.append(calls_made(functools.partial(list, text(streams))))
    assert costs[1] < 5.5 * costs[0]


@pytest.mark.parametrize("name", [*ODD_NAMES, *BREAKING])
def test_odd_names_stay_on_one_line_of_text(name: str) -> None:
    lines = list(text([StreamFacts(name, "root", 1), StreamFacts("b", "branch", 1)]))
    assert all(len(line.splitlines()) == 1 for line in lines)
    assert shown("line\u2028separator") == "line\\u2028separator"
    assert shown(name, plain=True).isascii()


@pytest.mark.parametrize("name", [*ODD_NAMES, *BREAKING])
def test_odd_names_stay_inside_their_mermaid_label(name: str) -> None:
    parent = StreamFacts(name, "root", 1, detail=name)
    lines = list(mermaid([parent, StreamFacts(name + "2", "branch", 1, (Parent(name, 0),))]))
    assert lines[0] == "flowchart TD"
    assert len("\n".join(lines).splitlines()) == 4
    label = re.fullmatch(r'    s0\(\["(.*)"\]\)', lines[1])
    assert label is not None
    assert not set('"`[]{}()<>|\\*_&%') & set(label[1].replace("<br/>", ""))
    decoded = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), label[1].split("<br/>")[0])
    assert decoded == shown(name)
    assert lines[3] == '    s0 -->|"@0"| s1'


@pytest.mark.parametrize("name", [*ODD_NAMES, *BREAKING])
def test_odd_names_stay_inside_their_dot_label(name: str) -> None:
    lines = list(dot([StreamFacts(name, "root", 1)]))
    assert len("\n".join(lines).splitlines()) == 3
    label = re.fullmatch(r'    s0 \[shape=ellipse, label="((?:[^"\\]|\\.)*)"\];', lines[1])
    assert label is not None
    first = label[1].split(r"\nroot")[0]
    unescaped = re.sub(r"\\(.)", r"\1", first).replace("&amp;", "&")
    assert unescaped == shown(name)


def test_the_document_holds_names_as_they_are_and_every_edge() -> None:
    name = BREAKING[0]
    graph = document([StreamFacts(name, "root", 1), RETRY, FINAL])
    again = json.loads(json.dumps(graph))
    assert [stream["stream"] for stream in again["streams"]] == [name, "retry", "final"]
    assert again["streams"][1]["detail"] == "second try"
    assert again["streams"][2]["policy"] == "select"
    assert again["edges"] == [
        {"parent": "task", "offset": 1, "child": "retry"},
        {"parent": "task", "offset": 2, "child": "final"},
        {"parent": "retry", "offset": 2, "child": "final"},
    ]


def test_nothing_is_drawn_of_no_streams() -> None:
    assert list(text([])) == []
    assert list(mermaid([])) == ["flowchart TD"]
    assert document([]) == {"streams": [], "edges": []}
