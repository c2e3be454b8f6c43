"""Two threadings of one channel beside each other, or one beside what people annotated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from transit import InvalidInputError
from transit.chat.deciding import Threading
from transit.chat.scoring import Link, Score, read_annotation, score
from transit.chat.threads import Threaded, Threads

Run = Threading | Threads


class Comparison(msgspec.Struct, frozen=True):
    """How two threadings differ, and how close the first is to the second, or to the annotation.

    messages: how many were compared. answers: how many of them answer another message in one than
    in the other; threads: how many are in another thread, one with another first message.
    differing: the offsets of those that answer another one, at most 1,000. score: see
    `transit.chat.scoring`.
    """

    messages: int
    answers: int
    threads: int
    differing: tuple[int, ...]
    score: Score


def compare(
    channel: Threaded,
    run: Run | None = None,
    *,
    gold: str | Path | Run | None = None,
    numbered: Callable[[str], int | None] | None = None,
) -> Comparison:
    """How a run over a channel differs from `gold`; run None: the decisions in force.

    gold: another run; None: the decisions in force; a path: an annotation, lines `a b -` of numbers
    of lines, as those of the IRC corpus. numbered: the number of a message in the annotation, from
    its id; None: the line of an imported log, from 0.
    """
    found = channel.threads() if run is None else _threads(run)
    if isinstance(gold, str | Path):
        return _with_annotation(channel, found, gold, numbered or line_of)
    other = channel.threads() if gold is None else _threads(gold)
    if other is found:
        raise InvalidInputError("a run compared with itself: give another run, or gold=")
    offsets = list(channel.index.messages(0))
    mine, theirs = found.fold, other.fold
    links = {Link(each, mine.parent(each)) for each in offsets}
    others = {Link(each, theirs.parent(each)) for each in offsets}
    differing = [each for each in offsets if mine.parent(each) != theirs.parent(each)]
    if not offsets:
        raise InvalidInputError(f"{channel.name} has no message to compare")
    return Comparison(
        len(offsets),
        len(differing),
        sum(mine.root(each) != theirs.root(each) for each in offsets),
        tuple(differing[:1000]),
        score({"": others}, {"": links}, {"": _grouped(found, offsets)}),
    )


def line_of(message_id: str) -> int | None:
    """The line, from 0, of a log that a message was imported from; None for another message."""
    scheme, _, rest = message_id.partition(":")
    number = rest.rpartition("/")[2]
    return int(number) - 1 if scheme == "irc" and number.isdecimal() else None


def _with_annotation(
    channel: Threaded, found: Threads, path: str | Path, numbered: Callable[[str], int | None]
) -> Comparison:
    gold = read_annotation(path)
    offsets: dict[int, int] = {}
    for message in channel.messages():
        number = numbered(message.id)
        if number is not None:
            offsets[number] = message.offset
    lines = {offset: number for number, offset in offsets.items()}
    fold, links = found.fold, set[Link]()
    for place, offset in offsets.items():
        parent = fold.parent(offset)
        links.add(Link(place, None if parent is None else lines.get(parent)))
    groups = [
        [lines[each] for each in group if each in lines]
        for group in _grouped(found, list(offsets.values()))
    ]
    parents: dict[int, set[int | None]] = {}
    for link in gold:
        parents.setdefault(link.child, set()).add(
            None if link.parent == link.child else link.parent
        )
    wrong = [
        offsets[link.child]
        for link in links
        if link.child in parents and link.parent not in parents[link.child]
    ]
    scored = score({"": gold}, {"": links}, {"": groups})
    return Comparison(len(parents), len(wrong), 0, tuple(sorted(wrong)[:1000]), scored)


def _threads(run: Run) -> Threads:
    return run.threads if isinstance(run, Threading) else run.refresh()


def _grouped(threads: Threads, offsets: list[int]) -> list[list[int]]:
    """The messages by thread; those of which nothing was said are threads of their own."""
    groups: dict[int, list[int]] = {}
    for offset in offsets:
        groups.setdefault(threads.fold.root(offset), []).append(offset)
    return list(groups.values())
