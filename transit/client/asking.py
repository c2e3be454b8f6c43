"""Merges as they are asked for: heads, bases and the rest, checked and made a step of a frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from transit.client.connection import Connection
from transit.client.listing import reference_of
from transit.engine.creation import given_uid, new_name
from transit.engine.finding import Which
from transit.engine.merging import check_expectations, check_sequence
from transit.engine.stream import Stream
from transit.errors import InvalidInputError, OffsetError
from transit.format.lineage import Scalar, check_metadata
from transit.format.names import findable, stored_name
from transit.protocol.calls import Merge, Parent, PlanRequest
from transit.replay import Position

Given = TypeVar("Given")
Name = Callable[[Given], str]
"""What names a stream in a request."""


def place_of(connection: Connection, x: Which) -> Parent:
    """A stream or its name, or a position, in a request."""
    if isinstance(x, Stream | str):
        return reference_of(connection, x)
    return position_of(x)


def heads_of(connection: Connection, parents: Sequence[Which]) -> list[Parent]:
    """The parents of a merge in a request: two or more streams, each once."""
    given = check_sequence(parents)
    heads = [place_of(connection, each) for each in given]
    if len(heads) < 2:
        raise InvalidInputError(f"a merge takes two parents or more, not {len(heads)}")
    names = [_name_of(each) for each in given]
    if len(set(names)) != len(names):
        raise InvalidInputError(f"a merge takes distinct streams, not {names}")
    return heads


def _name_of(x: Which) -> str:
    if isinstance(x, Stream):
        return x.name
    return x if isinstance(x, str) else x[0]


def position_of(x: object) -> tuple[str, int]:
    """A position in a request; `InvalidInputError` for what is none."""
    if not isinstance(x, tuple) or len(x) != 2:
        raise InvalidInputError(f"not a stream, a name or a position: {x!r}")
    name, offset = x
    if type(offset) is not int:
        raise InvalidInputError(f"{name}: offset must be int, not {type(offset).__name__}")
    found = findable(name)
    if offset < -1:
        raise OffsetError(f"{found} has no offset {offset}")
    return found, offset


def base_of(base: object) -> tuple[str, int] | None:
    """A merge base in a request."""
    if base is None:
        return None
    if isinstance(base, str | Stream):
        raise InvalidInputError(f"a merge base is a position, not {base!r}")
    return position_of(base)


def merge_step(  # noqa: PLR0913 - as many things decide a merge
    name: str,
    parents: Sequence[Parent],
    *,
    policy: str,
    base: object,
    params: Mapping[str, Scalar] | None,
    metadata: Mapping[str, Scalar] | None,
    merge_id: str | None,
    layer: str | None,
    uid: str | None,
    expect: Sequence[int | None] | None,
) -> Merge:
    """The step of a merge of parents that are checked."""
    # What is no name for a new stream may be that of a merge that was made before: the server says.
    whole = stored_name(name) if layer is None else new_name(name, layer)
    given = check_expectations(expect, len(parents))
    return Merge(
        name=whole,
        parents=list(parents),
        policy=check_policy(policy),
        base=base_of(base),
        params=check_metadata(params, f"merge policy {policy!r}") or None,
        metadata=check_metadata(metadata, whole) or None,
        merge_id=None if merge_id is None else stored_name(merge_id, "merge id"),
        uid=given_uid(uid) or None,
        expect=list(given) if any(each is not None for each in given) else None,
    )


def plan_request(
    connection: Connection,
    parents: Sequence[Which],
    policy: str,
    base: Position | None,
    params: Mapping[str, Scalar] | None,
) -> PlanRequest:
    """The request for the plan of a merge."""
    return PlanRequest(
        heads_of(connection, parents),
        check_policy(policy),
        base_of(base),
        check_metadata(params, f"merge policy {policy!r}") or None,
    )


def check_policy(policy: object) -> str:
    """A policy's name; whether there is such a one the server says."""
    if not isinstance(policy, str):
        raise InvalidInputError(f"policy must be text, not {type(policy).__name__}")
    return policy
