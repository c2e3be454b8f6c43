"""The `transit` command: one module a verb, over the public surface alone.

Owns everything a person or a script meets at a shell: arguments, configuration, output, exit codes.
What a verb does is done by `transit`. The command's packages are an extra, so they may be missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (None: the process's own); the exit code."""
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        print(
            f"transit: the command needs {' and '.join(missing)}: pip install 'transit[cli]'",
            file=sys.stderr,
        )
        return 1
    # Imported here: it needs click, which has just been looked for.
    from transit.cli.main import run

    return run(sys.argv[1:] if arguments is None else arguments)
