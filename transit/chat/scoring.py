"""How close threads that were found are to those that people found in the same chat logs.

Owns the measures and the reader of annotations; it knows nothing of channels and classifiers. A
message is a number, a link says which earlier message it answers, and a thread is what links join.
Only messages that people looked at are scored: those that are the later end of a gold link. Others
are context: they may be answered, and join messages into one thread, but are no members of it.

Measures, all of them over all logs together, as published with the data (Kummerfeld et al., "A
Large-Scale Corpus for Conversation Disentanglement", ACL 2019):

- link: precision, recall and F1 of links; that a message starts a thread is a link to itself.
- vi: 1 - (H(gold given found) + H(found given gold)) / log n, n being all messages (Meilă 2007).
- one_to_one: messages in common when threads are paired one to one in the best way, over n.
- exact: precision, recall and F1 of whole threads, those of one message left out on both sides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from transit import InvalidInputError

# Of each log of the corpus: shown to the annotators, and not annotated.
CONTEXT_LINES = 1000


class Link(NamedTuple):
    """`child` answers `parent`; None, or the child's own number: it starts a thread."""

    child: int
    parent: int | None


class Ratio(msgspec.Struct, frozen=True):
    """Precision, recall and their harmonic mean, each 0 to 1."""

    precision: float
    recall: float
    f1: float


class Score(msgspec.Struct, frozen=True):
    """What `score` found, each measure 0 to 1 and better when higher.

    messages: how many were scored; missing: of them, those without a prediction, each taken as a
    thread of its own. threads_gold, threads_found: how many threads they make on both sides.
    """

    link: Ratio
    vi: float
    one_to_one: float
    exact: Ratio
    logs: int
    messages: int
    missing: int
    threads_gold: int
    threads_found: int


Thread = frozenset[int]
Links = Mapping[str, Collection[Link]]
"""Links by the name of their log."""


class _Sides(NamedTuple):
    """The threads of one log, on both sides over the same messages."""

    gold: list[Thread]
    found: list[Thread]

    @property
    def overlaps(self) -> Counter[tuple[int, int]]:
        """How many messages gold thread i and found thread j have in common, where any."""
        place = {number: j for j, thread in enumerate(self.found) for number in thread}
        return Counter((i, place[each]) for i, thread in enumerate(self.gold) for each in thread)


def read_annotation(path: str | Path, context: int = CONTEXT_LINES) -> set[Link]:
    """The links of one `<log>.annotation.txt`: lines `a b -`, the later answers the earlier.

    Equal numbers start a thread. Links of messages before line `context` are left out.
    InvalidInputError: a line that has other than two numbers.
    """
    links = set()
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path}: is no text: {error}") from None
    for number, line in enumerate(text.splitlines(), 1):
        words = [word for word in line.split() if word != "-"]
        if not words:
            continue
        if len(words) != 2 or not all(word.isdecimal() for word in words):
            raise InvalidInputError(f"{path}:{number}: not two message numbers: {line!r}")
        parent, child = sorted(map(int, words))
        if child >= context:
            links.add(Link(child, parent))
    return links


def read_annotations(folder: str | Path, context: int = CONTEXT_LINES) -> dict[str, set[Link]]:
    """All annotations of a folder, by the name of the log: the file's name up to the first dot."""
    paths = sorted(Path(folder).glob("*.annotation.txt"))
    return {path.name.split(".")[0]: read_annotation(path, context) for path in paths}


def score(
    gold: Links,
    found: Links,
    threads: Mapping[str, Iterable[Iterable[int]]] | None = None,
) -> Score:
    """How close `found` is to `gold`, over all logs that `gold` has.

    threads: threads by log, where they are not those that the links make.
    InvalidInputError: `gold` has no link.
    """
    right = {log: _pairs(links) for log, links in gold.items() if links}
    if not right:
        raise InvalidInputError("no gold link to compare with")
    scored = {log: {pair.child for pair in pairs} for log, pairs in right.items()}
    pairs = {log: _pairs(found.get(log, ())) for log in right}
    groups = {
        log: _groups(pairs[log] if threads is None else threads.get(log, ())) for log in right
    }
    sides = [
        _Sides(_threads(_groups(right[log]), scored[log]), _threads(groups[log], scored[log]))
        for log in right
    ]
    return Score(
        link=_links_found(right, pairs, scored),
        vi=_information(sides),
        one_to_one=_one_to_one(sides),
        exact=_whole_threads(sides),
        logs=len(right),
        messages=sum(map(len, scored.values())),
        missing=sum(len(scored[log].difference(*groups[log])) for log in right),
        threads_gold=sum(len(side.gold) for side in sides),
        threads_found=sum(len(side.found) for side in sides),
    )


class _Pair(NamedTuple):
    """A link as a pair of numbers: equal ones start a thread."""

    child: int
    parent: int


def _pairs(links: Iterable[Link]) -> set[_Pair]:
    return {_Pair(child, child if parent is None else parent) for child, parent in links}


def _groups(groups: Iterable[Iterable[int]]) -> list[Thread]:
    return [frozenset(group) for group in groups]


def _threads(groups: Iterable[Thread], scored: set[int]) -> list[Thread]:
    """The scored messages as the groups part them; a message of no group is alone."""
    root: dict[int, int] = {}
    for group in groups:
        for other in group:
            root[_top(root, other)] = _top(root, min(group))
    members: dict[int, list[int]] = {}
    for number in sorted(scored):
        members.setdefault(_top(root, number), []).append(number)
    return [frozenset(each) for each in members.values()]


def _top(root: dict[int, int], number: int) -> int:
    """The number that stands for all that are joined with this one."""
    while (above := root.get(number, number)) != number:
        # Paths become shorter as they are walked.
        root[number] = number = root.get(above, above)
    return number


def _ratio(matched: int, found: int, gold: int) -> Ratio:
    precision = matched / found if found else 0.0
    recall = matched / gold if gold else 0.0
    total = precision + recall
    return Ratio(precision, recall, 2 * precision * recall / total if total else 0.0)


def _links_found(
    gold: Mapping[str, set[_Pair]],
    found: Mapping[str, set[_Pair]],
    scored: Mapping[str, set[int]],
) -> Ratio:
    matched = sum(len(gold[log] & found[log]) for log in gold)
    claimed = sum(pair.child in scored[log] for log in gold for pair in found[log])
    return _ratio(matched, claimed, sum(map(len, gold.values())))


def _whole_threads(sides: list[_Sides]) -> Ratio:
    matched = found = gold = 0
    for side in sides:
        large = {thread for thread in side.gold if len(thread) > 1}
        theirs = {thread for thread in side.found if len(thread) > 1}
        matched += len(large & theirs)
        found += len(theirs)
        gold += len(large)
    return _ratio(matched, found, gold)


def _information(sides: list[_Sides]) -> float:
    count = sum(len(thread) for side in sides for thread in side.gold)
    if count < 2:
        return 1.0
    variation = 0.0
    for side in sides:
        for (i, j), common in side.overlaps.items():
            shares = common / len(side.gold[i]), common / len(side.found[j])
            variation -= common / count * sum(map(math.log, shares))
    return 1.0 - variation / math.log(count)


def _one_to_one(sides: list[_Sides]) -> float:
    common = sum(_best_pairing(side.overlaps) for side in sides)
    return common / sum(len(thread) for side in sides for thread in side.gold)


def _best_pairing(cells: Mapping[tuple[int, int], int]) -> int:
    """The largest sum of cells, no two of them in one row or column.

    Pairs are added one by one, each time along the path of alternate cells that gains most: the
    sum of k pairs is then the largest of any k, and what a further pair gains never grows.
    """
    row_of: dict[int, int] = {}
    total = 0
    while True:
        gain, came_from = _gains(cells, row_of)
        column = max(gain.keys() - row_of.keys(), key=lambda j: (gain[j], -j), default=None)
        if column is None or gain[column] <= 0:
            return total
        total += gain[column]
        path: int | None = column
        while path is not None:
            row = came_from[path]
            column, path = path, next((j for j, i in row_of.items() if i == row), None)
            row_of[column] = row


def _gains(
    cells: Mapping[tuple[int, int], int], row_of: Mapping[int, int]
) -> tuple[dict[int, int], dict[int, int]]:
    """What the best path from a row without a pair to each column gains, and its last row."""
    paired = {row: column for column, row in row_of.items()}
    gain: dict[int, int] = {}
    came_from: dict[int, int] = {}
    changed = True
    while changed:
        changed = False
        for (row, column), count in cells.items():
            mate = paired.get(row)
            if mate == column or (mate is not None and mate not in gain):
                continue
            reached = count + (0 if mate is None else gain[mate] - cells[row, mate])
            if reached > gain.get(column, 0):
                gain[column], came_from[column] = reached, row
                changed = True
    return gain, came_from
