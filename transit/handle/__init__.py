"""An open store: its folder, locks and threads, its side that writes and its side that reads.

opening     finding, making and locking a store's folder
handle      an open store and its state of use; everything in `engine` takes it
write_side  what a handle that writes has: locks, writer, sealer, threads
read_side   what a handle that reads has: a folder, a remote, or both
side        what the two have in common
background  the threads that sync, seal and publish; launching: those that are on their way
promises    futures of submitted appends: each of them ends, and its callbacks are called
callbacks   the future itself; what becomes of a callback's error
encrypting  what users say about encryption, checked; the keys of one open store
attaching   which remote the user means
tiering     publishing: on request, in the background, and for appends that wait
replicas    remotes that follow the first, each in a thread; who waits for them
switching   putting a rebased store in the old one's place
hub         the waiters for more of each stream, and the thread that tells them
listeners   threads and tasks of event loops that wait, as the hub knows them
joining     what a call holds that waits
waiting     what the hub waits for before it looks again
"""
