"""Stores of a size that nobody makes by hand."""
