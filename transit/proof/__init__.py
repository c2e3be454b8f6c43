"""What a root binds, without touching a disk: nothing here opens a file.

tree    the RFC 6962 Merkle tree: over the commits of a store, over the chunks of a segment
chunks  what is a leaf of the tree over a segment's chunks
"""
