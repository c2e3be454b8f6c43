"""Any bytes for every decoder."""
