"""Processes, servers and disks that stop in the middle."""
