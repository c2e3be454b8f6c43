"""Manifests: what a run was made with, as far as it is there and wanted."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from blake3 import blake3

from transit.trace.values import encode_plain

_GIT_S = 5.0


def manifest(
    *,
    prompt: object = None,
    configuration: object = None,
    packages: Sequence[str] = (),
    git: str | Path | None = ".",
    **more: object,
) -> dict[str, object]:
    """What to give to `task(..., manifest=)`.

    The program, Python and its platform; the versions of `packages` and of transit; the commit that
    is checked out where `git` says, and whether files were changed since (None: not asked); BLAKE3,
    64 hex digits, of the JSON of `prompt` and `configuration`, which are not recorded themselves;
    and whatever `more` says. What is not there is left out.
    """
    found: dict[str, object] = {
        "program": sys.argv[0] if sys.argv else "",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: v for name in ("transit", *packages) if (v := _version(name))},
    }
    if git is not None:
        found |= _commit(Path(git))
    for name, value in (("prompt", prompt), ("configuration", configuration)):
        if value is not None:
            found[f"{name}_digest"] = blake3(encode_plain(value)).hexdigest()
    return found | more


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except (metadata.PackageNotFoundError, ValueError):
        return ""


def _commit(folder: Path) -> dict[str, object]:
    def asked(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True, text=True, timeout=_GIT_S, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout if done.returncode == 0 else None

    commit = asked("rev-parse", "HEAD")
    if commit is None:
        return {}
    changed = asked("status", "--porcelain")
    found: dict[str, object] = {"git_commit": commit.strip()}
    return found if changed is None else found | {"git_changed": bool(changed.strip())}
