"""The log on local disk: append, recover, seal, read.

wal        one WAL file: frames written and read, and where each stream's chunks are in it
gather     many frames of one record each, read as one chunk
stated     what frames say of what was durable
recover    what a WAL's bytes mean after a crash: the one place that tells torn from corrupt
blocks     the cache of decoded blocks
redactions what is left of segments that chunks were erased from, read in their place
redacting  making that
segments   sealed files read block by block, here or elsewhere
guides     the guides of segments that are not here
snapshots  the guides of many segments in one file, for openers of a remote
keys       what sealed segments have under a key: streams by name, records about them by id
lives      which streams are hidden, deleted, trimmed, held
dependents which streams need which records of others, and what belongs to a stream
gone       records that are gone: what to say of them
sizes      what records of a stream take in files
commits    the local commit chain
signed     signed checkpoints in the folder, and what was signed last
remembered a checkpoint that was kept, and the histories that do not extend it
files      the WAL files that are open
rows       where one stream's chunks are in the segments looked at so far
chunks     chunks by stream and offset, in whichever file; the state of a stream in use
changes    what followers of streams are told
catalog    which WALs and segments there are; streams by name and id, and what became of them
clock      when records are written, even when the machine's clock is set back
assign     which offset and timestamp a record gets
accepted   records that wait to be framed
frames     records made into one frame, and where it ended
timings    how often something was done, and how long it took
syncs      making files durable; threads that wait share one sync
rotation   which WAL file is written, and the next
turns      which thread, and which of several processes, may write now
taking_up  what is on disk: at opening, and what other processes wrote
framing    the one door for every write: a turn, a frame, what an exception left
writer     single records, records that wait, closing, rotation, durability
seal       WAL files become segments and commits
takeover   the commit by which a standby takes over
"""
