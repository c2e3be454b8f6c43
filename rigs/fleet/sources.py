"""What files of runs and of chats say, read by nothing of transit.

Owns the answers that engines must come to: how often each tool failed, the first error of each run,
tokens and calls of each run, and how many messages of each author a channel has. A run is what a
file holds, all its samples together.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from rigs.fleet.saying import Answers
from tests.trace.test_files_real import COUNTED, FOLDERS

SHARED: Final = Path(__file__).resolve().parents[3] / "shared" / "data"
CHATS: Final = "irc"
_NO_DATA: Final = ("SOURCE.md", "README.md")
_CODE: Final = re.compile(r"<returncode>(-?\d+)</returncode>")
_MESSAGE: Final = re.compile(r"(?:\[\d\d:\d\d\] (?:<(?P<author>[^>]+)>| \* (?P<actor>\S+)))(?: |$)")


class Failure(NamedTuple):
    """A call of a tool that failed, and what was said of it."""

    tool: str
    message: str


def files() -> list[Path]:
    """The files of all runs and chats, in a fixed order; none where the folder is not there."""
    runs = (file for folder in FOLDERS for file in sorted((SHARED / folder).glob("*")))
    chats = sorted((SHARED / CHATS).glob("*.ascii.txt"))
    return [file for file in (*runs, *chats) if file.name not in _NO_DATA]


def is_chat(file: Path) -> bool:
    """Whether a file holds a chat, and no run."""
    return file.parent.name == CHATS


def run_of(file: Path) -> str:
    """What the run of a file is called, or the channel of a chat."""
    name = file.name.split(".")[0] if is_chat(file) else _stem(file)
    return f"{file.parent.name}/{name}"


def _stem(file: Path) -> str:
    for end in (".traj.json", ".trajectory.json", ".json", ".jsonl", ".traj", ".eval"):
        if file.name.endswith(end):
            return file.name.removesuffix(end)
    return file.name


def answers(dealt: Iterable[tuple[str, Path]]) -> Answers:
    """What is to be answered of files, each given with the id of the store it is in."""
    sums: Counter[tuple[str, str, str]] = Counter()
    texts: dict[tuple[str, str, str], str] = {}
    for store, file in dealt:
        if is_chat(file):
            for author in authors(file):
                sums["messages", run_of(file), author] += 1
            continue
        totals = COUNTED[FOLDERS[file.parent.name]](file)
        sums["calls", store, run_of(file)] += totals.calls
        sums["tokens in", store, run_of(file)] += totals.tokens_in
        sums["tokens out", store, run_of(file)] += totals.tokens_out
        failed = list(failures(file))
        for failure in failed:
            sums["failures", failure.tool, ""] += 1
        if failed:
            texts["first error", store, run_of(file)] = f"{failed[0].tool}: {failed[0].message}"
    found = {key: (value, "") for key, value in sums.items() if value}
    return {**found, **{key: (0, text) for key, text in texts.items()}}


def authors(file: Path) -> Iterator[str]:
    """Who wrote each line of a log of IRC that has a time: what the server said has none."""
    for line in file.read_text(encoding="utf-8").split("\n"):
        found = _MESSAGE.match(line)
        if found:
            yield found["author"] or found["actor"]


def failures(file: Path) -> Iterator[Failure]:
    """The calls of tools that failed, in order; of formats whose files tell of any."""
    if file.parent.name == "mini-swe-agent":
        yield from _of_mini(json.loads(file.read_bytes()))
    elif file.parent.name == "claude-code":
        yield from _of_claude(file.read_text(encoding="utf-8"))


def _of_mini(whole: Any) -> Iterator[Failure]:
    for each in whole if isinstance(whole, list) else whole["messages"]:
        if each["role"] in ("user", "tool"):
            text = each["content"] if isinstance(each["content"], str) else json.dumps(each)
            for code in _CODE.findall(text):
                if int(code):
                    yield Failure("bash", f"exit code {code}")


def _of_claude(text: str) -> Iterator[Failure]:
    tools: dict[str, str] = {}
    for block in _blocks(text):
        if block.get("type") == "tool_use":
            tools[block["id"]] = block["name"]
        elif block.get("type") == "tool_result" and block.get("is_error"):
            yield Failure(tools[block["tool_use_id"]], block["content"])


def _blocks(text: str) -> Iterator[dict[str, Any]]:
    """The blocks of all messages; one of the files has lines that are no messages."""
    for line in lines(text):
        message = line.get("message")
        content = message.get("content") if isinstance(message, dict) else None
        yield from (each for each in content or () if isinstance(each, dict))


def lines(text: str) -> Iterator[dict[str, Any]]:
    """The objects in lines of JSON; other lines are left out."""
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value
