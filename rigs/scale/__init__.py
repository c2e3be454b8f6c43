"""Stores too large to make by hand."""
