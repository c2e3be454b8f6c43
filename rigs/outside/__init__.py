"""Judges that are not ours, of what `transit.proof` makes.

judge.go       answers questions with Go's own x/mod/sumdb, the code behind Go's checksum database
test_go        builds it where Go is, and asks it, also about files changed at random
test_judges    tools of PyPI, in an environment of their own: `scripts/readers.sh`
foreign        makes an environment with a witness of PyPI, and starts it; conftest shares it
test_witness   that witness, asked by our client
test_alike     the same requests to it and to ours
test_feeder    its client asks our witness, and its checker judges what both cosigned
"""
