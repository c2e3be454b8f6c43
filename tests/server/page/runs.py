"""Runs and streams that pages are looked at with."""

from __future__ import annotations

import transit
from transit import trace

IMG = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>alert(2)</script>"
# Names that HTML, addresses and proxies could take for something of their own.
NAMES = (
    IMG, "\"'><svg onload=alert(3)>", "a/../b", "./c", "a//b", "%2F%00%zz", "q?a=b&c#d+e f",
    "https://example.org/x", "{{ 7 * 7 }}{% raw %}", "漢字 \U0001f680", "..",
    "&lt;b&gt;",
)  # fmt: skip


def record_run(log: transit.Log, name: str, *, result: str = "done", fails: bool = False) -> None:
    """A small run that ended."""
    with trace.task(log, name, actor="agent", reason="asked") as task:
        task.message("user", f"Do {name}.")
        usage = {"input_tokens": 1200, "output_tokens": 34}
        request = {"messages": [{"role": "user", "content": f"Do {name}."}]}
        task.model("some-model", request).response("I begin.", usage=usage)
        call = task.tool("bash", {"cmd": "make"})
        if fails:
            call.failure("no rule", "exit code 2")
        else:
            call.result(result)


def record_hostile(log: transit.Log, name: str) -> None:
    """A run that says markup wherever a run can say something."""
    with trace.task(log, name, actor=IMG, reason=SCRIPT, metadata={IMG: SCRIPT}) as task:
        task.message("user", f"{IMG} {SCRIPT}")
        task.model(IMG, {"messages": [{"role": IMG, "content": SCRIPT}]}).response(IMG)
        task.tool(IMG, {IMG: SCRIPT}).failure(SCRIPT, IMG)
        task.evaluate(IMG, decision=SCRIPT, score=1.0, reason=IMG)
    trace.annotate(log, name, IMG, label=SCRIPT, comment=IMG, author=SCRIPT)
