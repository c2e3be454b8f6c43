"""Who may do what: rights of a token, by prefix of stream names."""

from __future__ import annotations

from typing import Final

from transit.server.refusals import RefusedError

READ: Final = "read"
APPEND: Final = "append"
BRANCH: Final = "branch"
MERGE: Final = "merge"
ADMIN: Final = "admin"
RIGHTS: Final = (READ, APPEND, BRANCH, MERGE, ADMIN)


class Grant:
    """What one client may do. name: that of its token, kept as the writer of its records."""

    def __init__(self, name: str = "", rights: tuple[tuple[str, frozenset[str]], ...] = ()) -> None:
        self.name = name
        self._rights = rights

    def allows(self, right: str, stream: str) -> bool:
        """Whether it may do that to this stream."""
        return any(right in rights and stream.startswith(prefix) for prefix, rights in self._rights)

    def check(self, right: str, stream: str) -> None:
        """`RefusedError` (403) unless it may do that to this stream."""
        if not self.allows(right, stream):
            raise RefusedError(403, f"the token does not allow to {right} here")


NOTHING: Final = Grant()
EVERYTHING: Final = Grant("", (("", frozenset(RIGHTS)),))
