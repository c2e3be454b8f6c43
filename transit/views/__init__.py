"""State derived from streams.

map        an ordered map of bytes to bytes whose versions share nodes
node       a node's bytes, and nodes that are kept decoded
cutting    where nodes end
editing    a map's next version
walking    the nodes of one level, and of a range
differing  what two maps differ in
keys       values as keys that sort as the values do
"""
