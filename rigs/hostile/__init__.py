"""Buckets that somebody made to harm their readers."""
