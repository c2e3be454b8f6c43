"""Whether a server is well: one GET, of which only the status is looked at."""

from __future__ import annotations

from collections.abc import Callable

import urllib3
from urllib3.exceptions import HTTPError

from transit import InvalidInputError, __version__


def answers(url: str, timeout_s: float) -> Callable[[], bool]:
    """A function that asks `url`: whether the status is 200 to 299 within `timeout_s` seconds.

    `InvalidInputError` here for what is no address.
    """
    parsed = urllib3.util.parse_url(url)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInputError(f"{url}: a health check asks an http:// or https:// address")
    pool = urllib3.PoolManager(maxsize=1, retries=False)
    headers = {"user-agent": f"transit/{__version__}"}

    def healthy() -> bool:
        try:
            answer = pool.request(
                "GET", url, headers=headers, timeout=urllib3.Timeout(total=timeout_s),
                preload_content=False,
            )  # fmt: skip
            answer.close()
        except (HTTPError, OSError):
            return False
        return 200 <= answer.status < 300

    return healthy
