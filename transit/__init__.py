"""transit: an embedded append-only log engine with branches, merges and immutable history.

    log = transit.open("runs")
    task = log.create("task-0142")
    task.append(b"...", headers={"kind": "tool-call"})
    retry = task.branch("task-0142/retry-1", at=0)

See README.md for a first example and ARCHITECTURE.md for how it works.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transit.config import Durability, Encrypted, Mode, Settings
    from transit.engine.auditing import audit
    from transit.engine.batch import StagedStream, WriteBatch
    from transit.engine.became import Became, Retention
    from transit.engine.believing import (
        check_checkpoint,
        check_growth,
        check_pair,
        how_to_check,
        make_policy,
    )
    from transit.engine.caching import Cache
    from transit.engine.checkpoints import Witness
    from transit.engine.collecting import Garbage
    from transit.engine.connecting import connect
    from transit.engine.copying import Copied, copy
    from transit.engine.cursor import Cursor, CursorStatus
    from transit.engine.deleting import Deletion
    from transit.engine.enveloping import CheckedEnvelope, EnvelopeProof
    from transit.engine.erasing import Erased
    from transit.engine.evidence import CheckedProof, check_envelope, check_proof
    from transit.engine.layer import Layer
    from transit.engine.lineage import Edge, Lineage, LineageGraph, Node
    from transit.engine.log import Log
    from transit.engine.metrics import CacheUse, CursorLag, Metrics, PublishLag, RemoteTraffic
    from transit.engine.opening import open
    from transit.engine.pieces import Piece, read_piece
    from transit.engine.plans import MergePlan, PolicyInput, PolicyPart, register_policy
    from transit.engine.proved import open_proved
    from transit.engine.provenance import (
        CommitRef,
        Difference,
        HistorySpan,
        MergeFacts,
        Provenance,
        ProvenanceStep,
        RecordPlace,
    )
    from transit.engine.proving import Proof
    from transit.engine.rebasing import Rebased
    from transit.engine.restoring import Restored, restore
    from transit.engine.retaining import Due
    from transit.engine.sealed import Head, Sealed, SealedBlock, SealedSegment
    from transit.engine.standby import Standby, StandbyStatus, standby
    from transit.engine.status import Status
    from transit.engine.stream import Receipt, Stream
    from transit.engine.takeovers import Missed, Takeover, takeovers
    from transit.engine.watching import Watch
    from transit.errors import (
        AlreadyExistsError,
        ClosedError,
        ConflictError,
        CorruptError,
        DependentsError,
        ErasedError,
        FencedError,
        ForkedError,
        FormatError,
        InvalidInputError,
        KeyringError,
        LockedError,
        MergeBaseError,
        NotFastForwardError,
        NotFoundError,
        OffsetError,
        OutcomeUnknownError,
        PoisonedError,
        ProofError,
        ReadOnlyError,
        ReentrantCallError,
        RemoteSetupError,
        RemoteUnavailableError,
        RetainedError,
        RetentionGapError,
        SealedError,
        SplitViewError,
        StorageFullError,
        StoreMovedError,
        StorePermissionError,
        StoreUnavailableError,
        StreamFinishedError,
        SyncFailedError,
        TransitError,
        UnpicklableError,
        UnsuitableRemoteError,
        UnsupportedPlatformError,
        UnsupportedVersionError,
    )
    from transit.evidence.checking import Checked, Shown, ShownRecord
    from transit.evidence.envelope import Envelope
    from transit.format.lineage import Metadata, Scalar
    from transit.handle.replicas import ReplicaStatus
    from transit.handle.tiering import Published
    from transit.inspection import FieldValue, FilePart, FileReport, inspect_file
    from transit.keyring import Key, KeyInfo, Keyring
    from transit.lineage.spans import Span
    from transit.log.recover import Cut
    from transit.log.timings import Histogram
    from transit.proof.checkpoint import Checkpoint, SignedCheckpoint
    from transit.proof.keys import SigningKey, VerifyingKey
    from transit.proof.policy import Policy, Verdict
    from transit.replay import Batch, Position, Record
    from transit.store import ObjectStore, Traffic, address_folder, open_store
    from transit.tier.progress import Progress
    from transit.tier.retain import Evicted
    from transit.verify import Erasure, Finding, Report

__version__ = "0.1.0"

# Loaded when first used: a program that wants help, or one thing, does not wait for the engine.
_HOMES = {
    "transit.config": ("Durability", "Encrypted", "Mode", "Settings"),
    "transit.engine.auditing": ("audit",),
    "transit.engine.batch": ("StagedStream", "WriteBatch"),
    "transit.engine.became": ("Became", "Retention"),
    "transit.engine.believing": (
        "check_checkpoint",
        "check_growth",
        "check_pair",
        "how_to_check",
        "make_policy",
    ),
    "transit.engine.caching": ("Cache",),
    "transit.engine.collecting": ("Garbage",),
    "transit.engine.connecting": ("connect",),
    "transit.engine.copying": ("Copied", "copy"),
    "transit.engine.checkpoints": ("Witness",),
    "transit.engine.cursor": ("Cursor", "CursorStatus"),
    "transit.engine.deleting": ("Deletion",),
    "transit.engine.enveloping": ("CheckedEnvelope", "EnvelopeProof"),
    "transit.engine.erasing": ("Erased",),
    "transit.engine.evidence": ("CheckedProof", "check_envelope", "check_proof"),
    "transit.engine.layer": ("Layer",),
    "transit.engine.lineage": ("Edge", "Lineage", "LineageGraph", "Node"),
    "transit.engine.log": ("Log",),
    "transit.engine.opening": ("open",),
    "transit.engine.metrics": (
        "CacheUse",
        "CursorLag",
        "Metrics",
        "PublishLag",
        "RemoteTraffic",
    ),
    "transit.engine.plans": ("MergePlan", "PolicyInput", "PolicyPart", "register_policy"),
    "transit.engine.provenance": (
        "CommitRef",
        "Difference",
        "HistorySpan",
        "MergeFacts",
        "Provenance",
        "ProvenanceStep",
        "RecordPlace",
    ),
    "transit.engine.pieces": ("Piece", "read_piece"),
    "transit.engine.proved": ("open_proved",),
    "transit.engine.proving": ("Proof",),
    "transit.engine.rebasing": ("Rebased",),
    "transit.engine.restoring": ("Restored", "restore"),
    "transit.engine.retaining": ("Due",),
    "transit.engine.sealed": ("Head", "Sealed", "SealedBlock", "SealedSegment"),
    "transit.engine.standby": ("Standby", "StandbyStatus", "standby"),
    "transit.engine.status": ("Status",),
    "transit.engine.stream": ("Receipt", "Stream"),
    "transit.engine.takeovers": ("Missed", "Takeover", "takeovers"),
    "transit.engine.watching": ("Watch",),
    "transit.handle.replicas": ("ReplicaStatus",),
    "transit.handle.tiering": ("Published",),
    "transit.errors": (
        "AlreadyExistsError",
        "ClosedError",
        "ConflictError",
        "CorruptError",
        "DependentsError",
        "ErasedError",
        "FencedError",
        "ForkedError",
        "FormatError",
        "InvalidInputError",
        "KeyringError",
        "LockedError",
        "MergeBaseError",
        "NotFastForwardError",
        "NotFoundError",
        "OffsetError",
        "OutcomeUnknownError",
        "PoisonedError",
        "ProofError",
        "ReadOnlyError",
        "ReentrantCallError",
        "RemoteSetupError",
        "RemoteUnavailableError",
        "RetainedError",
        "RetentionGapError",
        "SealedError",
        "SplitViewError",
        "StorageFullError",
        "StoreMovedError",
        "StorePermissionError",
        "StoreUnavailableError",
        "StreamFinishedError",
        "SyncFailedError",
        "TransitError",
        "UnpicklableError",
        "UnsuitableRemoteError",
        "UnsupportedPlatformError",
        "UnsupportedVersionError",
    ),
    "transit.evidence.checking": ("Checked", "Shown", "ShownRecord"),
    "transit.evidence.envelope": ("Envelope",),
    "transit.format.lineage": ("Metadata", "Scalar"),
    "transit.inspection": ("FieldValue", "FilePart", "FileReport", "inspect_file"),
    "transit.keyring": ("Key", "KeyInfo", "Keyring"),
    "transit.lineage.spans": ("Span",),
    "transit.log.recover": ("Cut",),
    "transit.log.timings": ("Histogram",),
    "transit.proof.checkpoint": ("Checkpoint", "SignedCheckpoint"),
    "transit.proof.keys": ("SigningKey", "VerifyingKey"),
    "transit.proof.policy": ("Policy", "Verdict"),
    "transit.replay": ("Batch", "Position", "Record"),
    "transit.store": ("ObjectStore", "Traffic", "address_folder", "open_store"),
    "transit.tier.progress": ("Progress",),
    "transit.tier.retain": ("Evicted",),
    "transit.verify": ("Erasure", "Finding", "Report"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """The public name `name`, from the module that has it."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


__all__ = [
    "AlreadyExistsError",
    "Batch",
    "Became",
    "Cache",
    "CacheUse",
    "Checked",
    "CheckedEnvelope",
    "CheckedProof",
    "Checkpoint",
    "ClosedError",
    "CommitRef",
    "ConflictError",
    "Copied",
    "CorruptError",
    "Cursor",
    "CursorLag",
    "CursorStatus",
    "Cut",
    "Deletion",
    "DependentsError",
    "Difference",
    "Due",
    "Durability",
    "Edge",
    "Encrypted",
    "Envelope",
    "EnvelopeProof",
    "Erased",
    "ErasedError",
    "Erasure",
    "Evicted",
    "FencedError",
    "FieldValue",
    "FilePart",
    "FileReport",
    "Finding",
    "ForkedError",
    "FormatError",
    "Garbage",
    "Head",
    "Histogram",
    "HistorySpan",
    "InvalidInputError",
    "Key",
    "KeyInfo",
    "Keyring",
    "KeyringError",
    "Layer",
    "Lineage",
    "LineageGraph",
    "LockedError",
    "Log",
    "MergeBaseError",
    "MergeFacts",
    "MergePlan",
    "Metadata",
    "Metrics",
    "Missed",
    "Mode",
    "Node",
    "NotFastForwardError",
    "NotFoundError",
    "ObjectStore",
    "OffsetError",
    "OutcomeUnknownError",
    "Piece",
    "PoisonedError",
    "Policy",
    "PolicyInput",
    "PolicyPart",
    "Position",
    "Progress",
    "Proof",
    "ProofError",
    "Provenance",
    "ProvenanceStep",
    "PublishLag",
    "Published",
    "ReadOnlyError",
    "Rebased",
    "Receipt",
    "Record",
    "RecordPlace",
    "ReentrantCallError",
    "RemoteSetupError",
    "RemoteTraffic",
    "RemoteUnavailableError",
    "ReplicaStatus",
    "Report",
    "Restored",
    "RetainedError",
    "Retention",
    "RetentionGapError",
    "Scalar",
    "Sealed",
    "SealedBlock",
    "SealedError",
    "SealedSegment",
    "Settings",
    "Shown",
    "ShownRecord",
    "SignedCheckpoint",
    "SigningKey",
    "Span",
    "SplitViewError",
    "StagedStream",
    "Standby",
    "StandbyStatus",
    "Status",
    "StorageFullError",
    "StoreMovedError",
    "StorePermissionError",
    "StoreUnavailableError",
    "Stream",
    "StreamFinishedError",
    "SyncFailedError",
    "Takeover",
    "Traffic",
    "TransitError",
    "UnpicklableError",
    "UnsuitableRemoteError",
    "UnsupportedPlatformError",
    "UnsupportedVersionError",
    "Verdict",
    "VerifyingKey",
    "Watch",
    "Witness",
    "WriteBatch",
    "address_folder",
    "audit",
    "check_checkpoint",
    "check_envelope",
    "check_growth",
    "check_pair",
    "check_proof",
    "connect",
    "copy",
    "how_to_check",
    "inspect_file",
    "make_policy",
    "open",
    "open_proved",
    "open_store",
    "read_piece",
    "register_policy",
    "restore",
    "standby",
    "takeovers",
]
