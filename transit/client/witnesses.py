"""How a log reaches a witness: a POST of a checkpoint to its `add-checkpoint` (C2SP tlog-witness).

Owns that request, its deadline and the size of its answer. What is sent, and what is made of the
answer, is `transit.proof.witness`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

import urllib3
from urllib3.exceptions import HTTPError

from transit import InvalidInputError, RemoteUnavailableError, __version__
from transit.proof.witness import ANSWER_BYTES_MAX

CONNECT_S = 5.0


def asker(
    url: str, timeout_s: float, ca_file: str | None
) -> Callable[[bytes], tuple[int, str, bytes]]:
    """A function that sends the body of an `add-checkpoint` request to the witness at `url`.

    It returns status, content type and body, of which it reads one byte more than an answer may
    have. `RemoteUnavailableError` where no answer comes within `timeout_s` seconds;
    `InvalidInputError` here for what is no address.
    """
    parsed = urllib3.util.parse_url(url)
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise InvalidInputError(f"the address of a witness is http(s)://HOST/PREFIX, not {url!a}")
    where = url.rstrip("/") + "/add-checkpoint"
    context = ssl.create_default_context(cafile=ca_file) if parsed.scheme == "https" else None
    pool = urllib3.PoolManager(maxsize=1, ssl_context=context, retries=False)
    headers = {"user-agent": f"transit/{__version__}", "content-type": "text/plain; charset=utf-8"}
    timeout = urllib3.Timeout(total=timeout_s, connect=min(CONNECT_S, timeout_s))

    def ask(body: bytes) -> tuple[int, str, bytes]:
        try:
            answer = pool.request(
                "POST",
                where,
                body=body,
                headers=headers,
                timeout=timeout,
                redirect=False,
                preload_content=False,
            )
            try:
                said = answer.read(ANSWER_BYTES_MAX + 1, decode_content=False)
            finally:
                answer.close()
        except HTTPError as error:
            raise RemoteUnavailableError(f"witness at {where}: no answer: {error}") from error
        return answer.status, answer.headers.get("content-type", ""), said

    return ask
