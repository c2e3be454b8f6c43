"""Loops that keep a store in order, and records that are appended when they are due.

reconcile   reconcilers: their definitions, and what is said of them in the log
naming      names and streams of reconcilers and schedules
ticks       a reconciler's history, and what a body is given
due         when something is due: intervals, cron-like times, one-shots; clocks
scheduling  records that are appended when they are due
firing      schedules as a runner has them
running     the loop that runs them all
looping     one reconciler as a runner has it: what is due, what came of it
making      a tick that is being made
claims      which runner runs a reconciler, so that bodies do not run twice
seats       which runner of this process does
workers     the threads that bodies run in
keeping     ready-made reconcilers: publish, sign, verify, evict, retain
standing    one more: a standby that takes over when its writer is not well
"""
