"""Runners of reconcilers and schedules that are killed, stopped and continued in the middle.

foreman     forks runners on one store, kills and stops them
plants      mistakes that the judge must find
judging     what the store says afterwards
"""
