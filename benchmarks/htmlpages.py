"""How long the page of a large run takes to write, how large it is, and when a browser shows it.

    python -m benchmarks.htmlpages [--events 10000] [--path FOLDER]

The run is one of an agent: the model is asked with all that was said so far, a tool is called, its
result is said. In `windows` what was said is begun anew after 50 turns, in `whole` never. Text is
the UTF-8 of all distinct texts in the events. The first paint, and how long until the rows are
there, are of Chromium, where it and playwright are installed.
"""

from __future__ import annotations

import argparse
import gc
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

import transit
from benchmarks.commandline import working_folder
from benchmarks.payloads import text
from transit import trace

RUNS = 3
TURNS = {"windows": 50, "whole": 1_000_000}
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def record(log: transit.Log, name: str, events: int) -> None:
    """A run with so many events: four a turn, and the end."""
    rng = random.Random(name)
    messages: list[dict[str, str]] = []
    with trace.task(log, name, actor="agent", reason="benchmark") as task:
        for turn in range(events // 4):
            if turn % TURNS[name] == 0:
                messages = [{"role": "user", "content": text(rng, 60)}]
            said = {"role": "assistant", "content": text(rng, 60)}
            with task.model("model-1", {"messages": messages, "temperature": 0}) as model:
                model.response(said, usage={"input_tokens": 400 + turn, "output_tokens": 80})
            with task.tool("bash", {"command": text(rng, 12)}) as call:
                result = text(rng, 60)
                call.result(result)
            messages = [*messages, said, {"role": "tool", "content": result}]


def text_bytes(log: transit.Log, name: str) -> int:
    """The size of all distinct texts in the events of a run."""
    texts: set[str] = set()
    seen: set[int] = set()
    records = list(trace.read(log, name))
    for each in records:
        _collect(each.event, texts, seen)
    return sum(len(each.encode()) for each in texts)


def _collect(value: Any, texts: set[str], seen: set[int]) -> None:
    if isinstance(value, str):
        texts.add(value)
    elif isinstance(value, list | dict | tuple | msgspec.Struct):
        # Messages are the same objects in all requests of one reading.
        if id(value) in seen:
            return
        seen.add(id(value))
        for each in _inside(value):
            _collect(each, texts, seen)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, msgspec.Struct):
        return [getattr(value, field) for field in value.__struct_fields__]
    return value.values() if isinstance(value, dict) else value


def best_s(call: Callable[[], object]) -> float:
    """The shortest of some runs, seconds."""
    found = []
    for _ in range(RUNS):
        gc.collect()
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return min(found)


def browsers() -> Iterator[Any]:
    """A browser, where there is one."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return
    path = shutil.which("chromium")
    if path is None:
        return
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)


def paints_ms(file: Path) -> tuple[float, float] | None:
    """Milliseconds, medians: until the first paint, and until the rows are there."""
    found = []
    for browser in browsers():
        for _ in range(RUNS):
            tab = browser.new_page()
            tab.goto(file.as_uri())
            tab.wait_for_selector(".row")
            tab.wait_for_function("performance.getEntriesByType('paint').length > 0")
            found.append(tab.evaluate(
                "[performance.getEntriesByType('paint')[0].startTime,"
                " performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd]"
            ))  # fmt: skip
            tab.close()
        browser.close()
    if not found:
        return None
    first, there = zip(*found, strict=True)
    return statistics.median(first), statistics.median(there)


def measure(folder: Path, name: str, events: int) -> None:
    file = folder / f"{name}.html"
    with transit.open(folder / name) as log:
        record(log, name, events)
        read_s = best_s(lambda: trace.read(log, name).steps())
        write_s = best_s(lambda: trace.write_page(log, name, file))
        count, size, said = len(trace.read(log, name)), file.stat().st_size, text_bytes(log, name)
    print(f"{name}: {count:,} events")
    print(f"  written in {write_s:.2f} s, of which reading the steps takes {read_s:.2f} s")
    print(f"  {size:,} bytes, {size / said:.2f} times the {said:,} bytes of text")
    paints = paints_ms(file)
    if paints is None:
        print("  not opened: chromium or playwright is missing")
    else:
        print(f"  first paint after {paints[0]:.0f} ms, all there after {paints[1]:.0f} ms")


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.htmlpages", description=__doc__)
    options.add_argument("--events", type=int, default=10_000, help="events of each run")
    options.add_argument("--path", default=".", help="work in a new folder below it")
    arguments = options.parse_args()
    with working_folder(arguments.path) as (folder, _):
        for name in TURNS:
            measure(Path(folder), name, arguments.events)
    return 0


if __name__ == "__main__":
    sys.exit(main())
