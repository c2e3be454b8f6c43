"""Streams of threads: what they are called, and what their metadata say.

The first stream of a thread is `langgraph/<thread id>`; those of its forks end in `~1` and so on,
without gaps. An id that cannot stand in a name, or has a `~` itself, is told by its
BLAKE3. The metadata have the id; they stay when a thread is deleted.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Final

from blake3 import blake3

from transit import Scalar
from transit.adapters.langgraph.records import FORMAT, FORMAT_KEY
from transit.adapters.naming import library_version

ADAPTER: Final = "langgraph"
PREFIX: Final = f"{ADAPTER}/"
THREAD: Final = "thread_id"
# Of a fork: number of the stream of its thread that it goes on from, and its first own offset.
OF: Final = "of"
STARTS: Final = "starts"
# Of a copy: the uid of the stream that it was made of.
COPIED: Final = "copied"
# Some bytes are left for the number of a fork.
_NAME_BYTES_MAX: Final = 480


@lru_cache(maxsize=1024)
def thread_name(thread_id: str) -> str:
    """The name of a thread's first stream."""
    name = PREFIX + thread_id
    plain = thread_id.isprintable() and thread_id == thread_id.strip() and "~" not in thread_id
    if thread_id and plain and len(name.encode("utf-8", "surrogatepass")) <= _NAME_BYTES_MAX:
        return name
    return hashed_name(thread_id)


def hashed_name(thread_id: str) -> str:
    """The same where the id itself must not, or cannot, be said."""
    data = thread_id.encode("utf-8", "surrogatepass")
    return f"{PREFIX}~{blake3(data).hexdigest(16)}"


def member_name(name: str, number: int) -> str:
    """The name of a thread's stream with this number."""
    return f"{name}~{number}" if number else name


def first_metadata(thread_id: str) -> dict[str, Scalar]:
    """What the first stream of a thread says of itself."""
    # Half a surrogate pair is no text that a store keeps.
    thread_id = thread_id.encode("utf-8", "backslashreplace").decode()
    return {
        "adapter": ADAPTER,
        FORMAT_KEY: FORMAT,
        "library": f"langgraph-checkpoint {library_version('langgraph-checkpoint')}",
        THREAD: thread_id,
        "task_id": thread_id,
        "trace_kind": "thread",
        "actor_id": "",
        "reason": "",
        "created_at": time.time_ns(),
    }


def fork_metadata(thread_id: str, of: int, starts: int, kind: str) -> dict[str, Scalar]:
    """What the stream of a fork, or of a copy, says: it goes on from another."""
    said = first_metadata(thread_id)
    del said["trace_kind"]
    return {**said, "branch_kind": kind, OF: of, STARTS: starts}
