"""Ids of calls and artifacts."""

from __future__ import annotations

import itertools
import os
from typing import Final


class _Ids:
    """Ids no other process makes: 64 random bits of the process, and a count."""

    def __init__(self) -> None:
        self.begin()
        # A child that went on with these would give the same ids as its parent.
        os.register_at_fork(after_in_child=self.begin)

    def begin(self) -> None:
        self._process = os.urandom(8).hex()
        self._count = itertools.count(1)

    def new(self, what: str) -> str:
        """An id of a `what`."""
        return f"{what}-{self._process}-{next(self._count):x}"


new_id: Final = _Ids().new
