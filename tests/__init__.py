"""The tests of a developer's every day: one folder a room. What takes longer is in `rigs`."""
