"""Why a message is in its thread, in words: what a classifier said of it, or a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from transit import Record, chat
from transit.chat.records import EVIDENCE, KIND, OVERRIDE
from transit.chat.verdicts import verdict

Verdict = chat.Decision | chat.Override
_OF_MESSAGES: Final = frozenset(("confirm", "reanchor", "split"))
_SAID: Final = {"suppress": "suppressed", "reopen": "opened again", "resolve": "resolved"}


class Reason(NamedTuple):
    """What is said of one message: what counts, and the classifier's part of it."""

    counts: Verdict | None = None
    evidence: chat.Decision | None = None


def reason_of(threads: chat.Threads, offset: int) -> Reason:
    """Why the message of the channel at an offset is where it is."""
    counts = threads.why(offset)
    if not isinstance(counts, chat.Override):
        return Reason(counts, counts)
    place, stream = threads.fold.evidence(offset), threads.stream
    found = None if place is None or stream is None else verdict(stream[place])
    return Reason(counts, found if isinstance(found, chat.Decision) else None)


def reasons_in(records: Iterable[Record]) -> dict[int, Reason]:
    """Of a frozen thread: why each message is in it, by its offset in the channel."""
    found: dict[int, Reason] = {}
    for record in records:
        if record.headers.get(KIND) not in (EVIDENCE, OVERRIDE):
            continue
        said = verdict(record)
        counts, evidence = found.get(said.message, Reason())
        if isinstance(said, chat.Decision):
            # What a person said counts, before and after.
            kept = counts if isinstance(counts, chat.Override) else said
            found[said.message] = Reason(kept, said)
        elif said.action in _OF_MESSAGES:
            found[said.message] = Reason(said, evidence)
    return found


def said_of(threads: chat.Threads, members: Iterable[int]) -> Iterator[chat.Override]:
    """What people said of a thread as a whole: merges, and how it stands."""
    fold, stream = threads.fold, threads.stream
    if stream is None:
        return
    places = {place for member in members for place in fold.about(member)}
    for place in sorted(places):
        if stream[place].headers.get(KIND) == OVERRIDE:
            said = verdict(stream[place])
            if isinstance(said, chat.Override) and said.action not in _OF_MESSAGES:
                yield said


# In words


def words_of(reason: Reason) -> list[str]:
    """A line for what counts, and one for what a person put it in place of."""
    counts, evidence = reason
    if counts is None:
        return ["nothing was said of it"]
    if isinstance(counts, chat.Decision):
        return [_decision(counts)]
    lines = [_override(counts)]
    if evidence is not None and counts.action != "confirm":
        lines.append(f"instead of: {_decision(evidence)}")
    return lines


def thread_words(said: chat.Override) -> str:
    """What a person said of a thread."""
    if said.action == "merge":
        what = f"merged with the thread of {said.other}"
    else:
        what = _SAID.get(said.action, said.action)
    return f"{what} by {said.by}{_because(said)}"


def _decision(said: chat.Decision) -> str:
    what = _answers(said.parent)
    score = f"{said.classifier} {said.score:.2f}"
    if not said.decided:
        what, score = f"perhaps {what}", f"{score}, below {said.threshold:g}"
    others = ", ".join(f"{_answers(each.parent)} {each.score:.2f}" for each in said.alternatives)
    return f"{what} · {score}" + (f" · or {others}" if others else "")


def _override(said: chat.Override) -> str:
    how = {"confirm": "confirmed", "split": "split off"}.get(said.action, "said")
    return f"{_answers(said.parent)} · {how} by {said.by}{_because(said)}"


def _answers(parent: int | None) -> str:
    return "starts a thread" if parent is None else f"answers {parent}"


def _because(said: chat.Override) -> str:
    return f": {said.reason}" if said.reason else ""
