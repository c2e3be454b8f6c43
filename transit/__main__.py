"""`python -m transit`: the `transit` command."""

import sys

from transit.cli import main

if __name__ == "__main__":
    sys.exit(main())
