"""Items of conversations, and a loop to run what is asked of a session."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

Item = dict[str, Any]


def said(n: int) -> Item:
    return {"role": "user" if n % 2 == 0 else "assistant", "content": f"message {n} é"}


def many(*numbers: int) -> Any:
    return [said(n) for n in numbers]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)
