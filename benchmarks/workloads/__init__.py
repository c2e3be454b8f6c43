"""All workloads, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.prices import Prices
from benchmarks.remote import Rig, server_of
from benchmarks.workload import Aim, Workload
from benchmarks.workloads.append_many import AppendMany
from benchmarks.workloads.append_one import AppendOne
from benchmarks.workloads.arrow_columns import ArrowColumns
from benchmarks.workloads.audit_bodies import AuditBodies
from benchmarks.workloads.branch import BYTES, LONG, RATE, SHORT, TIME, Branches
from benchmarks.workloads.chain import Chain
from benchmarks.workloads.columns import Columns
from benchmarks.workloads.command_read import CommandRead
from benchmarks.workloads.conversation import ConversationBytes, KnownConversation, TraceRead
from benchmarks.workloads.durable_batches import DurableBatches
from benchmarks.workloads.durable_one import DurableOne
from benchmarks.workloads.file_ends import FileEnds
from benchmarks.workloads.followers import AppendWatched, Followers
from benchmarks.workloads.hot_read import FirstHotRead, HotRead
from benchmarks.workloads.import_time import ImportTotal, ImportUnwanted, ImportWall
from benchmarks.workloads.lazy_first_record import LazyFirstRecord, OpenBucket
from benchmarks.workloads.open_many import OpenMany
from benchmarks.workloads.publish import Publish
from benchmarks.workloads.random_read import RandomRead
from benchmarks.workloads.replay import Replay
from benchmarks.workloads.replay_memory import ReplayMemory
from benchmarks.workloads.restore import Restore
from benchmarks.workloads.run_list import RunList
from benchmarks.workloads.seal_roots import SealRoots
from benchmarks.workloads.size_on_disk import SizeOnDisk
from benchmarks.workloads.tail import Tail
from benchmarks.workloads.tiered_append import TieredLatency, TieredRequests
from benchmarks.workloads.trace_event import TraceEvent
from benchmarks.workloads.transfer_memory import TransferMemory

Maker = Callable[[], Workload]
RemoteMaker = Callable[[Rig], Workload]

ALL: tuple[Maker, ...] = (
    partial(AppendMany, "append-many-os", 400_000),
    partial(AppendMany, "append-many-os-unsealed", 100_000),
    DurableBatches,
    partial(DurableOne, threads=1, aim=1.0, records=400),
    partial(DurableOne, threads=8, aim=1.6, records=3_200),
    partial(AppendOne, "os", 0.35),
    partial(AppendOne, "memory", 0.8),
    FileEnds,
    partial(Replay, "payloads", 2.5, "sealed"),
    partial(Replay, "payloads", 2.5, "sealed-uncompressed"),
    partial(Replay, "payloads", 2.5, "wal"),
    partial(Replay, "records", 1.0, "sealed"),
    partial(Replay, "records", 1.0, "sealed-uncompressed"),
    partial(Replay, "records", 1.0, "wal"),
    Chain,
    partial(ReplayMemory, "sealed"),
    partial(ReplayMemory, "wal"),
    partial(Columns, "sealed"),
    partial(Columns, "sealed-uncompressed"),
    partial(Columns, "wal"),
    ArrowColumns,
    HotRead,
    FirstHotRead,
    partial(RandomRead, "sealed"),
    partial(RandomRead, "wal"),
    partial(Branches, "branch-10-time", TIME, Aim("value", 50), parent=SHORT),
    partial(Branches, "branch-1m-time", TIME, Aim("value", 50), parent=LONG),
    partial(Branches, "branch-10-bytes", BYTES, Aim("value", 300), parent=SHORT),
    partial(Branches, "branch-1m-bytes", BYTES, Aim("value", 300), parent=LONG),
    partial(
        Branches, "branch-1m-to-10", TIME, Aim("ratio", 1.2), parent=LONG, against=SHORT,
    ),
    partial(
        Branches, "branch-batch", RATE, Aim("value", 20_000), parent=SHORT, batched=True,
        made=20_000,
    ),
    partial(Tail, 50, "inotify", 100),
    partial(Tail, 99, "inotify", 400),
    partial(Tail, 50, "polling", 100),
    partial(Tail, 99, "polling", 400),
    partial(Followers, 50, 500),
    partial(Followers, 99, 5_000),
    AppendWatched,
    SizeOnDisk,
    partial(SealRoots, "seal-roots-long", streams=8, each=20_000, aim=0.9),
    partial(SealRoots, "seal-roots-runs", streams=3_000, each=20, aim=0.75),
    TraceEvent,
    partial(TraceEvent, mean=True),
    KnownConversation,
    TraceRead,
    partial(ConversationBytes, "model_call", "dicts"),
    partial(ConversationBytes, "model_call", "dataclasses"),
    partial(ConversationBytes, "recorded", "dicts"),
    partial(ConversationBytes, "recorded", "dataclasses"),
    partial(RunList, "last records"),
    partial(RunList, "all records"),
    CommandRead,
    partial(OpenMany, "seconds", sealed=True),
    partial(OpenMany, "seconds", sealed=False),
    partial(OpenMany, "megabytes", sealed=True),
    partial(OpenMany, "megabytes", sealed=False),
    ImportWall,
    ImportTotal,
    ImportUnwanted,
)  # fmt: skip


REMOTE: tuple[RemoteMaker, ...] = (
    partial(Publish, what="random"),
    partial(Publish, what="traces"),
    partial(Restore, what="random"),
    partial(Restore, what="traces"),
    partial(LazyFirstRecord, figure="requests"),
    partial(LazyFirstRecord, figure="ms"),
    partial(OpenBucket, where="folder"),
    partial(OpenBucket, where="s3"),
    partial(AuditBodies, what="random"),
    partial(AuditBodies, what="traces"),
    partial(TieredLatency, percentile=50, aim=1.5),
    partial(TieredLatency, percentile=99, aim=1.5),
    partial(TieredRequests, threads=1, aim=3.25),
    partial(TieredRequests, threads=16, aim=0.5),
    partial(TransferMemory, way="publish"),
    partial(TransferMemory, way="restore"),
)
"""Those that need an S3 server."""


def names() -> list[str]:
    """The names of all workloads."""
    rig = Rig(server_of({}), Prices())
    return [make().facts.name for make in (*chosen([]), *chosen_remote([], rig))]


def workload(name: str) -> Workload:
    """The workload of this machine alone that is called exactly that; KeyError for none."""
    for make in ALL:
        made = make()
        if made.facts.name == name:
            return made
    raise KeyError(name)


def chosen(starts: Sequence[str]) -> list[Maker]:
    """The workloads of this machine alone whose names start with one of `starts`; all with none."""
    return _chosen(ALL, starts)


def chosen_remote(starts: Sequence[str], rig: Rig) -> list[Maker]:
    """The same of those that need an S3 server."""
    return _chosen([partial(make, rig) for make in REMOTE], starts)


def _chosen(makers: Sequence[Maker], starts: Sequence[str]) -> list[Maker]:
    wanted = tuple(starts) or ("",)
    return [make for make in makers if make().facts.name.startswith(wanted)]
