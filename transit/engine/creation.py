"""New streams, and the ends of streams, each by a call and in a frame of its own.

Leaves what a frame may hold to `transit.engine.staging`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from transit.engine.checks import check_numbers
from transit.engine.staging import Staging, stage
from transit.errors import InvalidInputError
from transit.format.life import Keep, check_reason
from transit.format.lineage import Root, Scalar, check_metadata, check_protect
from transit.format.names import check_layer, check_name, layer_stream_name
from transit.format.uid import check_uid
from transit.handle.handle import Handle
from transit.log.catalog import StreamState

CODECS: Final = ("json",)


def create_stream(
    handle: Handle, record: Root, durability: str | None, keep: Keep | None = None
) -> StreamState:
    """A new root stream, whose record is checked; keep: how long its records are kept."""
    level = handle.level_of(durability)

    def work(staging: Staging) -> StreamState:
        state = staging.create(record)
        if keep is not None:
            staging.change(state, "", keep=keep)
        return state

    state, written = stage(handle, work)
    handle.acknowledge(written, level)
    return state


def create_branch(
    handle: Handle,
    parent: StreamState,
    name: str,
    at: int | None,
    metadata: Mapping[str, Scalar] | None,
    expect: int | None,
    durability: str | None,
    uid: str | None = None,
) -> StreamState:
    """A new branch of `parent`; the name is checked."""
    level = handle.level_of(durability)
    check_offset(at)
    check_numbers(None, expect)
    given = given_uid(uid)

    def work(staging: Staging) -> StreamState:
        return staging.branch(parent, name, at, metadata, expect, given)

    state, written = stage(handle, work)
    handle.acknowledge(written, level)
    return state


def finish_stream(
    handle: Handle, state: StreamState, expect: int | None, reason: str, durability: str | None
) -> None:
    """Take no more records."""
    check_numbers(None, expect)
    change_life(
        handle, lambda staging: staging.finish(state, expect, check_reason(reason)), durability
    )


def change_life(handle: Handle, work: Callable[[Staging], None], durability: str | None) -> None:
    """Do what `work` asks of `$names`, in a frame of its own."""
    level = handle.level_of(durability)
    _, written = stage(handle, work)
    # An earlier call may have written the same with a weaker durability.
    handle.acknowledge(written, level)


def new_name(name: str, layer: str | None) -> str:
    """The name in the store of a stream to be made, of the user's or of a layer's; checked."""
    return check_name(name) if layer is None else layer_stream_name(check_layer(layer), name)


def given_uid(uid: str | None) -> str:
    """The uid of a stream to be made, checked; empty where it is to get a new one."""
    return "" if uid is None else check_uid(uid)


def root_record(
    name: str,
    metadata: Mapping[str, Scalar] | None,
    codec: str | None,
    uid: str | None = None,
    protect: str | None = None,
) -> Root:
    """The lineage record of a new root stream, checked; its name was."""
    if codec is not None and codec not in CODECS:
        raise InvalidInputError(f"codec must be one of {', '.join(CODECS)}, not {codec!r}")
    return Root(
        name=name,
        metadata=check_metadata(metadata, name),
        codec=codec,
        uid=given_uid(uid),
        protect=check_protect(protect),
    )


def check_offset(offset: object, what: str = "fork offset") -> None:
    """`InvalidInputError` unless `offset` is None or a plain int."""
    if offset is not None and type(offset) is not int:
        raise InvalidInputError(f"{what} must be int, not {type(offset).__name__}")
