"""LangGraph: checkpoints of threads, and the long-term memory of agents, in a store.

    from transit.adapters.langgraph import TransitSaver

    with TransitSaver.open("store") as saver:
        app = graph.compile(checkpointer=saver)

Needs the extra `langgraph`.

saver         checkpoints, as the graph puts and gets them; configs: what configurations name
names         streams of threads; records: what stands in them
history       one stream: forms into values, values into forms; index: the threads in memory
putting       what is given, as records; remembering: what was serialized before
removal       what is to go, and what can be said of it; redacting: what must not be recorded
typed         threads as typed events of `transit.trace`
store         items by namespace and key; shelves: one namespace; matching: what is searched for
"""

from transit.adapters.langgraph.removal import Removed
from transit.adapters.langgraph.saver import TransitSaver
from transit.adapters.langgraph.store import TransitStore

__all__ = ["Removed", "TransitSaver", "TransitStore"]
