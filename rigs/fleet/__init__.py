"""Real runs and chats in fifty stores of one fleet, asked by every engine.

sources   what the files themselves say, by code that shares nothing with the importers
filling   fifty stores of them, published
saying    what records say, as rows that any engine sums up
asking    the same question put to each engine
again     a process that reads the parts, and goes on where one that was killed stopped
"""
