"""Promises of derived state: maps against a model, bugs planted in them, hostile nodes."""
