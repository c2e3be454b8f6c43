"""A server in this process that answers as OpenAI and Anthropic do: whole, as a stream, or not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOOL_CALL = {
    "id": "call_1", "type": "function", "function": {"name": "ls", "arguments": '{"path": "/"}'},
}  # fmt: skip


class _Stub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = _last(asked)
        if said == "fail":
            self._send(400, "application/json", b'{"error": {"message": "it is broken"}}')
        elif self.path.endswith("/messages"):
            self._answer(asked, _message(), _message_events())
        elif self.path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
            self._answer(asked, {"object": "list", "data": data, "model": "m",
                                 "usage": {"prompt_tokens": 1, "total_tokens": 1}}, [])  # fmt: skip
        else:
            self._answer(asked, _completion(said), _chunks(said))

    def _answer(self, asked: Any, whole: Any, events: list[tuple[str, Any]]) -> None:
        if not asked.get("stream"):
            self._send(200, "application/json", json.dumps(whole).encode())
            return
        body = b"".join(
            (f"event: {name}\n" if name else "").encode() + b"data: " + _text(each) + b"\n\n"
            for name, each in events
        )
        self._send(200, "text/event-stream", body)

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _text(each: Any) -> bytes:
    return each if isinstance(each, bytes) else json.dumps(each).encode()


def _last(asked: Any) -> str:
    messages = asked.get("messages")
    if not messages:
        return str(asked.get("input"))
    content = messages[-1]["content"]
    return content if isinstance(content, str) else str(content[-1].get("text", ""))


def _completion(said: str) -> Any:
    message: dict[str, Any] = {"role": "assistant", "content": "an answer"}
    reason = "stop"
    if said == "list it":
        message, reason = (
            {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
            "tool_calls",
        )
    return {
        "id": "c1", "object": "chat.completion", "created": 1, "model": "model-1-said",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    }  # fmt: skip


def _chunks(said: str) -> list[tuple[str, Any]]:
    deltas: list[dict[str, Any]] = [
        {"role": "assistant"},
        {"content": "an "},
        {"content": "answer"},
    ]
    if said == "list it":
        first = {**TOOL_CALL, "index": 0, "function": {"name": "ls", "arguments": '{"pa'}}
        second = {"index": 0, "function": {"arguments": 'th": "/"}'}}
        deltas = [{"tool_calls": [first]}, {"tool_calls": [second]}]
    made = [_chunk(delta) for delta in deltas]
    made.append(_chunk({}, "tool_calls" if said == "list it" else "stop"))
    if said == "break off":
        return [("", each) for each in made[:2]] + [("", {"error": {"message": "overloaded"}})]
    return [*(("", each) for each in made), ("", b"[DONE]")]


def _chunk(delta: Any, reason: str | None = None) -> Any:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "model-1-said",
            "choices": [choice]}  # fmt: skip


def _message() -> Any:
    return {
        "id": "m1", "type": "message", "role": "assistant", "model": "model-1-said",
        "content": [{"type": "text", "text": "an answer"},
                    {"type": "tool_use", "id": "t1", "name": "ls", "input": {"path": "/"}}],
        "stop_reason": "tool_use", "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 20},
    }  # fmt: skip


def _message_events() -> list[tuple[str, Any]]:
    whole = _message()
    start = {**whole, "content": [], "stop_reason": None,
             "usage": {"input_tokens": 10, "output_tokens": 1}}  # fmt: skip
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "an "}},
        {"type": "content_block_delta", "index": 0,
         "delta": {"type": "text_delta", "text": "answer"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1,
         "content_block": {"type": "tool_use", "id": "t1", "name": "ls", "input": {}}},
        {"type": "content_block_delta", "index": 1,
         "delta": {"type": "input_json_delta", "partial_json": '{"path"'}},
        {"type": "content_block_delta", "index": 1,
         "delta": {"type": "input_json_delta", "partial_json": ': "/"}'}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None},
         "usage": {"output_tokens": 20}},
        {"type": "message_stop"},
    ]  # fmt: skip
    return [(each["type"], each) for each in events]


@contextmanager
def stub() -> Iterator[str]:
    """The server's address, for the length of a block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Stub)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
