"""Promises of derived state: maps, states that outlive crashes, runners that are killed.

foreman     forks runners on one store, kills and stops them
plants      mistakes that the judge must find
judging     what the store says afterwards
"""
