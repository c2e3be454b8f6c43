"""Disks that fail, fill up and lose power."""
