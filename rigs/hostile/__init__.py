"""Buckets that an attacker made to harm their readers."""
