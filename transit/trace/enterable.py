"""Blocks that are entered with `with` and with `async with` alike: neither waits for anything."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Enterable(ABC):
    """Something with a block, which is left in the same way from synchronous and other code."""

    @abstractmethod
    def __enter__(self) -> Self:
        """Begin the block."""

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it; exceptions go on."""

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)
