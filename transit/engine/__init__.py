"""One open store as its user holds it: logs, streams, batches, merges, cursors.

opening     finding, making and locking a store's folder
handle      an open store and its state of use; everything else takes it
writing     what a handle that writes has: locks, writer, sealer, threads
background  the threads that sync, seal and publish
attaching   which remote the user means
tiering     publishing: on request, in the background, and for appends that wait
reading     what a handle that reads has: a folder, a remote, or both
restoring   restore()
auditing    audit()
rebasing    going on after a fence
switching   putting a rebased store in the old one's place
waiting     how a reader waits for more
creation    new streams, batches and merges worked out and written as one frame
checks      what users give, checked
codec       typed values
stream      Stream
cursor      Cursor
batch       Batch writes: several streams, one frame
merging     which policy, which base, which plan
lineage     questions about how streams descend from one another
log         Log, and open()
"""
