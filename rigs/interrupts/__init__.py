"""Signal handlers that raise, at every place where one can run."""
