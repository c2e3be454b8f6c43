"""What a root binds, and who signed it, without touching a disk: nothing here opens a file.

tree          the RFC 6962 Merkle tree: over the commits of a store, over the chunks of a segment
chunks        what is a leaf of the tree over a segment's chunks
paths         inclusion and consistency paths: making them, and checking them
spellings     base64 and numbers in their one spelling
notes         signed notes: a text, and lines that say who signed it
primitives    bare signatures, by `cryptography`
keys          keys that sign and verify, in the text forms that other programs read
cosignature   what each type of key signs of a checkpoint
checkpoint    checkpoints: made, signed, and the one way to believe one
policy        whom to believe: logs, witnesses, and how many are enough
tiles         the tree as files of hashes, and its entries as bundles
files         the files that a stranger checks: inclusion, consistency
witness       what a witness decides, and what a log makes of its answer
"""
