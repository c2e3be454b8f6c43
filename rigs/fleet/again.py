"""A process that reads the parts of a plan one by one, and keeps what each came to.

    python -m rigs.fleet.again FOLDER

FOLDER has `job`, a pickled pair of the parts and of what `fleet.read` takes besides; what part n
came to is put into `n` there, whole or not at all. Killed at any moment and begun again, it reads
the parts that have nothing there.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

from rigs.fleet.saying import COLUMNS, said
from transit import fleet


def main(folder: Path) -> None:
    """Read what is left."""
    parts, how = pickle.loads((folder / "job").read_bytes())
    for number, part in enumerate(parts):
        done = folder / f"{number}"
        if done.exists():
            continue
        rows = said(fleet.read(part, COLUMNS, **how)).to_pylist()
        made = folder / f"{number}.temporary"
        made.write_bytes(pickle.dumps([tuple(row.values()) for row in rows]))
        os.replace(made, done)
        print(number, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
