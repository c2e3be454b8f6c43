"""The ordered map that a state of a view is: equal content has one root, and equal parts are one.

map       the map: reading, the next one, differences, three-way merges
node      the bytes of a node, and nodes in memory
keys      values as keys, in their order
cutting   where nodes end, by their content
editing   the nodes of the next map
walking   entries in order, and counts
differing what two maps have otherwise
"""
