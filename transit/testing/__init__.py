"""What tests of transit, and of stores built on it, can import.

`transit.testing.model` is the store as plain dicts and lists, the answer the engine is held to.
Nothing in the engine imports this package.
"""
