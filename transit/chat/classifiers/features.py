"""What the linear model looks at: of a message, of a candidate, and of both together.

Owns the names of all features and their finding. Every feature is there or not. A candidate has one
`RELATION` to the message, by who addresses whom; its other features count once for all relations,
and once more for the relation it has. Distance counts what people said between, never offsets.

Three sets of features are kept as the bits of a number, in the order of their names:

- MESSAGE: of the message alone; they say how likely it is that it starts a thread, each alone and
  some in pairs, and weigh each relation.
- CANDIDATE: of a candidate alone.
- BETWEEN: of both; those that begin with "thread" look at the threads that the hand rule makes.

`STEPS` and `MINUTES` are thresholds: a candidate has the feature of each that it reaches.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

from transit.chat.classifiers.history import CANDIDATES, History
from transit.chat.classifiers.reading import Line
from transit.chat.classifiers.rule import guess
from transit.chat.classifying import Said

MESSAGE: Final = (
    "addresses", "addresses stranger", "asks", "asks all", "greets", "thanks", "agrees", "goes on",
    "command", "by bot", "first of author", "short", "long", "has partner", "told since own",
    "told lately", "own < 2 minutes", "own < 6 minutes", "own < 16 minutes", "own older",
)  # fmt: skip
# Those that say together with each other more than each alone, about starting a thread.
PAIRED: Final = ("addresses", "asks", "first of author", "has partner", "greets")
# Those that change what the relations weigh.
WEIGHING: Final = (
    "addresses", "addresses stranger", "asks", "agrees", "thanks", "goes on", "first of author",
    "short", "has partner", "told since own", "greets", "by bot",
)  # fmt: skip
CANDIDATE: Final = (
    "is addressed", "asks", "greets", "agrees", "command", "by bot", "first of author", "short",
)  # fmt: skip
BETWEEN: Final = (
    "last of author", "last of relation", "names author", "named author", "own since",
    "addressed since", "partner since", "author told since by own", "just before", "by partner",
    "partner of its author", "to a third", "shares words", "shares rare words", "shares many words",
    "same addressed",
    "command to bot", "both greet", "thread's last", "thread has own", "thread of last own",
    "thread has addressed", "thread has partner", "thread of one", "answered",
)  # fmt: skip
RELATION: Final = (
    "by addressed", "to own", "own", "same addressed", "near partner", "message elsewhere",
    "candidate elsewhere", "open",
)  # fmt: skip
STEPS: Final = (1, 2, 3, 5, 8, 13, 20, 32, CANDIDATES)
# Many logs have whole minutes alone.
MINUTES: Final = (0.5, 1.5, 3.5, 7.5, 15.5, 30.5, 60.5)
# How rare the words are that both have, as a sum of logarithms.
_SHARED: Final = (("shares words", 3.0), ("shares rare words", 6.0), ("shares many words", 10.0))
SHORT_MAX: Final = 2
LONG_MIN: Final = 13


# What stands for it in weights: each feature, or pair of them, that says how a thread starts.
STARTS: Final = (
    ("",),
    *((name,) for name in MESSAGE),
    *(
        (name, other)
        for place, name in enumerate(MESSAGE)
        for other in MESSAGE[place + 1 :]
        if name in PAIRED
    ),
)
# What candidates have, whatever their relation; and with the relation.
COLUMNS: Final = (
    *(f"candidate {name}" for name in CANDIDATE),
    *BETWEEN,
    *(f"steps >= {least}" for least in STEPS),
    *(f"minutes >= {least}" for least in MINUTES),
)
RELATED: Final = ("", *COLUMNS, *(f"message {name}" for name in WEIGHING))
_OPENINGS: Final = {
    "greeting": "greets",
    "thanks": "thanks",
    "agreement": "agrees",
    "further": "goes on",
}


def bits_of(names: tuple[str, ...]) -> dict[str, int]:
    """The bit of each feature of a set."""
    return {name: 1 << place for place, name in enumerate(names)}


_M: Final = bits_of(MESSAGE)
_C: Final = bits_of(CANDIDATE)
_B: Final = bits_of(BETWEEN)
_R: Final = {name: place for place, name in enumerate(RELATION)}


class Sight(NamedTuple):
    """A candidate: its place in RELATION, its features, and how many thresholds it reaches."""

    offset: int
    relation: int
    candidate: int
    between: int
    steps: int
    minutes: int


class Watch:
    """What was said in a channel, with the hand rule's word on each message."""

    def __init__(self) -> None:
        self.history = History()

    def see(self, said: Said) -> None:
        """A message that came next."""
        self.read(said)
        self.history.see(said)

    def read(self, said: Said) -> Line:
        """What a message says that is not seen yet."""
        line = self.history.read(said)
        if not line.traits and not line.system:
            parent = guess(line, self.history).parent
            line.answers = -1 if parent is None else parent.number
            line.traits = _candidate_bits(line)
        return line

    def message(self, line: Line) -> int:
        """The features of a message alone."""
        bits = _message_bits(line)
        own = self.history.spoke.get(line.author)
        told = self.history.addressed.get(line.author)
        if own is not None:
            passed = line.minutes - own.minutes
            near = "2" if passed < 1.5 else "6" if passed < 5.5 else "16" if passed < 15.5 else ""
            bits |= _M[f"own < {near} minutes" if near else "own older"]
        if told is not None:
            if own is None or told.number > own.number:
                bits |= _M["told since own"]
            if line.minutes - told.minutes < 10.5:
                bits |= _M["told lately"]
        return bits

    def sights(self, line: Line) -> Iterator[Sight]:
        """The candidates, the latest first."""
        walk = _Walk(line, self.history)
        near = reversed(self.history.candidates)
        for steps, each in enumerate(chain(near, self.history.distant(line))):
            relation, between = walk.look(each)
            if not steps:
                between |= _B["just before"]
            yield Sight(
                each.offset,
                relation,
                each.traits >> 1,
                between,
                bisect_right(STEPS, steps),
                bisect_right(MINUTES, line.minutes - each.minutes),
            )


def _message_bits(line: Line) -> int:
    bits = _M[_OPENINGS[line.opening]] if line.opening else 0
    if line.target is not None:
        bits |= _M["addresses"]
    elif line.partner is not None:
        bits |= _M["has partner"]
    for name, there in (
        ("addresses stranger", line.stranger),
        ("asks", line.question),
        ("asks all", line.asks_all),
        ("command", line.command),
        ("by bot", line.bot),
        ("first of author", line.first),
        ("short", line.size <= SHORT_MAX),
        ("long", line.size >= LONG_MIN),
    ):
        if there:
            bits |= _M[name]
    return bits


def _candidate_bits(line: Line) -> int:
    """The features of a candidate alone, above a bit that says that they were found."""
    there = (
        line.target is not None,
        line.question,
        line.opening == "greeting",
        line.opening == "agreement",
        line.command,
        line.bot,
        line.first,
        line.size <= SHORT_MAX,
    )
    bits = sum(bit for bit, yes in zip(_C.values(), there, strict=True) if yes)
    return bits << 1 | 1


class _Walk:
    """Goes back through the candidates of one message, and knows what came after each."""

    def __init__(self, line: Line, history: History) -> None:
        self._line = line
        self._partner = line.partner if line.target is None else None
        self._authors: set[str] = set()
        self._told_by_own: set[str] = set()
        self._relations: set[int] = set()
        self._threads = _Threads(line, history)
        known = history.documents
        total = history.spoken + 1
        self._rarity = {
            word: math.log(total / (known[word] + 0.5)) for word in line.words if word in known
        }

    def look(self, each: Line) -> tuple[int, int]:
        """Its place in RELATION, and the features of BETWEEN."""
        relation = self._relation(each)
        bits = self._since(each) | self._addressing(each) | self._words(each)
        bits |= self._threads.look(each)
        if relation not in self._relations:
            bits |= _B["last of relation"]
            self._relations.add(relation)
        self._authors.add(each.author)
        if each.target is not None and each.author == self._line.author:
            self._told_by_own.add(each.target)
        return relation, bits

    def _relation(self, each: Line) -> int:
        line, partner = self._line, self._partner
        if each.author == line.author:
            return _R["own"]
        if line.target is not None and each.author == line.target:
            return _R["by addressed"]
        if each.target == line.author:
            return _R["to own"]
        if line.target is not None and each.target == line.target:
            return _R["same addressed"]
        if line.target is not None or line.stranger:
            return _R["message elsewhere"]
        near = each.partner == line.author or (
            partner is not None and partner in (each.author, each.partner)
        )
        elsewhere = each.target is not None or each.stranger
        return _R["near partner" if near else "candidate elsewhere" if elsewhere else "open"]

    def _since(self, each: Line) -> int:
        """What was said after the candidate."""
        line, authors, author = self._line, self._authors, each.author
        bits = 0
        if author not in authors:
            bits |= _B["last of author"]
        if line.author in authors:
            bits |= _B["own since"]
        if line.target in authors:
            bits |= _B["addressed since"]
        if self._partner in authors:
            bits |= _B["partner since"]
        if author in self._told_by_own:
            bits |= _B["author told since by own"]
        return bits

    def _addressing(self, each: Line) -> int:
        """Who addresses, names or talks with whom."""
        line, author, target, partner = self._line, each.author, each.target, self._partner
        bits = 0
        if author != line.target and author in line.mentioned:
            bits |= _B["names author"]
        if target != line.author and line.author in each.mentioned:
            bits |= _B["named author"]
        if author == partner:
            bits |= _B["by partner"]
        if target is None:
            if each.partner == line.author:
                bits |= _B["partner of its author"]
        elif target == line.target:
            bits |= _B["same addressed"]
        elif line.author not in (target, author):
            bits |= _B["to a third"]
        return bits

    def _words(self, each: Line) -> int:
        line, rarity = self._line, self._rarity
        bits = 0
        if line.bot and each.command:
            bits |= _B["command to bot"]
        if line.opening == each.opening == "greeting":
            bits |= _B["both greet"]
        if not line.words.isdisjoint(each.words):
            shared = sum(sorted(rarity[word] for word in line.words & each.words))
            for name, least in _SHARED:
                if shared >= least:
                    bits |= _B[name]
        return bits


class _Threads:
    """The threads that the hand rule makes of the candidates alone."""

    def __init__(self, line: Line, history: History) -> None:
        self._line = line
        self._root: dict[int, int] = {}
        self._people: dict[int, set[str]] = {}
        self._answered: set[int] = set()
        self._later: set[int] = set()
        self._last_own = -1
        for each in history.candidates:
            root = self._root.get(each.answers, each.number)
            self._root[each.number] = root
            self._people.setdefault(root, set()).add(each.author)
            self._answered.add(each.answers)
            if each.author == line.author:
                self._last_own = root

    def look(self, each: Line) -> int:
        """The features of the candidate's thread."""
        line, root = self._line, self._root.get(each.number)
        if root is None:
            return 0
        people = self._people[root]
        bits = 0
        if root not in self._later:
            bits |= _B["thread's last"]
            self._later.add(root)
        if line.author in people:
            bits |= _B["thread has own"]
            if root == self._last_own:
                bits |= _B["thread of last own"]
        if line.target in people:
            bits |= _B["thread has addressed"]
        if line.partner in people:
            bits |= _B["thread has partner"]
        if len(people) == 1:
            bits |= _B["thread of one"]
        if each.number in self._answered:
            bits |= _B["answered"]
        return bits
