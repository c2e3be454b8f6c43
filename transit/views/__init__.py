"""Views: state that is derived from streams, and loops that keep a store in order.

naming      names and streams of reconcilers and schedules
due         when something is due: intervals, cron-like times, one-shots; clocks
schedule    records that are appended when they are due
firing      schedules as a runner has them
reconcile   reconcilers: their definitions, and what is said of them in the log
ticks       a reconciler's history, and what a body is given
claims      which runner runs a reconciler, so that bodies do not run twice
looping     one reconciler as a runner has it: what is due, what came of it
workers     the threads that bodies run in
runner      the loop that runs them all
keeping     ready-made reconcilers: publish, sign, verify, evict, retain
"""
