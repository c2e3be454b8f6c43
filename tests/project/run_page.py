"""Runs the blocks of a page, in order, as one program in the current folder.

Reads JSON from the standard input: "path", "source" (the Python blocks on their lines, and calls
below on the lines of other blocks) and "blocks", their texts. Imports nothing of the project's.

A block in sh is one script, or commands that begin with `$ ` (going on with `> `) and the output of
each below it. In expected output `…` is any text of a line, and a line of it alone any lines.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable

MARK = "end-of-command-5b1f"
SECONDS_MAX = 120
ANY = "…"


class Tee(io.StringIO):
    """Keeps what is printed, and prints it."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)  # type: ignore[union-attr]
        return super().write(text)


def matches(expected: str, found: str) -> bool:
    """Whether `found` ends with the lines of `expected`."""
    pattern = ""
    for line in expected.splitlines():
        if line.strip() == ANY:
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(map(re.escape, line.rstrip().split(ANY))) + r"[ \t]*\n"
    lines = found if not found or found.endswith("\n") else found + "\n"
    return re.search(rf"(?m)^{pattern}\Z", lines) is not None


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a block and the output expected of each; one without output for a script."""
    if not text.startswith("$ "):
        return [(text, "")]
    found: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif line.startswith("> ") and not found[-1][1]:
            found[-1][0].append(line[2:])
        else:
            found[-1][1].append(line)
    return [("\n".join(given), "\n".join(expected)) for given, expected in found]


def run_shell(text: str) -> str:
    """Run a block in sh; what it printed. AssertionError for a failure and for other output."""
    pairs = commands(text)
    # A script ends where it fails; of commands each is looked at alone.
    setting = "" if text.startswith("$ ") else "set -e"
    script = "".join(f"{given}\necho {MARK} $?\n" for given, _ in pairs)
    done = subprocess.run(
        ["sh", "-c", f"exec 2>&1\n{setting}\n{script}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8",
        timeout=SECONDS_MAX, check=False,
    )  # fmt: skip
    parts = re.split(rf"^{MARK} (\d+)\n", done.stdout, flags=re.MULTILINE)
    printed, codes = parts[0::2], parts[1::2]
    if done.returncode or len(codes) != len(pairs):
        raise AssertionError(f"exit code {done.returncode} of\n{text}\n{done.stdout}")
    for (given, expected), code, output in zip(pairs, codes, printed, strict=False):
        if code != "0":
            raise AssertionError(f"exit code {code} of\n{given}\n{output}")
        if expected and not matches(expected, output):
            raise AssertionError(f"{given}\nprinted\n{output}\ninstead of\n{expected}")
    return "".join(printed)


def calls(blocks: list[str], kept: Tee) -> dict[str, Callable[[int], None]]:
    """What the program calls on the lines of blocks that are not Python."""

    def shell(number: int) -> None:
        sys.stdout.flush()
        kept.write(run_shell(blocks[number]))

    def compare(number: int) -> None:
        found = kept.getvalue()
        if not matches(blocks[number], found):
            raise AssertionError(f"printed\n{found}\ninstead of\n{blocks[number]}")
        kept.seek(0)
        kept.truncate()

    return {"_shell": shell, "_compare": compare}


def main() -> None:
    """Run the page."""
    page = json.load(sys.stdin)
    kept = sys.stdout = Tee()
    code = compile(page["source"], page["path"], "exec")
    exec(code, {"__name__": "__main__", **calls(page["blocks"], kept)})


if __name__ == "__main__":
    main()
