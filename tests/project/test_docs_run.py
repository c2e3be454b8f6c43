"""Every Python block in README.md, ARCHITECTURE.md and docs/ runs; in docs/guide/ also those in sh.

The blocks of a page run in order as one program, in an empty folder, with warnings as errors; in a
guide `transit` is on the PATH of the shell. A block in text right after one of these, with nothing
between, is what was printed. A block right below a comment `<!-- not run: reason -->` is left out.
A page that says `<!-- needs: module -->` is run where that is installed; `just adapters` does it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from .run_page import matches, run_shell

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide"
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
SECONDS_MAX = 300

FENCE = re.compile(r"^(?P<indent> *)(?P<marks>```+|~~~+)(?P<language>[^`\n]*)$")
NOT_RUN = re.compile(r"^\s*<!-- not run: \S.* -->\s*$")
NEEDS = re.compile(r"^<!-- needs: (?P<module>[\w.]+) -->$", re.MULTILINE)
RUNNER = Path(__file__).with_name("run_page.py")
# What looks like one of ours, and the name it must have to be run.
SPELLINGS = {"shell": "sh", "bash": "sh", "console": "sh", "zsh": "sh", "output": "text"}


def check_language(language: str, guide: bool) -> None:
    """ValueError for a language that only looks like one that is run."""
    if language != "python" and language.lower().startswith("py"):
        raise ValueError(f"a block in {language!r}: say python")
    if guide and language.lower() in SPELLINGS:
        raise ValueError(f"a block in {language!r}: say {SPELLINGS[language.lower()]}")


def program(page: str, guide: bool = False, blocks: list[str] | None = None) -> str:
    """The page's Python blocks on the lines they have in the page, all other lines empty.

    In a guide, the opening line of a block in sh, and of one in text after such a block, is a call
    with the number of its text in `blocks`. ValueError for a block that never ends, and for one
    whose language only looks like one of these.
    """
    source: list[str] = []
    block: list[str] = []
    texts = [] if blocks is None else blocks
    opening: re.Match[str] | None = None
    last_text, language, runs, printed = "", "", False, False
    for line in page.splitlines():
        fence = FENCE.match(line)
        if opening is None:
            source.append("")
            if fence:
                opening, block = fence, []
                language = fence["language"].strip()
                check_language(language, guide)
                runs = not NOT_RUN.match(last_text)
                printed = printed and language == "text"
            elif line.strip():
                printed = False
            last_text = line if line.strip() else last_text
        elif fence and fence["marks"] == opening["marks"] and not fence["language"].strip():
            text = textwrap.dedent("\n".join(block))
            if guide and runs and (language == "sh" or printed):
                source[-1] = f"{'_shell' if language == 'sh' else '_compare'}({len(texts)})"
                texts.append(text)
            python = runs and language == "python"
            source += [*(text.split("\n") if python and block else [""] * len(block)), ""]
            printed = runs and language in ("python", "sh")
            opening, last_text = None, line
        else:
            block.append(line)
    if opening is not None:
        raise ValueError("a block that never ends")
    return "\n".join(source)


def environment(folder: Path) -> dict[str, str]:
    """With `transit` on PATH, and without what this machine happens to set for it."""
    command = folder / "transit"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m transit "$@"\n')
    command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRANSIT_")}
    path = f"{folder}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}


def run_page(
    text: str, path: Path, guide: bool, tmp_path: Path
) -> subprocess.CompletedProcess[str] | None:
    """Run the page's blocks; None when it has none."""
    blocks: list[str] = []
    source = program(text, guide, blocks)
    if not source.strip():
        return None
    here, tools = tmp_path / "here", tmp_path / "tools"
    here.mkdir()
    tools.mkdir()
    return subprocess.run(
        [sys.executable, "-W", "error", str(RUNNER)],
        input=json.dumps({"path": str(path), "source": source, "blocks": blocks}),
        cwd=here, env=environment(tools), capture_output=True, text=True, encoding="utf-8",
        timeout=SECONDS_MAX, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_blocks_of_the_page_run(page: str, tmp_path: Path) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    for needed in NEEDS.finditer(text):
        pytest.importorskip(needed["module"], reason=f"`just adapters` runs it: {needed[0]}")
    done = run_page(text, path, path.parent == GUIDE, tmp_path)
    assert done is None or done.returncode == 0, f"{page}\n{done.stdout}\n{done.stderr}"


def test_readme_shows_python() -> None:
    assert program((ROOT / "README.md").read_text(encoding="utf-8")).strip()


def test_guide_shows_commands() -> None:
    blocks: list[str] = []
    program((GUIDE / "command.md").read_text(encoding="utf-8"), True, blocks)
    assert blocks


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


@pytest.mark.parametrize("language", ["shell", "bash", "console", "Bash", "output"])
def test_block_of_a_guide_that_would_be_missed_is_refused(language: str) -> None:
    with pytest.raises(ValueError, match="a block in"):
        program(f"```{language}\nls\n```\n", guide=True)


def test_blocks_of_a_guide_are_calls_on_their_lines() -> None:
    page = (
        "```sh\nls\n```\n\n```text\na\n```\nword\n```text\nb\n```\n"
        "<!-- not run: x -->\n```sh\nrm\n```\n"
    )
    blocks: list[str] = []
    assert program(page, True, blocks).split() == ["_shell(0)", "_compare(1)"]
    assert program(page, True, []).split("\n")[4] == "_compare(1)"
    assert blocks == ["ls", "a"]


GOOD = """
```python
import transit
with transit.open("s") as log:
    log.create("a").append(b"x")
    print("made", log.status().streams)
```

```text
made 1
```

```sh
export TRANSIT_STORE=s
transit read a
transit streams --format table
```

```text
{"stream":"a",…"payload":"x","encoding":"utf-8"}
…
a  …
```

```sh
$ transit --store s read a --raw
x
$ transit --store s \\
>   read none; echo $?
…not_found…
3
$ true
```
"""


@pytest.mark.slow
def test_python_and_shell_of_a_guide_share_a_folder_and_output_is_compared(
    tmp_path: Path,
) -> None:
    done = run_page(GOOD, tmp_path, True, tmp_path)
    assert done is not None
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("made 1", "made 2"), ('"payload":"x"', '"payload":"y"'), ("raw\nx", "raw\ny"),
        ("\n3\n", "\n4\n"), ("$ true", "$ false"), ("transit read a\n", "transit read b\n"),
    ],
)  # fmt: skip
def test_a_guide_that_says_something_else_fails(right: str, wrong: str, tmp_path: Path) -> None:
    assert GOOD.count(right) == 1
    done = run_page(GOOD.replace(right, wrong), tmp_path, True, tmp_path)
    assert done is not None
    assert done.returncode == 1
    assert "AssertionError" in done.stderr


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("a", "a\n", True), ("a", "x\na\n", True), ("a", "xa\n", False), ("a", "a\nb\n", False),
        ("a…c", "abc\n", True), ("a…c", "ab\nc\n", False), ("a\n…\nc", "a\nx\ny\nc", True),
        ("a\n…", "a\n", True), ("a.c", "abc\n", False), ("a", "", False),
    ],
)  # fmt: skip
def test_expected_output_is_the_end_of_what_is_printed(
    expected: str, found: str, same: bool
) -> None:
    assert matches(expected, found) is same


def test_a_script_stops_at_the_first_failure() -> None:
    with pytest.raises(AssertionError, match="exit code 1"):
        run_shell("false\ntrue")
