"""The laboratory that holds transit's promises: each rig beside the tests that run it.

A rig makes situations that cannot be made by hand (crashes, failing calls, killed processes,
damaged bytes, lost answers, random programs) and judges what the store makes of them. `just rigs`
runs all of them in the size of CI, `just soak` for as long as asked. A rig may import everything;
nothing imports a rig.
"""
