"""A folder for what is tried on files, used again for each input: in memory where it can be."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")


@contextlib.contextmanager
def written(files: Mapping[str, bytes]) -> Iterator[Path]:
    """A folder with these files, by their paths in it, and nothing else; of this process alone."""
    folder = _folder(os.getpid()) / "input"
    try:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _folder(process: int) -> Path:
    # By process: a child that was forked must not share its parent's.
    memory = str(_MEMORY) if os.access(_MEMORY, os.W_OK) else None
    made = tempfile.mkdtemp(prefix=f"transit-fuzz-{process}-", dir=memory)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)
