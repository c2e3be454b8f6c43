"""What code runs in: the tasks whose blocks it is in, and the recorded call.

Context variables: what is started with `await`, `asyncio.create_task` or `asyncio.to_thread` sees
what it was started in. A plain thread begins without a task. Tasks are plain objects here.
"""

from __future__ import annotations

from contextvars import ContextVar

# The tasks whose blocks this code is in, from the outside in.
_tasks: ContextVar[tuple[object, ...]] = ContextVar("transit.trace.tasks", default=())

# The task, or replay, in whose recorded call this code runs: what it does is part of that call.
in_call: ContextVar[object] = ContextVar("transit.trace.in_call", default=None)


def innermost() -> object:
    """The task of the innermost block, None outside of any."""
    tasks = _tasks.get()
    return tasks[-1] if tasks else None


def enter(task: object) -> None:
    """Begin the block of a task."""
    _tasks.set((*_tasks.get(), task))


def leave(task: object) -> None:
    """End the innermost block of `task`; a generator's may end out of order, or elsewhere."""
    tasks = _tasks.get()
    for place in reversed(range(len(tasks))):
        if tasks[place] is task:
            _tasks.set((*tasks[:place], *tasks[place + 1 :]))
            return
