"""Bytes to values and back, without touching a disk.

Each module opens with the byte table of what it encodes, says when the bytes are valid, and what
a reader does with a version it does not know. Nothing here opens a file or holds state.
"""
