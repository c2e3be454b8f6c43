"""Evidence: what somebody without the store can check of it, by a checkpoint they trust.

commits    the commits of a store as the leaves of a tree
published  the same of a store that is only in a remote, in few requests
leaves     the leaves of one segment, and where a record lies among them
documents  canonical JSON, in one spelling alone
statement  the shape of a proof: what it says, and which files say so
making     a proof from an open store
checking   a proof from its files alone: no store, no network
how        the commands of standard tools that check the same by hand
folder     a proof as a folder of files
envelope   what a proof means for a choice or an end, as one document beside it
"""
