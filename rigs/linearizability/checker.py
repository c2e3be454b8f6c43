"""Whether concurrent calls on one stream could have happened one after another, in some order.

A history is a list of calls, each with the moments it began and ended and what it returned. It is
linearizable when each call can be given one moment between its own two, so that in the order of
these moments every result is right. `check` looks for such an order as Wing and Gong do (Testing
and verifying concurrent objects, J. Parallel Distrib. Comput. 17, 1993), and never looks twice at
the same set of calls with the same contents (Lowe, Testing for linearizability, Concurrency and
Computation 29, 2017). Streams are checked one by one: a system is linearizable when each of its
objects is (Herlihy and Wing, ACM TOPLAS 12, 1990).

A call that never returned may have happened at any moment after it began, or never.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

Verb = Literal["append", "read", "length", "last", "fork"]
Contents = tuple[str, ...]
"""The payloads of a stream, in order."""
Result = int | str | Contents | None

CONFLICT: Final = "conflict"
"""What an append under a condition that does not hold returns."""
NONE: Final = "none"
"""What a question about a record that is not there returns."""


@dataclass(frozen=True)
class Call:
    """One call on one stream, and what came of it.

    append: `payloads`, under the condition `expect` if not None; returns the first offset, or
    CONFLICT. read: from offset `at` on; returns Contents, or NONE. length: returns an int. last:
    returns a payload, or NONE. fork: up to and including `at`, None for the head; returns the
    Contents inherited, or NONE.
    called, returned: nanoseconds of one clock; returned None: it never did, and result is unknown.
    """

    who: int
    verb: Verb
    called: int
    returned: int | None
    result: Result = None
    payloads: Contents = ()
    expect: int | None = None
    at: int | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether there is such an order, and the longest beginning of one that was found.

    stuck: the calls of which one should have come next, when there is no order.
    """

    linearizable: bool
    order: tuple[Call, ...]
    stuck: tuple[Call, ...] = ()

    def __bool__(self) -> bool:
        return self.linearizable


def apply(contents: Contents, call: Call) -> Contents | None:
    """What a stream holds after the call; None when the call cannot have returned what it did."""
    if call.verb == "append":
        return _append(contents, call)
    return contents if call.returned is None or _answer(contents, call) == call.result else None


def _append(contents: Contents, call: Call) -> Contents | None:
    holds = call.expect is None or call.expect == len(contents)
    right = len(contents) if holds else CONFLICT
    if call.returned is not None and call.result != right:
        return None
    return contents + call.payloads if holds else contents


def _answer(contents: Contents, call: Call) -> Result:
    at = call.at
    if call.verb == "length":
        return len(contents)
    if call.verb == "last":
        return contents[-1] if contents else NONE
    if call.verb == "read":
        return contents[at or 0 :] if (at or 0) <= len(contents) else NONE
    if at is None:
        return contents
    return contents[: at + 1] if at < len(contents) else NONE


@dataclass(eq=False)
class _Event:
    """A call's beginning or its end, in a list that it can be taken out of and put back into."""

    call: Call | None = None
    number: int = -1
    begins: bool = True
    end: _Event | None = None
    before: _Event = field(init=False)
    after: _Event | None = field(init=False, default=None)

    def take_out(self) -> None:
        """Leave the list, and take the end along."""
        for event in (self, self.end):
            if event is not None:
                event.before.after = event.after
                if event.after is not None:
                    event.after.before = event.before

    def put_back(self) -> None:
        """Come back to where it was: what left last comes back first."""
        for event in (self.end, self):
            if event is not None:
                event.before.after = event
                if event.after is not None:
                    event.after.before = event


def _linked(calls: Sequence[Call]) -> _Event:
    """The events in order of time, after an empty one; at one moment beginnings come first."""
    timed = []
    for number, call in enumerate(calls):
        begin = _Event(call, number)
        timed.append((call.called, 0, number, begin))
        if call.returned is not None:
            begin.end = _Event(call, number, False)
            timed.append((call.returned, 1, number, begin.end))
    start = last = _Event()
    for *_, event in sorted(timed, key=lambda each: each[:3]):
        last.after, event.before = event, last
        last = event
    return start


def check(calls: Iterable[Call], contents: Contents = ()) -> Verdict:
    """Whether these calls on one stream, which held `contents` at first, are linearizable."""
    history = list(calls)
    start = _linked(history)
    left = sum(call.returned is not None for call in history)
    taken: list[tuple[_Event, Contents]] = []
    done, longest = 0, 0
    order: tuple[Call, ...] = ()
    stuck = _next_calls(start)
    seen: set[tuple[int, Contents]] = set()
    event = start.after
    while left:
        if event is not None and event.begins and event.call is not None:
            after = apply(contents, event.call)
            key = (done | 1 << event.number, after or ())
            if after is None or key in seen:
                event = event.after
                continue
            seen.add(key)
            taken.append((event, contents))
            contents, done = after, key[0]
            left -= event.end is not None
            event.take_out()
            if len(taken) > longest:
                longest = len(taken)
                order = tuple(each.call for each, _ in taken if each.call is not None)
                stuck = _next_calls(start)
            event = start.after
            continue
        if not taken:
            return Verdict(False, order, stuck)
        # A call returned before anything could be put here: the last choice was wrong.
        event, contents = taken.pop()
        event.put_back()
        done &= ~(1 << event.number)
        left += event.end is not None
        event = event.after
    return Verdict(True, order)


def _next_calls(start: _Event) -> tuple[Call, ...]:
    """The calls that may come next: those that began before any that is left returned."""
    found = []
    event = start.after
    while event is not None and event.begins:
        if event.call is not None:
            found.append(event.call)
        event = event.after
    return tuple(found)


def check_prefixes(calls: Iterable[Call], final: Contents) -> list[str]:
    """What is wrong with the reads of handles that only follow: nothing, or one text a call.

    Such a handle may be behind, but what it shows is a prefix of what the stream holds in the
    end, and never less than it showed before.
    """
    wrong = []
    shown: dict[int, int] = {}
    for call in sorted(calls, key=lambda each: each.called):
        count = _count(call)
        if call.returned is None or count is None:
            continue
        if count < shown.get(call.who, 0):
            wrong.append(f"{call}: showed {shown[call.who]} records before")
        shown[call.who] = max(count, shown.get(call.who, 0))
        if count > len(final) or (apply(final[:count], call) is None):
            wrong.append(f"{call}: not a prefix of {final}")
    return wrong


def _count(call: Call) -> int | None:
    """How many records a call that only looks has shown the stream to have, if it says so."""
    if call.verb == "length" and isinstance(call.result, int):
        return call.result
    if call.verb == "read" and isinstance(call.result, tuple):
        return (call.at or 0) + len(call.result)
    return None
