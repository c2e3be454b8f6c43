"""Crash states: recorded, worked out, judged."""
