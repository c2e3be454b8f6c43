"""What is asked of the routes of retention and removal, and what they answer.

`DELETE` is no method here: what takes records away is a POST that says why. A repeated request
writes nothing: what is gone is gone, and a hold is there once.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from transit import Became, Durability, Retention
from transit.protocol.calls import Offset, Text, Time

Place = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Limit = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Reason = Annotated[str, Meta(min_length=1, max_length=1024)]
Basis = Literal["owner", "gdpr-17", "retention", "court"]


class Hold(msgspec.Struct, frozen=True):
    """A hold: nobody deletes or trims. since: UTC nanoseconds; by: who placed it."""

    reason: str
    since: int
    by: str


class RetentionAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """GET /v1/retention/{name}: how long a stream's records are kept, and what went.

    erased: also the bytes of what was deleted are gone. kept_until: when the last of the records
    that are there may go, by `keep_for`; expires: from when on the first of them is let go, by
    `expire_after`; UTC nanoseconds, null where nothing says so. became: as `Stream.became`.
    """

    stream: str
    uid: str
    first_offset: int
    next_offset: int
    retention: Retention
    finished: bool = False
    hidden: bool = False
    deleted: bool = False
    erased: bool = False
    holds: tuple[Hold, ...] = ()
    kept_until: int | None = None
    expires: int | None = None
    became: tuple[Became, ...] = ()


class _Change(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A change. durability: what to wait for."""

    durability: Durability | None = None


class RetainRequest(_Change, frozen=True, kw_only=True):
    """POST /v1/retain/{name}: keep records so, in place of what was said before."""

    keep_for: Limit | None = None
    expire_after: Limit | None = None
    bytes_max: Limit | None = None
    count_max: Limit | None = None
    expect: Offset | None = None
    reason: Text = ""


class HoldRequest(_Change, frozen=True, kw_only=True):
    """POST /v1/hold/{name}: let nobody delete or trim."""

    reason: Reason


class ReleaseRequest(_Change, frozen=True, kw_only=True):
    """POST /v1/release-hold/{name}: end the hold with this reason.

    since: when it was placed, as `Hold.since`. With it the request may be sent again: one that was
    released since then is released.
    """

    reason: Reason
    since: Time | None = None


class TrimRequest(_Change, frozen=True, kw_only=True):
    """POST /v1/trim/{name}: as `Stream.trim`; answered with a `Deletion`. before: an offset."""

    before: Place
    reason: Text = ""
    basis: Basis = "owner"
    dry_run: bool = False
    expect: Offset | None = None


class DeleteRequest(_Change, frozen=True, kw_only=True):
    """POST /v1/delete/{name}: as `Log.delete`; answered with a `Deletion`."""

    reason: Text
    basis: Basis = "owner"
    dry_run: bool = False
    cascade: bool = False
    expect: Offset | None = None


class DueRequest(_Change, frozen=True, kw_only=True):
    """POST /v1/retain: as `Log.retain`; answered with a list of `Due`."""

    dry_run: bool = False
