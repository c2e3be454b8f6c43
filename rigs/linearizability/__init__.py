"""Concurrent calls, and whether some order of them explains the answers."""
