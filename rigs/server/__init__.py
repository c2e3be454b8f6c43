"""What a server promised, after crashes, kills and hostile requests."""
