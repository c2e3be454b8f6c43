"""The tree that the lines of a Claude Code session are: what follows what, and where it forks.

A line names the one before it (`parentUuid`). One answer of a model is several lines, one a block
of its content, with the same `message.id`; the results of its calls hang on the line with the call.
So an answer with its results, and lines between, is one group, and the tree is made of groups: two
groups after the same one are a fork. A line whose parent is missing, later in the file or the line
itself follows the line before it: so there are no circles, and nothing is lost.

Lines of sub-agents (`isSidechain`) in the same file are trees of their own. Only what this needs is
kept of a line; its content is read again when its events are made.
"""

from __future__ import annotations

import msgspec
from blake3 import blake3

from transit.trace.files.conversations import results_in
from transit.trace.files.runs import member, object_of, objects_of, text_of
from transit.trace.files.source import JsonObject, Source

CHAINED = frozenset(("user", "assistant", "system", "attachment", "progress"))


class Node(msgspec.Struct, gc=False):
    """A line: its number and beginning, and what tells where it belongs.

    prompt: digest of the text of a user's message. tasks: of each call of a tool that has a prompt,
    its id and the digest of that. results: ids of calls whose results it holds. agent: the
    sub-agent's id that a result tells.
    """

    number: int
    start: int
    kind: str
    uuid: str = ""
    message_id: str = ""
    prompt: bytes = b""
    tasks: tuple[tuple[str, bytes], ...] = ()
    results: tuple[str, ...] = ()
    agent: str = ""
    side: bool = False


class Group(msgspec.Struct):
    """Lines that belong together, and the groups that follow."""

    nodes: list[Node]
    message_id: str = ""
    children: list[Group] = []
    agent: str = ""
    side: bool = False


class Tree:
    """The groups of one file. root: of the session itself; sides: of each sub-agent's lines.

    session_id: of the first line that says one. agents: the ids of calls, by the sub-agents' ids.
    tasks: the same by the prompts they were given. calls: all ids of these. head: lines before the
    first one of the tree.
    """

    def __init__(self, source: Source, *, is_agent: bool) -> None:
        self._source = source
        self._is_agent = is_agent
        self._group_of: dict[str, Group] = {}
        self._seen: dict[str, bytes] = {}
        self._last: dict[str, Group] = {}
        self.session_id = ""
        self.root: Group | None = None
        self.sides: list[Group] = []
        self.agents: dict[str, str] = {}
        self.tasks: dict[bytes, list[str]] = {}
        self.calls: set[str] = set()
        self.head: list[Node] = []
        for number, start, line in source.objects():
            self._line(number, start, line)

    def _line(self, number: int, start: int, line: JsonObject) -> None:
        kind = line.get("type")
        problem = problem_of(line)
        if problem or not isinstance(kind, str):
            self._source.bad(f"line {number}", problem)
            return
        self.session_id = self.session_id or text_of(line.get("sessionId"))
        uuid = text_of(line.get("uuid"))
        if uuid and self._is_repeated(uuid, line):
            return
        node = _node(number, start, kind, uuid, line)
        node.side = line.get("isSidechain") is True and not self._is_agent
        if node.agent and node.results:
            self.agents.setdefault(node.agent, node.results[0])
        for call, digest in node.tasks:
            self.tasks.setdefault(digest, []).append(call)
            self.calls.add(call)
        if kind in CHAINED:
            self._place(node, line)
        elif "" not in self._last:
            self.head.append(node)
        else:
            self._last[""].nodes.append(node)

    def _is_repeated(self, uuid: str, line: JsonObject) -> bool:
        """Whether it is the very line that was there: a session gone on with repeats its lines."""
        digest = blake3(repr(line).encode("utf-8", "backslashreplace")).digest(16)
        return self._seen.setdefault(uuid, digest) == digest and uuid in self._group_of

    def _place(self, node: Node, line: JsonObject) -> None:
        agent = text_of(line.get("agentId")) if node.side else ""
        parent = self._parent(node, line, agent)
        if parent is None or self._begins(node, parent):
            group = Group([node], node.message_id, [], agent, node.side)
            self._hang(group, parent)
        else:
            # What comes late in a file belongs after what followed meanwhile.
            group = self._last.get(agent, parent) if parent.children else parent
            group.nodes.append(node)
        if node.uuid:
            self._group_of[node.uuid] = group
        if not node.side or agent:
            self._last[agent] = group

    def _parent(self, node: Node, line: JsonObject, agent: str) -> Group | None:
        for key in ("parentUuid", "logicalParentUuid"):
            found = self._group_of.get(text_of(line.get(key)))
            if found is not None and found.side == node.side:
                return found
        # Of sub-agents without ids, a line without a parent begins another one.
        return self._last.get(agent) if agent or not node.side else None

    def _hang(self, group: Group, parent: Group | None) -> None:
        if parent is not None:
            parent.children.append(group)
        elif group.side:
            self.sides.append(group)
        else:
            self.root = group

    def _begins(self, node: Node, parent: Group) -> bool:
        """Whether a line begins a group: a message of a user, or an answer of a model."""
        if node.kind == "assistant":
            return not node.message_id or node.message_id != parent.message_id
        return node.kind == "user" and not node.results


def problem_of(line: JsonObject) -> str:
    """What is wrong with a line, "" where nothing is."""
    kind = line.get("type")
    if not isinstance(kind, str) or not kind:
        return "no type"
    if kind in ("user", "assistant"):
        content = member(line, "message", "content")
        if not isinstance(content, str | list):
            return f"a message of {kind!r} without content"
    return ""


def _node(number: int, start: int, kind: str, uuid: str, line: JsonObject) -> Node:
    message = object_of(line.get("message"))
    node = Node(number, start, kind, uuid, text_of(message.get("id")))
    if kind == "user":
        node.results = tuple(text_of(each.get("tool_use_id")) for each in results_in(message))
        node.prompt = digest_of(_said(message))
        node.agent = text_of(member(line, "toolUseResult", "agentId"))
    elif kind == "assistant":
        found = []
        for block in objects_of(message.get("content")):
            prompt = text_of(member(block, "input", "prompt"))
            if block.get("type") == "tool_use" and prompt:
                found.append((text_of(block.get("id")), digest_of(prompt)))
        node.tasks = tuple(found)
    elif kind == "progress":
        agent, call = member(line, "data", "agentId"), line.get("parentToolUseID")
        if isinstance(agent, str) and isinstance(call, str):
            node.agent, node.results = agent, (call,)
    return node


def _said(message: JsonObject) -> str:
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(text_of(each.get("text")) for each in objects_of(content))
    return text_of(content)


def digest_of(text: str) -> bytes:
    """What two equal prompts have in common; empty for none."""
    data = text.strip().encode("utf-8", "surrogatepass")
    return blake3(data).digest(16) if data else b""
