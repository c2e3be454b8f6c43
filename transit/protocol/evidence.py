"""What is asked of the routes of evidence, and what they answer beside files.

A proof stands on a checkpoint: the newest of the store, that of a `size`, or one whose note is
given as `checkpoint`. Requests come as queries, or as bodies with the same names. A proof and an
envelope are answered as their folder in a zip or a tar (`transit.protocol.folders`), an exhibit as
its zip, a checkpoint and a proof of growth as the text that they are. Of none of these the server's
word is needed: whoever gets them checks them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

ZIP: Final = "application/zip"
TAR: Final = "application/x-tar"
TEXT: Final = "text/plain"

Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Place = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Format = Literal["zip", "tar"]


class _Asked(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What is asked for. size: of the checkpoint to stand on. checkpoint: its note instead."""

    size: Size | None = None
    checkpoint: str | None = None


class ProofRequest(_Asked, frozen=True, kw_only=True):
    """GET or POST /v1/proofs/{name}: as `Log.prove`.

    offset: one record, below 0 counted from the end. start, stop: records in its place; stop is not
    in it, and null is the end. Neither: where the stream comes from. end: and that it had no more.
    """

    offset: Place | None = None
    start: Offset | None = None
    stop: Offset | None = None
    end: bool = False
    format: Format = "zip"


class FinalityRequest(_Asked, frozen=True, kw_only=True):
    """GET or POST /v1/finality/{name}: as `Log.prove_finality`."""

    checkpoint_kind: Literal["finality", "published-result"] = "finality"
    application_block: str | None = None
    format: Format = "zip"


class ForkChoiceRequest(_Asked, frozen=True, kw_only=True):
    """GET or POST /v1/fork-choice/{name}: as `Log.prove_fork_choice`."""

    checkpoint_kind: Literal["fork-choice", "reorg-selection"] = "fork-choice"
    application_block: str | None = None
    format: Format = "zip"


class GrowthRequest(_Asked, frozen=True, kw_only=True):
    """GET or POST /v1/growth: as `Log.prove_growth`.

    old_size, old: the older checkpoint, one of them. size, checkpoint: the newer one, or the newest
    of the store.
    """

    old_size: Size | None = None
    old: str | None = None


class ExhibitRequest(_Asked, frozen=True, kw_only=True):
    """GET /v1/exhibits/{name}: a run in one file."""


class CheckpointLine(msgspec.Struct, frozen=True):
    """A checkpoint in the list of GET /v1/checkpoints; nothing of it is verified.

    size: commits that it covers. root: 64 hex digits. signed_by: the names in its signature lines,
    each with the id of the key.
    """

    size: int
    origin: str
    root: str
    signed_by: list[str]
