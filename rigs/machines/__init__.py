"""State machines: the whole public surface beside the model."""
