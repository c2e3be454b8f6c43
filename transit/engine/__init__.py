"""What a user holds: logs, streams, batches, merges, cursors. An open store is in `handle`.

restoring   restore()
auditing    audit()
rebasing    going on after a fence
creation    new streams, batches and merges worked out and written as one frame
checks      what users give, checked
codec       typed values
stream      Stream
reading     a stream's side that reads by offsets
pieces      a history cut where it lies, for readers side by side
times       where a stream was at a time
cursor      Cursor
batch       Batch writes: several streams, one frame
merging     which policy, which base, which plan
finding     streams by name, by handle, by metadata
lineage     questions about how streams descend from one another
layer       streams that rooms above keep for themselves
provenance  where a history comes from, how two differ, how one record got there
status      what an open store holds, in numbers
log         Log, and open()
"""
