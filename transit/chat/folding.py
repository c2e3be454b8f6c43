"""Which thread each message is in: a fold over decisions and overrides. Pure.

What counts, in this order:

1. What a person said of a message's answer (confirm, reanchor, split): the last of it.
2. What the last classifier said of it, where that was decided. What is only proposed counts as "it
   is not known", and so does a message of which nothing was said: it is in a thread of its own.
3. Threads that people merged are one, until one of the two messages that were named is split off.

A message answers an earlier one, so there are no circles. A thread is named by its first message. A
record that says what cannot be is passed over and counted in `ignored`: the result depends on the
records alone, whoever wrote them. One about a message that the channel does not have yet counts
only in a fold that is begun when it has it: see `is_outgrown`.

Memory: 32 bytes for each message that was decided, and 8 for each member of a thread.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from transit.chat.records import (
    EVIDENCE,
    KIND,
    MALFORMED,
    OVERRIDE,
    DecisionBody,
    OverrideBody,
    decode_decision,
    decode_override,
)

_NONE: Final = -2
"""No record says anything."""
_STARTS: Final = -1
"""It starts a thread."""
_LINKS: Final = frozenset(("confirm", "reanchor", "split"))
STATES: Final = frozenset(("suppress", "reopen", "resolve"))
ACTIONS: Final = frozenset((*_LINKS, *STATES, "merge"))


class Folding:
    """The fold of one stream of decisions, as far as it was given its records, in order."""

    def __init__(self) -> None:
        self.stop = 0
        """How many records were taken in."""
        self.ignored = 0
        # The first message that a record was about and the channel did not have.
        self._late: int | None = None
        # By the offset of a message: what the last classifier decided; where its record is.
        self._machine = array("q")
        self._evidence = array("q")
        # What the last person said that it answers, and in which record.
        self._human: dict[int, tuple[int, int]] = {}
        self._merges: dict[tuple[int, int], int] = {}
        self._states: dict[int, tuple[str, int]] = {}
        # Derived: the first message of each message's thread, and the threads. None: to be made.
        self._roots = array("q")
        self._members: dict[int, array[int]] | None = {}

    # Records in

    def take(
        self, count: int, headers: Iterable[Mapping[str, str]], payloads: Iterable[bytes]
    ) -> None:
        """Take in the next records. count: how many records the channel has, or more."""
        offset = self.stop
        for header, payload in zip(headers, payloads, strict=True):
            kind = header.get(KIND, "")
            if kind in _KINDS:
                self._take(count, offset, kind, payload)
            offset += 1
        self.stop = offset

    def _take(self, count: int, offset: int, kind: str, payload: bytes) -> None:
        try:
            body = _KINDS[kind](payload)
        except MALFORMED:
            self.ignored += 1
            return
        other = body.other if isinstance(body, OverrideBody) and body.other is not None else 0
        lowest = min(body.message, other, body.parent or 0)
        if max(body.message, other) >= count:
            last = max(body.message, other)
            self._late = last if self._late is None else min(self._late, last)
        elif lowest < 0 or (body.parent is not None and body.parent >= body.message):
            self.ignored += 1
        elif isinstance(body, OverrideBody):
            self._override(offset, body)
        else:
            self._decide(offset, body)

    def is_outgrown(self, count: int) -> bool:
        """Whether a channel of `count` records has what it did not have:

        the fold is begun again.
        """
        return self._late is not None and self._late < count

    def _decide(self, offset: int, body: DecisionBody) -> None:
        message, parent = body.message, body.parent
        self._grow(message)
        link = _NONE if not body.decided else _STARTS if parent is None else parent
        before = self._machine[message]
        self._machine[message], self._evidence[message] = link, offset
        members = self._members
        if link == before or message in self._human or members is None:
            return
        if before != _NONE or self._roots[message] != _NONE:
            self._members = None
            return
        root = self._root_of(message)
        found = members.setdefault(root, array("q", [root]))
        if root != message:
            found.append(message)
            if found[-2] > message:
                # It was decided after a later one.
                self._members = None

    def _override(self, offset: int, body: OverrideBody) -> None:
        action, message, parent, other = body.action, body.message, body.parent, body.other
        if action in STATES:
            self._states[message] = (action, offset)
        elif action == "merge" and other is not None and other != message:
            pair = min(message, other), max(message, other)
            self._merges[pair] = offset
            self._grow(pair[1])
            self._members = None
        elif action in _LINKS:
            self._grow(message)
            self._human[message] = (_STARTS if parent is None else parent, offset)
            if action == "split":
                self._merges = {k: v for k, v in self._merges.items() if message not in k}
            self._members = None
        else:
            self.ignored += 1

    def _grow(self, message: int) -> None:
        missing = message + 1 - len(self._machine)
        if missing > 0:
            nothing = array("q", [_NONE]) * missing
            self._machine.extend(nothing)
            self._evidence.extend(nothing)
            self._roots.extend(nothing)

    # Questions

    def parent(self, message: int) -> int | None:
        """The message that this one answers, or None."""
        link = self._link(message)
        return link if link >= 0 else None

    def is_decided(self, message: int) -> bool:
        """Whether a classifier decided, or a person said, what the message answers."""
        return self._link(message) != _NONE

    def why(self, message: int) -> int | None:
        """The offset of the record that says what it answers, or of the proposal; or None."""
        human = self._human.get(message)
        return human[1] if human is not None else self.evidence(message)

    def evidence(self, message: int) -> int | None:
        """The offset of the last classifier's record about the message; None without."""
        found = self._evidence[message] if message < len(self._evidence) else _NONE
        return None if found == _NONE else found

    def state(self, root: int) -> tuple[str, int]:
        """The last that was said of a thread: suppress, reopen, resolve or "", and the record."""
        return self._states.get(root, ("", -1))

    def merged(self, one: int, other: int) -> int | None:
        """The offset of the record that merged the threads of these two messages; None without."""
        return self._merges.get((min(one, other), max(one, other)))

    def root(self, message: int) -> int:
        """The first message of the thread that a message is in."""
        self._whole()
        return self._root_of(message) if message < len(self._roots) else message

    def members(self, root: int) -> array[int]:
        """The messages of the thread that begins with this one, in order; at least that one."""
        return self._whole().get(root) or array("q", [root])

    def roots(self) -> Iterator[int]:
        """The first messages of all threads of which anything was said, in order."""
        return iter(sorted(self._whole()))

    def about(self, message: int) -> Iterator[int]:
        """The offsets of the records that say where a message is, and how its thread stands."""
        found = {self.why(message), self.evidence(message)}
        if message in self._states:
            found.add(self._states[message][1])
        found.update(place for pair, place in self._merges.items() if message in pair)
        return iter(sorted(each for each in found if each is not None))

    def _link(self, message: int) -> int:
        human = self._human.get(message)
        if human is not None:
            return human[0]
        return self._machine[message] if message < len(self._machine) else _NONE

    def _whole(self) -> dict[int, array[int]]:
        """The threads, made anew where an override changed what was."""
        if self._members is not None:
            return self._members
        roots, human, merges = self._roots, self._human, self._merges
        for message, decided in enumerate(self._machine):
            said = human.get(message)
            link = decided if said is None else said[0]
            roots[message] = message if link < 0 else roots[link]
        if merges:
            self._join(merges)
        members: dict[int, array[int]] = {}
        for message, root in enumerate(roots):
            if root != message:
                # A thread's first message is in it, whether or not anything was said of that.
                members.setdefault(root, array("q", [root])).append(message)
            elif self._link(message) != _NONE:
                members.setdefault(root, array("q", [root]))
        self._members = members
        return members

    def _join(self, merges: Iterable[tuple[int, int]]) -> None:
        leader: dict[int, int] = {}

        def find(root: int) -> int:
            while root in leader:
                root = leader[root]
            return root

        roots = self._roots
        for one, other in merges:
            first, second = sorted((find(roots[one]), find(roots[other])))
            if first != second:
                leader[second] = first
        for message, root in enumerate(roots):
            if root in leader:
                roots[message] = find(root)

    def _root_of(self, message: int) -> int:
        """The root of one message, whose thread is known but perhaps not its own place in it."""
        roots = self._roots
        if roots[message] == _NONE:
            link = self._link(message)
            roots[message] = message if link < 0 else self._root_of_parent(link)
        return roots[message]

    def _root_of_parent(self, message: int) -> int:
        path = []
        while self._roots[message] == _NONE:
            path.append(message)
            link = self._link(message)
            if link < 0:
                self._roots[message] = message
                break
            message = link
        root = self._roots[message]
        for each in path:
            self._roots[each] = root
        return root


_KINDS: Final[Mapping[str, Callable[[bytes], DecisionBody | OverrideBody]]] = {
    EVIDENCE: decode_decision,
    OVERRIDE: decode_override,
}
