"""Faults of a remote, its server and the way to it, at every request."""
