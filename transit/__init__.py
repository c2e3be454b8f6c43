"""transit: an embedded append-only log engine with branches, merges and immutable history.

    log = transit.open("runs")
    task = log.create("task-0142")
    task.append(b"...", headers={"kind": "tool-call"})
    retry = task.branch("task-0142/retry-1", at=0)

See README.md for a first example and ARCHITECTURE.md for how it works.
"""

from transit.config import Durability, Mode, Settings
from transit.engine.auditing import audit
from transit.engine.batch import StagedStream, WriteBatch
from transit.engine.cursor import Cursor
from transit.engine.lineage import Edge, Lineage, LineageGraph, Node
from transit.engine.log import Log, Status, open
from transit.engine.merging import MergePlan, register_policy
from transit.engine.provenance import (
    CommitRef,
    Difference,
    HistorySpan,
    MergeFacts,
    Provenance,
    ProvenanceStep,
    RecordPlace,
)
from transit.engine.rebasing import Rebased
from transit.engine.restoring import Restored, restore
from transit.engine.stream import Receipt, Stream
from transit.engine.tiering import Published
from transit.errors import (
    AlreadyExistsError,
    ClosedError,
    ConflictError,
    CorruptError,
    FencedError,
    ForkedError,
    FormatError,
    InvalidInputError,
    LockedError,
    MergeBaseError,
    NotFastForwardError,
    NotFoundError,
    OffsetError,
    OutcomeUnknownError,
    PoisonedError,
    ReadOnlyError,
    RemoteUnavailableError,
    RetentionGapError,
    StorageFullError,
    StorePermissionError,
    StoreUnavailableError,
    SyncFailedError,
    TransitError,
    UnsuitableRemoteError,
    UnsupportedPlatformError,
    UnsupportedVersionError,
)
from transit.format.lineage import Metadata, Scalar
from transit.inspection import FieldValue, FilePart, FileReport, inspect_file
from transit.log.recover import Cut
from transit.replay import Batch, Position, Record
from transit.store import ObjectStore, Traffic, open_store
from transit.tier.progress import Progress
from transit.tier.retain import Evicted
from transit.verify import Finding, Report

__version__ = "0.1.0"

__all__ = [
    "AlreadyExistsError",
    "Batch",
    "ClosedError",
    "CommitRef",
    "ConflictError",
    "CorruptError",
    "Cursor",
    "Cut",
    "Difference",
    "Durability",
    "Edge",
    "Evicted",
    "FencedError",
    "FieldValue",
    "FilePart",
    "FileReport",
    "Finding",
    "ForkedError",
    "FormatError",
    "HistorySpan",
    "InvalidInputError",
    "Lineage",
    "LineageGraph",
    "LockedError",
    "Log",
    "MergeBaseError",
    "MergeFacts",
    "MergePlan",
    "Metadata",
    "Mode",
    "Node",
    "NotFastForwardError",
    "NotFoundError",
    "ObjectStore",
    "OffsetError",
    "OutcomeUnknownError",
    "PoisonedError",
    "Position",
    "Progress",
    "Provenance",
    "ProvenanceStep",
    "Published",
    "ReadOnlyError",
    "Rebased",
    "Receipt",
    "Record",
    "RecordPlace",
    "RemoteUnavailableError",
    "Report",
    "Restored",
    "RetentionGapError",
    "Scalar",
    "Settings",
    "StagedStream",
    "Status",
    "StorageFullError",
    "StorePermissionError",
    "StoreUnavailableError",
    "Stream",
    "SyncFailedError",
    "Traffic",
    "TransitError",
    "UnsuitableRemoteError",
    "UnsupportedPlatformError",
    "UnsupportedVersionError",
    "WriteBatch",
    "audit",
    "inspect_file",
    "open",
    "open_store",
    "register_policy",
    "restore",
]
