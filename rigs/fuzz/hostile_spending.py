"""Steps that cost too much, or fail: what `rigs.apart` must notice."""

from __future__ import annotations

from collections.abc import Callable


def take_memory(mebibytes: str) -> Callable[[], int]:
    """Grow by so much."""
    return lambda: len(b"x" * (int(mebibytes) << 20)) >> 20


def spin() -> Callable[[], None]:
    """Use the processor for ever."""

    def run() -> None:
        while True:
            pass

    return run


def fail() -> Callable[[], float]:
    """Raise an error that no caller expects."""
    return lambda: 1 / 0
