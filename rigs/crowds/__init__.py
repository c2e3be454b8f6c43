"""Threads that do everything at once."""
