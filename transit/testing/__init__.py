"""For tests of programs that use transit, and of what is built on it. The extra `testing`.

store_contract  the tests that every object store must pass
doors           an object store that fails at chosen requests
model           the store as plain dicts and lists: the answer the engine is held to
modelled        what the model is made of: records, streams, the operations of a batch
removing        the model's side that lets records go
strategies      values and histories for hypothesis, and the comparison with the model

`doors` and `model` need nothing beside transit; `store_contract` needs pytest, `strategies` needs
hypothesis: pip install 'transit[testing]'. Nothing in the engine imports this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def explain_missing() -> Iterator[None]:
    """A block of imports: `ModuleNotFoundError` then says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed: pip install 'transit[testing]'"
        raise ModuleNotFoundError(message, name=error.name) from error
