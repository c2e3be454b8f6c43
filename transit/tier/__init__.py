"""The second home of a store: a remote with the same segments, commits and index snapshots.

pools        calls made several at once, or one after another where there can be no threads
progress     how far a transfer is
conditional  put-if-absent with its three outcomes: won, lost, unknown
timed        how long the requests to a remote take
remote       the objects of one store in a remote, and finding its head
probe        whether a remote really excludes the second of two writers
checkpoints  signed checkpoints in the remote, and the tiles behind them
bundled      many commits in one request
publish      segments, then commits, to the remote
locating     where a store's commits stand in a remote, and the hint there
replica      a remote that follows the first one
fetch        segments read from the remote, block by block, through a cache
apart        whether a store and its remote are two places
bucket       the view of a store that is only in a remote
adopt        commits that others published, taken up by the one writer
restore      a store's folder from the remote alone
catching_up  what a remote has and a folder has not, brought there: a standby's way
fence        the commit of a takeover, put in the remote
erase        what is left of segments put there, the originals freed
carrying     one object from a remote to another, checked on its way
copying      a published store brought to another remote
retain       local segments that the remote has are let go
"""
