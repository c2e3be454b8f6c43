"""What was said in a channel, as far as it bears on the next message.

Owns what a decider keeps. It is what the last `KEPT` messages say and nothing else: what an older
one added is taken out when it leaves. So the tables cannot grow, and a decider that saw only the
last `REMEMBERED` decides like one that saw all.
"""

from __future__ import annotations

import difflib
from collections import Counter, deque
from typing import Final

from transit.chat.classifiers.reading import Line, read
from transit.chat.classifying import Said

KEPT: Final = 1_000
# What a kept message says depends on names that were known then: on as many again.
REMEMBERED: Final = 2 * KEPT
# Nobody has been seen to answer what lies further back, but for a few in a hundred.
CANDIDATES: Final = 50
DISTANT: Final = 3
PARTNER_MINUTES: Final = 10.0
CLOSE_MIN: Final = 0.75
NAME_MAX: Final = 32


class History:
    """What the last messages of a channel say."""

    def __init__(self) -> None:
        self.candidates: deque[Line] = deque(maxlen=CANDIDATES)
        self.spoke: dict[str, Line] = {}
        self.directed: dict[str, Line] = {}
        self.addressed: dict[str, Line] = {}
        self.documents: Counter[str] = Counter()
        self.spoken = 0
        self._names: dict[str, tuple[str, int]] = {}
        self._said: dict[str, deque[Line]] = {}
        self._lines: deque[Line] = deque()
        self._number = 0
        self._read: tuple[Said, Line] | None = None

    def read(self, said: Said) -> Line:
        """What a message says that is not seen yet."""
        if self._read is not None and self._read[0] is said:
            return self._read[1]
        line = read(said, self._number, self._known)
        if line.stranger and not line.system:
            self._guess_target(said, line)
        line.first = line.author not in self.spoke
        line.partner = self._partner(line)
        self._read = said, line
        return line

    def see(self, said: Said) -> None:
        """A message that came next."""
        line = self.read(said)
        self._read = None
        self._number += 1
        self._lines.append(line)
        if not line.system:
            self._add(line)
        if len(self._lines) > KEPT:
            self._take_out(self._lines.popleft())

    def candidate(self, line: Line | None) -> Line | None:
        """The line, if it is late enough to be answered."""
        if line is None or line.number < self.candidates[0].number:
            return None
        return line

    def distant(self, line: Line) -> list[Line]:
        """What may be answered although it lies before the candidates, the latest first.

        It is what the author, or who is addressed, said last, unless they spoke lately; and what
        was last said to the author.
        """
        if not self.candidates:
            return []
        first = self.candidates[0].number
        found: dict[int, Line] = {}
        for who in (line.author, line.target):
            said = self._said.get(who) if who is not None else None
            if said is not None and said[-1].number < first:
                found |= {each.number: each for each in list(said)[-DISTANT:]}
        told = self.addressed.get(line.author)
        if told is not None and told.number < first:
            found[told.number] = told
        return [found[number] for number in sorted(found, reverse=True)]

    def _known(self, name: str) -> str | None:
        found = self._names.get(name)
        return None if found is None else found[0]

    def _guess_target(self, said: Said, line: Line) -> None:
        """A name that nobody has may be misspelt or cut short: it is then a late speaker's."""
        wanted = said.text.split(maxsplit=1)[0][:NAME_MAX].casefold().strip("@:,")
        close = {
            name: each.author
            for each in self.candidates
            for name in each.names
            if each.author != line.author
        }
        best = difflib.get_close_matches(wanted, close, 1, CLOSE_MIN)
        if best:
            line.target, line.stranger = close[best[0]], False

    def _partner(self, line: Line) -> str | None:
        """Whom the author talks with: the one addressed now, or else lately, by either of both."""
        if line.target is not None or line.stranger:
            return line.target
        theirs, ours = self.addressed.get(line.author), self.directed.get(line.author)
        if theirs is not None and (ours is None or theirs.number > ours.number):
            found, who = theirs, theirs.author
        elif ours is not None and ours.target is not None:
            found, who = ours, ours.target
        else:
            return None
        return who if line.minutes - found.minutes <= PARTNER_MINUTES else None

    def _add(self, line: Line) -> None:
        self.candidates.append(line)
        self.spoken += 1
        self.spoke[line.author] = line
        self._said.setdefault(line.author, deque()).append(line)
        for name in line.names:
            if name:
                self._names[name] = line.author, line.number
        if line.target is not None:
            self.directed[line.author] = self.addressed[line.target] = line
        self.documents.update(line.words)

    def _take_out(self, line: Line) -> None:
        if line.system:
            return
        self.spoken -= 1
        if self.candidates and self.candidates[0] is line:
            self.candidates.popleft()
        self._said[line.author].popleft()
        if not self._said[line.author]:
            del self._said[line.author]
        for table, key in (
            (self.spoke, line.author),
            (self.directed, line.author),
            (self.addressed, line.target),
        ):
            if key is not None and table.get(key) is line:
                del table[key]
        for name in line.names:
            if name in self._names and self._names[name][1] == line.number:
                del self._names[name]
        for word in line.words:
            self.documents[word] -= 1
            if not self.documents[word]:
                del self.documents[word]
