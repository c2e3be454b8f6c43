"""The state machines: a store alone, one with a remote and another writer on it, one whose streams
end and go out of sight, one of which records are deleted and erased.

`explore` runs one of them on examples that hypothesis chooses from a seed; the first difference
between the engine and the model raises, with the shortest steps found that lead to it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from rigs.machines.descent import Descent
from rigs.machines.evidence import Evidence
from rigs.machines.fates import Fates
from rigs.machines.following import Following
from rigs.machines.gone import Gone
from rigs.machines.lives import Lives
from rigs.machines.machine import World
from rigs.machines.reading import Reading
from rigs.machines.tiers import Tiers
from rigs.machines.viewing import Forking, Publishing
from rigs.machines.writing import Writing


class Alone(Writing, Descent, Reading, Evidence):
    """A store without a remote."""


class Tiered(Writing, Descent, Reading, Tiers):
    """A store with a remote, and at times another writer on the same remote."""


class Followed(Following, Writing, Descent):
    """A store with a remote, and a replica of that, which is away at times."""


class Named(Writing, Fates, Lives):
    """A store without a remote, whose streams are finished and hidden, and names bound again."""


class Viewed(Forking, Writing, Lives):
    """A store without a remote, and views of its streams."""


class Shared(Publishing, Writing, Descent):
    """A store with a remote, at times another writer on it, and views of its streams."""


class Going(Gone, Lives):
    """A store without a remote, of which records are deleted, trimmed and erased."""


MACHINES: Final[dict[str, type[World]]] = {
    machine.__name__: machine for machine in (Alone, Tiered, Followed, Named, Viewed, Shared, Going)
}


# Left to itself hypothesis makes five of six examples by repeating parts of others, which find
# little here. Runs of as few as this, each from a seed of its own, find planted bugs in a fifth of
# the examples. The first of each run is the simplest there is, and is not counted.
_FRESH: Final = 2


def rules_of(machine: type[RuleBasedStateMachine]) -> set[str]:
    """The names of a machine's rules."""
    return {rule.function.__name__ for rule in machine.setup_state().rules}


def explore(
    machine: type[World],
    examples: int,
    steps: int,
    number: int,
    phases: Sequence[Phase] = (Phase.generate, Phase.shrink),
) -> Counter[str]:
    """Run so many examples of so many steps, from a seed; how often each rule ran.

    A difference raises AssertionError, or whatever the engine raised and should not have. Without
    `Phase.shrink` it comes sooner and after more steps.
    """
    fired: Counter[str] = Counter()
    for first in range(0, examples, _FRESH):
        count = min(_FRESH, examples - first)
        fired += _run(machine, count, steps, number * 1_000_000 + first, phases)
    return fired


def _run(
    machine: type[World], examples: int, steps: int, number: int, phases: Sequence[Phase]
) -> Counter[str]:
    part: type[World] = type(machine.__name__, (machine,), {"fired": Counter()})
    chosen = settings(
        max_examples=1 + examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=False,
        phases=tuple(phases),
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seeded(number)(part), settings=chosen)
    except Exception as difference:
        difference.add_note(f"{machine.__name__}, run {number}: {examples} examples of {steps}")
        raise
    return part.fired


def soak(
    seconds: float,
    seed: int,
    say: Callable[[str], object],
    phases: Sequence[Phase] = (Phase.generate, Phase.shrink),
) -> int:
    """Run the machines alternately, seeds from `seed` on; 1 when one found a difference, or 0.

    Each turn is 10 examples of 100 steps.
    """
    deadline = time.monotonic() + seconds
    fired: Counter[str] = Counter()
    examples = 0
    for machine, each in _turns(seed):
        if time.monotonic() >= deadline:
            break
        try:
            fired += explore(machine, 10, 100, each, phases)
        except Exception as difference:
            # Whatever it is, the engine did what the model does not say.
            say(f"{machine.__name__}, seed {each}: {difference!r}")
            say("\n".join(getattr(difference, "__notes__", ())))
            return 1
        examples += 10
    say(f"{examples} examples of 100 steps, {sum(fired.values())} steps in all, 0 differences")
    return 0


def _turns(number: int) -> Iterator[tuple[type[World], int]]:
    while True:
        for machine in MACHINES.values():
            yield machine, number
        number += 1
