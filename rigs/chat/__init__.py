"""Rooms in which many processes talk at once, and some are killed.

roles   what each process does: post, reply, decide, override, adopt
rooms   processes in one room; what must be true of it afterwards
"""
