"""Every Python block in README.md, ARCHITECTURE.md and docs/ runs.

The blocks of a page run in order as one program, in an empty folder, with warnings as errors. A
block right below a comment `<!-- not run: reason -->` is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
SECONDS_MAX = 120

FENCE = re.compile(r"^(?P<indent> *)(?P<marks>```+|~~~+)(?P<language>[^`\n]*)$")
NOT_RUN = re.compile(r"^\s*<!-- not run: \S.* -->\s*$")
RUN_SOURCE = (
    "import sys; exec(compile(sys.stdin.read(), sys.argv[1], 'exec'), {'__name__': '__main__'})"
)


def program(page: str) -> str:
    """The page's Python blocks on the lines they have in the page, all other lines empty.

    ValueError for a block that never ends, and for one whose language only looks like Python.
    """
    source: list[str] = []
    block: list[str] = []
    opening: re.Match[str] | None = None
    last_text, runs = "", False
    for line in page.splitlines():
        fence = FENCE.match(line)
        if opening is None:
            source.append("")
            if fence:
                opening, block = fence, []
                language = fence["language"].strip()
                if language != "python" and language.lower().startswith("py"):
                    raise ValueError(f"a block in {language!r}: say python")
                runs = language == "python" and not NOT_RUN.match(last_text)
            last_text = line if line.strip() else last_text
        elif fence and fence["marks"] == opening["marks"] and not fence["language"].strip():
            dedented = textwrap.dedent("\n".join(block)).split("\n") if block else []
            source += [*(dedented if runs else [""] * len(block)), ""]
            opening, last_text = None, line
        else:
            block.append(line)
    if opening is not None:
        raise ValueError("a block that never ends")
    return "\n".join(source)


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_python_blocks_of_the_page_run(page: str, tmp_path: Path) -> None:
    path = ROOT / page
    source = program(path.read_text(encoding="utf-8"))
    if not source.strip():
        return
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN_SOURCE, str(path)],
        input=source,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{page}\n{done.stdout}\n{done.stderr}"


def test_readme_shows_python() -> None:
    assert program((ROOT / "README.md").read_text(encoding="utf-8")).strip()


def test_blocks_keep_their_lines_and_others_are_left_out() -> None:
    page = "text\n```python\na = 1\n```\n```sh\nls\n```\n- item\n\n  ```python\n  b = a\n  ```\n"
    assert program(page).split("\n") == ["", "", "a = 1", *[""] * 7, "b = a", ""]


def test_block_below_a_reason_is_left_out() -> None:
    block = "```python\n1 / 0\n```\n"
    assert not program(f"<!-- not run: needs a bucket -->\n{block}").strip()
    assert not program(f"<!-- not run: needs a bucket -->\n\n{block}").strip()
    assert program(f"<!-- not run: -->\n{block}").strip(), "a reason is missing"
    assert program(f"<!-- not run: needs a bucket -->\ntext\n{block}").strip()
    assert program(f"<!-- not run: needs a bucket -->\n{block}{block}").strip()


@pytest.mark.parametrize("page", ["```python\n1\n", "```py\n1\n```\n", "```Python\n1\n```\n"])
def test_block_that_would_be_missed_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="a block"):
        program(page)
