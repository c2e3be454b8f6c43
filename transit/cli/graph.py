"""Drawings of the lineage graph: lanes of text, Mermaid, DOT, and one JSON document.

Owns how streams and what they descend from are drawn; the caller reads them from a store. All
functions are pure, take the streams in order of creation (parents before children), and draw the
newest first where order matters. Parents that are not among the streams are named, not drawn.

Text has a row a stream and, where lanes part or join, a row of links:

    ◆ final  merge by select of task@2, retry@2 · 3 records
    ├─╮
    │ ● retry  branch of task@1 · 3 records · second try
    ├─╯
    ○ task  root · 3 records

Which lanes there are is in `transit.server.page.lanes`, which the page of a server draws too. A
parent that would need one more than there may be is only named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from transit.cli.escapes import printable
from transit.server.page.lanes import Laid, Parent, StreamFacts, laid_out

_PARENTS_SHOWN_MAX: Final = 6


class Glyphs(NamedTuple):
    """The characters of a drawing. links: by the sides that meet, of "u", "d", "l", "r"."""

    nodes: Mapping[str, str]
    links: Mapping[str, str]
    separator: str
    plain: bool


UNICODE: Final = Glyphs(
    nodes={"root": "○", "branch": "●", "merge": "◆"},
    links={
        "": " ",
        "ud": "│",
        "lr": "─",
        "ul": "╯",
        "ur": "╰",
        "dl": "╮",
        "dr": "╭",
        "udl": "┤",
        "udr": "├",
        "ulr": "┴",
        "dlr": "┬",
        "udlr": "┼",
    },
    separator=" · ",
    plain=False,
)
ASCII: Final = Glyphs(
    nodes={"root": "o", "branch": "*", "merge": "M"},
    links={
        "": " ",
        "ud": "|",
        "lr": "-",
        "ul": "'",
        "ur": "`",
        "dl": ".",
        "dr": ".",
        "udl": "+",
        "udr": "+",
        "ulr": "'",
        "dlr": ".",
        "udlr": "+",
    },
    separator=" - ",
    plain=True,
)


def shown(name: str, plain: bool = False) -> str:
    """`name` on one line: what does not print is escaped; plain: and what is not ASCII."""
    name = printable(name)
    return name.encode("ascii", "backslashreplace").decode() if plain else name


def describe(stream: StreamFacts, glyphs: Glyphs = UNICODE) -> str:
    """The text of a stream's row, after its name."""
    words = [stream.kind]
    if stream.policy:
        words.append(f"by {shown(stream.policy, glyphs.plain)}")
    if stream.parents:
        words.append(f"of {', '.join(_parents(stream.parents, glyphs))}")
    parts = [" ".join(words), _count(stream)]
    if stream.detail:
        parts.append(shown(stream.detail, glyphs.plain))
    return glyphs.separator.join(parts)


def _count(stream: StreamFacts) -> str:
    return f"{stream.records:,} record{'' if stream.records == 1 else 's'}"


def _parents(parents: Sequence[Parent], glyphs: Glyphs) -> Iterator[str]:
    for name, offset, _ in parents[:_PARENTS_SHOWN_MAX]:
        place = f"@{offset}" if offset >= 0 else " (empty)"
        yield shown(name, glyphs.plain) + place
    if len(parents) > _PARENTS_SHOWN_MAX:
        yield f"{len(parents) - _PARENTS_SHOWN_MAX} more"


# Text


class Row(NamedTuple):
    """A line of the drawing: its lanes, and the stream whose row it is, None for links."""

    lanes: str
    stream: StreamFacts | None


def rows(streams: Sequence[StreamFacts], glyphs: Glyphs = UNICODE) -> Iterator[Row]:
    """The lines of the drawing in lanes, newest streams first, those that belong together joined.

    Takes time in proportion to the streams and edges, whatever their shape.
    """
    for laid in laid_out(streams):
        yield Row(_node_row(laid, glyphs), laid.stream)
        if laid.targets - {laid.place}:
            yield Row(_link_row(laid, glyphs), None)


def text(streams: Sequence[StreamFacts], glyphs: Glyphs = UNICODE) -> Iterator[str]:
    """The drawing as lines of text without colour."""
    for lanes, stream in rows(streams, glyphs):
        if stream is None:
            yield lanes
        else:
            yield f"{lanes} {shown(stream.name, glyphs.plain)}  {describe(stream, glyphs)}"


def _node_row(laid: Laid, glyphs: Glyphs) -> str:
    bar, blank = glyphs.links["ud"], glyphs.links[""]
    cells = [bar if there else blank for there in laid.before]
    cells[laid.place] = glyphs.nodes[laid.stream.kind]
    return blank.join(cells).rstrip()


def _link_row(laid: Laid, glyphs: Glyphs) -> str:
    _, place, _, before, after, targets = laid
    low, high = min(place, *targets), max(place, *targets)
    cells = []
    for column in range(max(len(before), len(after))):
        above = column < len(before) and before[column]
        below = column < len(after) and after[column]
        sides = ("u" if above else "") + ("d" if below else "")
        if column == place or column in targets:
            sides += ("l" if low < column else "") + ("r" if column < high else "")
        elif low < column < high and not sides:
            sides = "lr"
        # A lane that is only crossed keeps its bar, so that it does not look joined.
        cells.append(glyphs.links[sides])
        cells.append(glyphs.links["lr" if low <= column < high else ""])
    return "".join(cells).rstrip()


# Other forms

# Entities stand for whatever Mermaid or its Markdown could take for something of their own.
_MERMAID_SPECIAL: Final = re.compile(r"[^0-9A-Za-z/@:,=\-. \u0080-\U0010ffff]|[-.](?= )")
_MERMAID_SHAPES: Final = {"root": "([{}])", "branch": "[{}]", "merge": "{{{{{}}}}}"}
_DOT_SHAPES: Final = {"root": "ellipse", "branch": "box", "merge": "hexagon"}


def mermaid(streams: Sequence[StreamFacts]) -> Iterator[str]:
    """Lines of a Mermaid flowchart, parents above children."""
    yield "flowchart TD"
    numbers = {stream.key: number for number, stream in enumerate(streams)}
    for number, stream in enumerate(streams):
        label = "<br/>".join(_mermaid(line) for line in _label(stream))
        shape = _MERMAID_SHAPES[stream.kind].format(f'"{label}"')
        yield f"    s{number}{shape}"
    for number, stream in enumerate(streams):
        for parent in stream.parents:
            if parent.key in numbers:
                place = _mermaid(_place_text(parent))
                yield f'    s{numbers[parent.key]} -->|"{place}"| s{number}'


def dot(streams: Sequence[StreamFacts]) -> Iterator[str]:
    """Lines of a Graphviz digraph, parents above children."""
    yield "digraph lineage {"
    numbers = {stream.key: number for number, stream in enumerate(streams)}
    for number, stream in enumerate(streams):
        label = r"\n".join(_dot(line) for line in _label(stream))
        yield f'    s{number} [shape={_DOT_SHAPES[stream.kind]}, label="{label}"];'
    for number, stream in enumerate(streams):
        for parent in stream.parents:
            if parent.key in numbers:
                place = _place_text(parent)
                yield f'    s{numbers[parent.key]} -> s{number} [label="{place}"];'
    yield "}"


def document(streams: Sequence[StreamFacts]) -> dict[str, object]:
    """The graph as one JSON object: the streams, and an edge for each parent of each."""
    return {
        "streams": [
            {
                "stream": stream.name,
                "kind": stream.kind,
                "records": stream.records,
                "policy": stream.policy or None,
                "detail": stream.detail or None,
            }
            for stream in streams
        ],
        "edges": [
            {"parent": parent.name, "offset": parent.offset, "child": stream.name}
            for stream in streams
            for parent in stream.parents
        ],
    }


def _label(stream: StreamFacts) -> list[str]:
    kind = f"{stream.kind} by {shown(stream.policy)}" if stream.policy else stream.kind
    lines = [shown(stream.name), f"{kind}, {_count(stream)}"]
    return [*lines, shown(stream.detail)] if stream.detail else lines


def _place_text(parent: Parent) -> str:
    return f"@{parent.offset}" if parent.offset >= 0 else "empty"


def _mermaid(line: str) -> str:
    return _MERMAID_SPECIAL.sub(lambda found: f"#{ord(found[0])};", line)


def _dot(line: str) -> str:
    return line.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
