"""transit.chat: channels, messages, threads; people and agents talking."""
