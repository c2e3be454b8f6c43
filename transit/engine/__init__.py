"""What a user holds: logs, streams, batches, merges, cursors. An open store is in `handle`.

restoring   restore()
auditing    audit()
copying     copy()
rebasing    going on after a fence
standby     Standby: a folder that follows its remote, and takes over
standing    that folder: its lock, its catalog, what is brought into it
fencing     the commit of a takeover, tried until it has a number
missed      what a takeover missed, said by the writer that brought it along
takeovers   what the history says of takeovers
staging     what a frame is to hold, worked out in the writer's turn
pending     its records for one stream: their offsets and timestamps
staged_parents  streams that merges are made from, as a frame in the making has them
creation    new streams and the ends of streams
checks      what users give, checked
codec       typed values
stream      Stream
reading     a stream's side that reads by offsets
became      what became of a stream, when, by whom and why
keeping     a stream's side that says how long its records are there, and lets them go
deleting    records that are gone for readers from here on
erasing     the bytes of these freed, here and in the remote
retaining   what is due by the limits of streams
collecting  what a store does not need, found and removed
removal     a store's side that lets records go
pieces      a history cut where it lies, for readers side by side
sealed      sealed segments, read whole
caching     files that rooms above can lose at any time
times       where a stream was at a time
following   a stream's side that waits for more: tail() and follow()
watching    functions that are called when streams change
cursor      Cursor
batch       Batch writes: several streams, one frame
plans       what a merge yields: which policy, which base, which plan
merging     merges, asked for and made
scanning    lineage records in order
finding     streams by name, by handle, by metadata
lineage     questions about how streams descend from one another
layer       streams that rooms above keep for themselves
provenance  where a history comes from, how two differ, how one record got there
encrypted   the side of a store that knows its keyring
status      what an open store holds, in numbers
checkpoints signed notes over what is sealed, and witnesses
believing   checkpoints, checked by whom one trusts
proving     proofs of what is in a stream
enveloping  documents beside proofs: an end, a choice
evidence    the part of Log that makes all these; check_proof(), check_envelope()
trusted     keys, policies and checkpoints that a caller gives
proved      what proofs show, read as a store is
metrics     what an open store did, in numbers
log         Log
opening     open()
connecting  connect()
"""
