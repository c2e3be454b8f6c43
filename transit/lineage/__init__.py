"""What a stream's history is made of, and what a merge makes of several: pure functions.

Owns spans and their arithmetic (`spans`), ancestry between streams (`graph`) and the merge
policies (`policy`). Leaves to others: the bytes of a lineage record (`transit.format.lineage`),
names, locks, clocks and every read of a record's payload or timestamp.

Invariants: nothing here reads a disk, keeps state between calls or copies a record; work is counted
in spans and streams, and only the interleaving policy and custom orders look at single records.
"""
