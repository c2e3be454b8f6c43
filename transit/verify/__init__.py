"""Verification: everything derived again from bytes, and a report of what is wrong.

findings   what was found, and the report
envelopes  encrypted chunks: opened, sealed without the key, or erased with it
segments   the bytes of one segment; also for audits of a remote
streams    offsets and lineage; also for audits of a remote
names      what became of streams; also for audits of a remote
notes      signed checkpoints; also for audits of a remote
stages     how far up a check came, in words
redacted   what is left of segments that chunks were erased from; also for audits of a remote
local      a store's own folder
"""

from transit.verify.findings import Erasure, Finding, Report
from transit.verify.local import verify_store

__all__ = ["Erasure", "Finding", "Report", "verify_store"]
