"""Mistakes of replay, put in on purpose: `rigs.replays.compare` finds each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from transit.trace import beginning, boundary, replaying, values
from transit.trace.boundary import Boundary
from transit.trace.calls import Given, RecordedCallError
from transit.trace.context import Lane
from transit.trace.matching import RecordedCall, Recording
from transit.trace.pauses import Pauses
from transit.trace.recording import Task
from transit.trace.replaying import Replay

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


def forgets_the_first_difference(patch: Patch) -> None:
    """A program that catches the difference goes on."""
    patch.setattr(Replay, "_check", lambda self: None)


def leaves_calls_out(patch: Patch) -> None:
    """The end of the block looks for no calls that are left."""
    patch.setattr(Replay, "_check_all_were_made", lambda self: None)


def compares_no_arguments(patch: Patch) -> None:
    """A call is known by its name."""
    patch.setattr(RecordedCall, "is_call", lambda self, call: self.request.call_name == call.name)


def knows_no_lanes(patch: Patch) -> None:
    """Calls come in the order of the recording."""
    patch.setattr(replaying, "lane", lambda: Lane("", 0, None))


def takes_lanes_by_label_alone(patch: Patch) -> None:
    """A lane is the one with its label, whatever it calls."""

    def lane_for(self: Recording, label: str, call: object) -> object:
        return self.lane_named(label) or next((e for e in self.lanes if not e.taken), None)

    patch.setattr(Recording, "lane_for", lane_for)


def gives_json_for_values(patch: Patch) -> None:
    """Values come back as they are stored."""
    patch.setattr(boundary, "restored", lambda form: form)


def loses_keys_that_are_no_text(patch: Patch) -> None:
    """Keys of objects become texts."""
    inside = values._Exact._inside

    def losing(self: Any, value: object, depth: int, place: str) -> object:
        if isinstance(value, dict):
            return {str(k): self.of(v, depth, place) for k, v in value.items()}
        return inside(self, value, depth, place)

    patch.setattr(values._Exact, "_inside", losing)


def raises_errors_of_its_own(patch: Patch) -> None:
    """No exception comes back as itself."""
    patch.setattr(Boundary, "_rebuilt", lambda self, error: RecordedCallError(error))


def knows_no_subclasses(patch: Patch) -> None:
    """Only named classes come back, not those below them."""
    patch.setattr("transit.trace.errors._named_below", lambda kind, name: None)


def gives_no_stream(patch: Patch) -> None:
    """A generator gives its end alone."""

    def nothing(self: Replay, found: RecordedCall) -> Iterator[Given]:
        yield from ()

    patch.setattr(Replay, "_chunks", nothing)


def gives_outcomes_at_once(patch: Patch) -> None:
    """Awaited outcomes come in the order in which they are asked for."""

    async def at_once(self: Pauses, offset: int, took_s: float) -> None:
        return

    patch.setattr(Pauses, "_until", at_once)


def cuts_waits_short_by_itself(patch: Patch) -> None:
    """A wait that was cancelled is over at once."""
    patch.setattr(Pauses, "_ended_the_run", lambda self, offset: True)


def begins_runs_inside_for_real(patch: Patch) -> None:
    """A run begun inside a replay is a new one."""
    patch.setattr(beginning, "_parent_of", lambda given: None)


def keeps_a_difference_to_the_run_inside(patch: Patch) -> None:
    """The run outside does not learn of it."""
    make = Replay.__init__

    def alone(self: Replay, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **{**kwargs, "shared": None})

    patch.setattr(Replay, "__init__", alone)


def writes_what_is_recorded_already(patch: Patch) -> None:
    """Messages are recorded once more."""
    patch.setattr(Replay, "_write_packed", Task._write_packed)


def makes_calls_again(patch: Patch) -> None:
    """Functions run."""
    patch.setattr(Replay, "begin_call", Task.begin_call)


def gives_the_outcome_of_another_call(patch: Patch) -> None:
    """Every call gives what the first one gave."""
    answer = Replay._answer

    def wrong(self: Replay, found: RecordedCall, call: Any) -> object:
        outcome = answer(self, found, call)
        first = self._recording.calls[0].result
        assert first is not None
        return type(outcome)(Given(first[2], outcome.result.wait), outcome.chunks)

    patch.setattr(Replay, "_answer", wrong)


def takes_runs_inside_by_their_order(patch: Patch) -> None:
    """Runs without a name are taken in the order of the recording."""
    patch.setattr(replaying, "children_of", lambda recording, name, purpose: recording.children)
    patch.setattr(Replay, "_decide", lambda self, fits: setattr(self, "_alike", None))


def leaves_arguments_as_they_were(patch: Patch) -> None:
    """What a call changed in place is not changed again."""
    patch.setattr(boundary, "_change_again", lambda call, event: None)


def gives_a_copy_of_an_argument(patch: Patch) -> None:
    """A result that was an argument is another object."""
    patch.setattr(boundary, "_argument_of", lambda call, result: "")


def gives_at_once_what_is_awaited(patch: Patch) -> None:
    """What a plain function gave as a coroutine or a generator comes as a value."""

    def value(self: Boundary, outcome: Any, call: Any) -> object:
        return self._give(outcome, outcome.result.event, call)

    patch.setattr(Boundary, "_given", value)


PLANTS: Final[tuple[Plant, ...]] = (
    forgets_the_first_difference,
    leaves_calls_out,
    compares_no_arguments,
    knows_no_lanes,
    takes_lanes_by_label_alone,
    gives_json_for_values,
    loses_keys_that_are_no_text,
    raises_errors_of_its_own,
    knows_no_subclasses,
    gives_no_stream,
    gives_outcomes_at_once,
    cuts_waits_short_by_itself,
    begins_runs_inside_for_real,
    keeps_a_difference_to_the_run_inside,
    writes_what_is_recorded_already,
    makes_calls_again,
    gives_the_outcome_of_another_call,
    takes_runs_inside_by_their_order,
    leaves_arguments_as_they_were,
    gives_a_copy_of_an_argument,
    gives_at_once_what_is_awaited,
)

# Those that are about what runs beside what, and when: each loop has its own way with these.
OF_LOOPS: Final[tuple[Plant, ...]] = (
    leaves_calls_out,
    knows_no_lanes,
    takes_lanes_by_label_alone,
    gives_no_stream,
    gives_outcomes_at_once,
    cuts_waits_short_by_itself,
    begins_runs_inside_for_real,
    keeps_a_difference_to_the_run_inside,
    makes_calls_again,
    gives_the_outcome_of_another_call,
    takes_runs_inside_by_their_order,
    gives_at_once_what_is_awaited,
)
