"""Checkpoints and graphs for the tests of savers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import END, START, MessagesState, StateGraph


def config(thread: str, ns: str = "", checkpoint: str | None = None) -> dict[str, Any]:
    """What names a thread, or a checkpoint of it."""
    said = {"thread_id": thread, "checkpoint_ns": ns}
    return {"configurable": said if checkpoint is None else {**said, "checkpoint_id": checkpoint}}


def put(
    saver: Any,
    where: dict[str, Any],
    values: dict[str, Any],
    *,
    new: Sequence[str] | None = None,
    before: Any = None,
    metadata: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Put a checkpoint with these values after the one that `where` names.

    new: the channels that changed; None: all. before: the checkpoint before, for its versions.
    """
    made = empty_checkpoint()
    changed = list(values) if new is None else list(new)
    old = {} if before is None else before["channel_versions"]
    versions = {**old, **{name: saver.get_next_version(old.get(name), None) for name in changed}}
    made["channel_values"], made["channel_versions"] = values, versions
    said = {"source": "loop", "step": 1, "parents": {}, **(metadata or {})}
    return saver.put(where, made, said, {name: versions[name] for name in changed})


def values_of(saver: Any, where: dict[str, Any]) -> dict[str, Any]:
    """The values of the checkpoint that `where` names."""
    return saver.get_tuple(where).checkpoint["channel_values"]


def agent(saver: Any, said: Sequence[Any]) -> Any:
    """A graph of a model that says all this in turn, and calls a tool where it asks for it."""
    model = GenericFakeChatModel(messages=iter(said))

    def think(state: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    def act(state: dict[str, Any]) -> dict[str, Any]:
        return {"messages": list(_results(state["messages"][-1]))}

    def after(state: dict[str, Any]) -> str:
        return "act" if state["messages"][-1].tool_calls else END

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("act", act)
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", after, ["act", END])
    graph.add_edge("act", "think")
    return graph.compile(checkpointer=saver)


def _results(message: AIMessage) -> Iterator[ToolMessage]:
    for call in message.tool_calls:
        yield ToolMessage(content=f"ran {call['args']['cmd']}", tool_call_id=call["id"])


def calls(cmd: str, number: int) -> AIMessage:
    """A message of a model that calls a tool."""
    call = {"name": "bash", "args": {"cmd": cmd}, "id": f"call-{number}"}
    return AIMessage("", tool_calls=[call], id=f"ai-{number}")


def texts(state: Any) -> list[Any]:
    """What the messages of a state say."""
    return [message.content for message in state.values["messages"]]
