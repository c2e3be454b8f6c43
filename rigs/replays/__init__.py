"""Replays of random programs: what the recording did is what the replay does.

loops         what runs its parts beside each other: asyncio, trio
programs      what a random program consists of, and running one
compare       recording one, replaying it under other schedules, changing one of its calls
plants        mistakes of replay that the comparison finds
"""
