"""What LangGraph's checkpoints cost a growing conversation, beside LangGraph's own savers.

An agent of so many steps; a step is a call of a model (about 1.1 KB) and the result of its tool
(about 1.5 KB), and the state is the whole conversation. Contenders take turns. Prints for each and
each length the time that a step waits for the saver, how much CPU time the waiting threads take
in it, the time to read the last state, and the bytes on the disk as a multiple of the messages
written once, in the serializer's form. Needs the extra `langgraph`; langgraph-checkpoint-sqlite is
a contender where it is installed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, Final

import msgspec
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, MessagesState, StateGraph

from benchmarks.commandline import working_folder
from benchmarks.report import aligned
from transit.adapters.langgraph import TransitSaver

STEPS: Final = (25, 50, 100, 200, 400)
_HEAD: Final = ("saver", "steps", "ms a step", "CPU ms a step", "read ms", "bytes × unique")
_SYLLABLES: Final = [
    first + second
    for first in ("ba", "ce", "di", "fo", "gu", "ha")
    for second in ("ln", "rt", "st", "mp", "nd", "ck")
]

Opens = Callable[[Path], AbstractContextManager[Any]]


class Run(msgspec.Struct, frozen=True):
    """One run: milliseconds a step waited for the saver, CPU of it, to read the end; bytes."""

    step_ms: float
    step_cpu_ms: float
    read_ms: float
    times_unique: float


def said(rng: random.Random, size: int) -> str:
    """Words that compress about as text does."""
    words: list[str] = []
    while sum(map(len, words)) + len(words) < size:
        is_word = rng.random() < 0.8
        words.append(rng.choice(_SYLLABLES) if is_word else f"{rng.getrandbits(32):x}")
    return " ".join(words)


def conversation(steps: int) -> list[Any]:
    """The messages of a run, the same for the same length."""
    rng = random.Random(steps)
    messages: list[Any] = [HumanMessage(said(rng, 2000), id="h")]
    for number in range(steps):
        call = {"name": "bash", "args": {"cmd": said(rng, 60)}, "id": f"call-{number}"}
        messages.append(AIMessage(said(rng, 1100), tool_calls=[call], id=f"a-{number}"))
        messages.append(ToolMessage(said(rng, 1500), tool_call_id=call["id"], id=f"t-{number}"))
    return [*messages, AIMessage("done", id="end")]


class Timed:
    """Adds up the time that a saver's writing methods take."""

    def __init__(self, saver: Any) -> None:
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        for name in ("put", "put_writes"):
            setattr(saver, name, partial(self._call, getattr(saver, name)))

    def _call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        start, cpu_start = perf_counter(), thread_time()
        try:
            return method(*args, **kwargs)
        finally:
            self.seconds += perf_counter() - start
            self.cpu_seconds += thread_time() - cpu_start


def run(opens: Opens, steps: int, folder: Path) -> Run:
    """The agent, once."""
    messages = conversation(steps)
    with opens(folder) as saver:
        timed = Timed(saver)
        graph = StateGraph(MessagesState)
        for name in ("think", "act"):
            graph.add_node(name, lambda state: {"messages": [messages[len(state["messages"])]]})
        graph.add_edge(START, "think")
        graph.add_conditional_edges(
            "think", lambda state: "act" if state["messages"][-1].tool_calls else END, ["act", END]
        )
        graph.add_edge("act", "think")
        app = graph.compile(checkpointer=saver)
        where = {"configurable": {"thread_id": "t"}, "recursion_limit": 10_000}
        app.invoke({"messages": messages[:1]}, where, durability="sync")
        start = perf_counter()
        app.get_state(where)
        read = perf_counter() - start
    serde = JsonPlusSerializer()
    unique = sum(len(serde.dumps_typed(message)[1]) for message in messages)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    waited, cpu = 1000 * timed.seconds / steps, 1000 * timed.cpu_seconds / steps
    return Run(waited, cpu, 1000 * read, size / unique)


@contextmanager
def _in_memory(_: Path) -> Iterator[Any]:
    yield InMemorySaver()


def _sqlite(folder: Path) -> AbstractContextManager[Any]:
    from langgraph.checkpoint.sqlite import SqliteSaver  # Seldom installed.

    found: AbstractContextManager[Any] = SqliteSaver.from_conn_string(str(folder / "db"))
    return found


def contenders() -> dict[str, Opens]:
    """The savers that are here."""
    found: dict[str, Opens] = {
        "transit, exclusive, os": partial(TransitSaver.open, mode="exclusive", durability="os"),
        "transit, shared, os": partial(TransitSaver.open, durability="os"),
        "transit, shared, local": TransitSaver.open,
        "InMemorySaver": _in_memory,
    }
    if find_spec("langgraph.checkpoint.sqlite") is not None:
        found["SqliteSaver"] = _sqlite
    return found


def main() -> None:
    """Run all contenders in turn, and print the medians of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--path", default=".", help="work in a new folder below it (.)")
    given = parser.parse_args()
    found: dict[tuple[str, int], list[Run]] = {}
    with working_folder(given.path) as (root, _):
        for _ in range(given.rounds):
            for steps in given.steps:
                for name, opens in contenders().items():
                    with tempfile.TemporaryDirectory(dir=root) as folder:
                        found.setdefault((name, steps), []).append(run(opens, steps, Path(folder)))
    rows = [
        (name, str(steps), *(f"{_median(runs, field):.3g}" for field in Run.__struct_fields__))
        for (name, steps), runs in sorted(found.items())
    ]
    print(aligned([_HEAD, *rows]))


def _median(runs: list[Run], field: str) -> float:
    return float(statistics.median(getattr(each, field) for each in runs))


if __name__ == "__main__":
    main()
