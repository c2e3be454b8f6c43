"""Benchmarks: each figure of transit beside a raw baseline made in the same run.

`python -m benchmarks` runs them all; `python -m benchmarks --help` says the rest.
"""
