"""System calls, disks and remotes that fail."""
