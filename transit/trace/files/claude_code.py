"""Claude Code's sessions: JSON lines, forks by `parentUuid`, sub-agents in the file or beside it.

A session is a run. Where it was taken back and gone on with otherwise, what came later is a branch.
A sub-agent is a child run, begun at the call that started it: its lines are in the session's file
(`isSidechain`), in `agent-….jsonl` beside it, or in `<session>/subagents/`. A sub-agent's own file
stands for the session it belongs to, where that is beside it.

A message of a user is a message, and the results in it are results of calls; the lines of an answer
are one model call, whose tokens count once, as its last line tells them. Folder, version and the
like are `claude-code.context` events, where they change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from transit.trace.events import Message
from transit.trace.files.claude_tree import CHAINED, Group, Node, Tree
from transit.trace.files.conversations import add_calls, add_result, results_in
from transit.trace.files.runs import (
    Events,
    ImportedEvent,
    ImportedRun,
    Names,
    list_of,
    object_of,
    read_time,
    text_of,
)
from transit.trace.files.source import JsonObject, Source, decode

NAME: Final = "claude-code"
_AGENT_FILES_MAX: Final = 1000
_SYNTHETIC: Final = "<synthetic>"
_CONTEXT: Final = (
    "cwd", "version", "gitBranch", "sessionId", "userType", "entrypoint", "slug", "teamName",
    "agentId", "isSidechain",
)  # fmt: skip
# What the records or the tree say, and the events.
_TAKEN: Final = (
    "type", "timestamp", "uuid", "parentUuid", "logicalParentUuid", "message", "content", *_CONTEXT
)  # fmt: skip
# Lines that say something of the session from there on.
_SESSION_KINDS: Final = frozenset(
    ("custom-title", "ai-title", "agent-name", "agent-color", "last-prompt", "mode", "tag",
     "permission-mode", "pr-link", "task-summary")
)  # fmt: skip


def detect(source: Source) -> bool:
    """Whether the first lines are of a session."""
    for line in source.first_objects:
        if line.get("type") in ("user", "assistant") and (
            "parentUuid" in line or "sessionId" in line
        ):
            return isinstance(line.get("message"), dict | str)
        if line.get("type") == "summary" and "leafUuid" in line:
            return True
        if line.get("type") == "file-history-snapshot" and "messageId" in line:
            return True
    return False


def session_of(source: Source) -> Source:
    """The session's file that a sub-agent's belongs to, where it is beside; else the same file."""
    if not source.stem.startswith("agent-"):
        return source
    first = next((each for each in source.first_objects if each.get("sessionId")), {})
    session = text_of(first.get("sessionId"))
    if not session or "/" in session or first.get("isSidechain") is not True:
        return source
    folder = source.path.parent
    near = [folder, folder.parent.parent] if folder.name == "subagents" else [folder]
    for each in near:
        if (found := each / f"{session}.jsonl").is_file():
            return Source(found, source.tally)
    return source


def runs(source: Source) -> Iterator[ImportedRun]:
    """The session, its branches, its sub-agents and theirs."""
    is_agent = source.stem.startswith("agent-")
    names = Names()
    session = _Session(source, Tree(source, is_agent=is_agent), names.give(source.stem), names)
    files = [] if is_agent else _agent_files(source, session.tree.session_id)
    agents: list[tuple[str, _Session]] = []
    for path in files:
        other = Source(path, source.tally, f"{path.name}, ")
        tree = Tree(other, is_agent=True)
        if tree.root is None and not tree.head:
            # A file that nothing was written to yet.
            continue
        name = names.give(session.name, other.stem)
        agent_id = other.stem.removeprefix("agent-")
        agents.append((agent_id, _Session(other, tree, name, names)))
    everyone = [session, *(each for _, each in agents)]
    for agent_id, each in agents:
        _link(each, agent_id, [other for other in everyone if other is not each], session)
    for each in _parents_first(session, everyone):
        yield from each.runs()


def _agent_files(source: Source, session_id: str) -> list[Path]:
    """The files of the session's sub-agents, in order of name."""
    found = sorted((source.path.parent / source.stem / "subagents").glob("agent-*.jsonl"))
    for path in sorted(source.path.parent.glob("agent-*.jsonl")):
        first = next(iter(Source(path).first_objects), {})
        if session_id and first.get("sessionId") == session_id:
            found.append(path)
    if len(found) > _AGENT_FILES_MAX:
        raise source.refuse(f"more than {_AGENT_FILES_MAX} files of sub-agents")
    return found


def _link(agent: _Session, agent_id: str, others: Sequence[_Session], session: _Session) -> None:
    """Find the call that began a sub-agent: by its id, by its prompt, or at the session's end."""
    for other in others:
        if call := other.tree.agents.get(agent_id):
            other.begins(call, agent)
            return
    prompt = agent.first_prompt
    for other in others:
        if call := other.task_with(prompt):
            other.begins(call, agent)
            return
    session.begins("", agent)


def _parents_first(session: _Session, everyone: Sequence[_Session]) -> Iterator[_Session]:
    """Each after the one it was begun in; those that name each other in a circle, after all."""
    done: set[int] = set()
    waiting = [session]
    while waiting:
        each = waiting.pop(0)
        if id(each) not in done:
            done.add(id(each))
            yield each
            waiting += each.agents
        if not waiting:
            left = [other for other in everyone if id(other) not in done]
            for other in left[:1]:
                other.parent = None
            waiting += left[:1]


class _Session:
    """One file: its tree, and the runs it becomes."""

    def __init__(self, source: Source, tree: Tree, name: str, names: Names) -> None:
        self._source = source
        self.name = name
        self._names = names
        self._calls_taken: set[str] = set()
        # Runs that a call begins: by the id of the call; "" for those no call is known of.
        self._begun: dict[str, list[str]] = {}
        # Where runs of this file were begun in another: set when that one's events are made.
        self._places: dict[str, tuple[str, int]] = {}
        self.tree = tree
        self.parent: _Session | None = None
        self.agents: list[_Session] = []
        self._sides = [(self._side_name(side), side) for side in tree.sides]
        for side_name, side in self._sides:
            call = tree.agents.get(side.agent, "") or self.task_with(side.nodes[0].prompt)
            self._calls_taken.add(call)
            self._begun.setdefault(call, []).append(side_name)

    def _side_name(self, side: Group) -> str:
        return self._names.give(self.name, f"agent-{side.agent}" if side.agent else "agent")

    @property
    def first_prompt(self) -> bytes:
        """Digest of what the first user's message says."""
        return self.tree.root.nodes[0].prompt if self.tree.root else b""

    def task_with(self, prompt: bytes) -> str:
        """A call with this prompt that began nothing yet; "" when there is none."""
        for call in self.tree.tasks.get(prompt, ()) if prompt else ():
            if call not in self._calls_taken:
                self._calls_taken.add(call)
                return call
        return ""

    def begins(self, call: str, agent: _Session) -> None:
        """A call of this file begins a sub-agent that has a file of its own."""
        self._calls_taken.add(call)
        self._begun.setdefault(call, []).append(agent.name)
        self.agents.append(agent)
        agent.parent = self

    def runs(self) -> Iterator[ImportedRun]:
        """The runs of this file, each after the ones it descends from."""
        child_of = self.parent._places.get(self.name) if self.parent else None
        trees = [(self.name, self.tree.root, self.tree.head, child_of)]
        trees += [(name, side, [], None) for name, side in self._sides]
        for name, root, head, place in trees:
            yield from self._tree(name, root, head, place or self._places.get(name))

    def _tree(
        self, name: str, root: Group | None, head: list[Node], child_of: tuple[str, int] | None
    ) -> Iterator[ImportedRun]:
        if root is None and not head:
            return
        waiting: list[tuple[str, Group | None, tuple[str, int] | None]] = [(name, root, None)]
        while waiting:
            run, group, fork = waiting.pop(0)
            writer = _Writer(self._source, run, self._begun)
            is_first = fork is None
            yield ImportedRun(
                name=run,
                events=self._events(writer, group, head if is_first else [], is_first),
                metadata={"session": self.tree.session_id} if self.tree.session_id else {},
                branch_of=fork,
                child_of=child_of if is_first else None,
            )
            for other, index in writer.forks:
                branch = self._names.give(self.name, "branch")
                waiting.append((branch, other, (run, index)))

    def _events(
        self, writer: _Writer, group: Group | None, head: list[Node], is_first: bool
    ) -> Iterator[ImportedEvent]:
        for node in head:
            yield from self._counted(writer, writer.loose(node))
        while group is not None:
            yield from self._counted(writer, writer.group(group))
            for other in group.children[1:]:
                writer.forks.append((other, writer.count - 1))
            group = group.children[0] if group.children else None
        if is_first and writer.run == self.name:
            for call in [each for each in self._begun if each not in self.tree.calls]:
                # Runs whose call is nowhere in this file, or is not known.
                yield from self._counted(writer, writer.begin(call))

    def _counted(self, writer: _Writer, events: Sequence[ImportedEvent]) -> Iterator[ImportedEvent]:
        for place, child in writer.begun:
            self._places[child] = (writer.run, writer.count + place)
        writer.begun.clear()
        writer.count += len(events)
        yield from events


class _Writer:
    """Turns the lines of one run into events. calls: the runs that calls begin, by their ids.

    begun: indexes of child runs among the events just made, and their names. forks: groups that
    begin a branch, and the index of the last event each inherits.
    """

    def __init__(self, source: Source, run: str, calls: dict[str, list[str]]) -> None:
        self._source = source
        self._calls = calls
        self._events = Events(NAME)
        self.run = run
        self.count = 0
        self.begun: list[tuple[int, str]] = []
        self.forks: list[tuple[Group, int]] = []

    def group(self, group: Group) -> list[ImportedEvent]:
        """The events of a group: an answer at its first line, all else line by line."""
        lines = [(node, self._read(node)) for node in group.nodes]
        answer = [(node, line) for node, line in lines if node.kind == "assistant"]
        answered = False
        for node, line in lines:
            self._at(node, line)
            if node.kind in CHAINED:
                self._events.context({key: line[key] for key in _CONTEXT if key in line})
            if node.kind != "assistant":
                self._line(node, line)
            elif not answered:
                answered = True
                self._answer(answer)
        return self._events.take()

    def loose(self, node: Node) -> list[ImportedEvent]:
        """The events of a line outside of the tree."""
        line = self._read(node)
        self._at(node, line)
        self._line(node, line)
        return self._events.take()

    def begin(self, call: str) -> list[ImportedEvent]:
        """The beginning of the runs that a call, or no call, is known to begin."""
        self._begin(call)
        return self._events.take()

    def _begin(self, call: str) -> None:
        for name in self._calls.pop(call, ()):
            self.begun.append((self._events.child(name), name))

    def _read(self, node: Node) -> JsonObject:
        return object_of(decode(self._source.line_at(node.start), f"line {node.number}"))

    def _at(self, node: Node, line: JsonObject) -> None:
        place = f"{self._source.label}line {node.number}"
        self._events.at(place, read_time(line.get("timestamp")), node.uuid)

    def _line(self, node: Node, line: JsonObject) -> None:
        events, kind = self._events, node.kind
        left = {key: value for key, value in line.items() if key not in _TAKEN}
        if kind == "user":
            self._user(line)
        elif kind == "system" and line.get("subtype") == "compact_boundary":
            events.checkpoint("intermediate", "incomplete", text_of(line.get("content")))
            events.rest(left, ())
        elif kind == "system":
            events.message("system", line.get("content"), left)
        elif kind == "attachment":
            events.message("system", [line.get("attachment")])
            events.rest(left, ("attachment",))
        elif kind == "summary":
            events.checkpoint("intermediate", "incomplete", text_of(line.get("summary")))
            events.rest(left, ("summary",))
        elif kind == "file-history-snapshot":
            events.checkpoint("intermediate", "incomplete", kind)
            events.rest(left, ())
        elif kind in _SESSION_KINDS:
            events.context(left)
        else:
            self._source.tally.raw += 1
            events.custom(kind, line)

    def _user(self, line: JsonObject) -> None:
        events, message = self._events, object_of(line.get("message"))
        results = results_in(message)
        for block in results:
            add_result(events, block)
        content = message.get("content")
        said = [each for each in list_of(content) if each not in results] if results else content
        if said or not results:
            events.add(Message(message={**message, "role": message.get("role", "user"),
                                        "content": said}))  # fmt: skip
        # What the program knows of a result, where that is more than what it told the model.
        detail = line.get("toolUseResult")
        known = ("toolUseResult",) if isinstance(detail, str) else ()
        events.rest(line, (*_TAKEN, *known))

    def _answer(self, lines: Sequence[tuple[Node, JsonObject]]) -> None:
        """A model's answer from its lines: blocks in order, counts and reason as said last."""
        events = self._events
        blocks: list[object] = []
        whole: JsonObject = {}
        for _, line in lines:
            message = object_of(line.get("message"))
            for block in _blocks(message):
                # Lines that repeat a block are from a stream that was begun again.
                if block not in blocks:
                    blocks.append(block)
            whole |= {key: value for key, value in message.items() if value is not None}
        whole["content"] = blocks
        model = text_of(whole.get("model"))
        said = {k: v for k, v in whole.items() if k not in ("usage", "id", "type", "stop_reason")}
        said = {"role": "assistant"} | said
        ended = read_time(lines[-1][1].get("timestamp"))
        if model == _SYNTHETIC:
            # Said by the program, such as that the service did not answer.
            events.add(Message(message=said), ended)
        else:
            events.model_call(
                model=model,
                response=said,
                usage=whole.get("usage"),
                finish_reason=whole.get("stop_reason"),
                response_id=whole.get("id"),
                provider="anthropic",
                time=ended,
            )
        called: set[str] = set()
        for node, line in lines:
            self._at(node, line)
            for block in _blocks(object_of(line.get("message"))):
                identity = text_of(object_of(block).get("id"))
                if not identity or identity not in called:
                    add_calls(events, {"content": [block]})
                    if identity:
                        self._begin(identity)
                called.add(identity)
            events.rest(line, (*_TAKEN, "requestId"))


def _blocks(message: JsonObject) -> list[object]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list_of(content)
