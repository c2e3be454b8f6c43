"""Bytes to values and back, without touching a disk.

Each module opens with the byte table of what it encodes, says when the bytes are valid, and what
a reader does with a version it does not know. Nothing here opens a file or holds state.

checksum     XXH3-64, and the seed that binds a frame to store and file
digest       BLAKE3
compression  one zstd frame with a stated, checked size
names        which names users may give; file names; index keys
columns      the columns of a chunk, each as narrow as its values allow
headers      headers as JSON, and tables of them
written      who wrote the records of a chunk, and when
record       chunks: columns to bytes and back
envelope     chunks that are encrypted, each by itself
frame        WAL header, frame header, padding
lineage      the records of stream 0; metadata
uid          what a stream is called in every store
life         the records of `$names`: streams finished and hidden
cursor       where a cursor stands
takeover     what is said of a takeover, and of what it missed
segment      blocks, index, footer, tail
redacted     what is left of a segment that chunks were erased from
commit       commits, roots, links, the FORMAT file
snapshot     the guides of many segments, in layers
head         the HEAD hint
preview      what other transits wrote, told from damage
"""
