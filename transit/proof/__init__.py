"""Proofs about commits, without touching a disk.

`tree` is the RFC 6962 Merkle tree over the commits of a store. Nothing here opens a file, knows
what a commit contains, or holds state.
"""
