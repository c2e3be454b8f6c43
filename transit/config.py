"""Settings of a store handle: limits, sizes and intervals.

Owns the defaults and their bounds. Settings belong to the process that opens a store, not to the
store: nothing here changes what bytes mean, so two processes may open one store with different
settings.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

import msgspec

from transit.errors import InvalidInputError

Durability = Literal["memory", "os", "local", "tiered", "replicated"]
Mode = Literal["exclusive", "shared", "read"]
Encrypted = Literal["none", "remote", "all"]
Compression = Literal["zstd", "none"]

# Weakest first, as in `Level`.
DURABILITIES: Final[tuple[Durability, ...]] = ("memory", "os", "local", "tiered", "replicated")
MODES: Final[tuple[Mode, ...]] = ("exclusive", "shared", "read")


class Level(IntEnum):
    """How strong a durability is: each level holds what the one before holds, and more."""

    MEMORY = 0
    OS = 1
    LOCAL = 2
    TIERED = 3
    REPLICATED = 4

    @property
    def durability(self) -> Durability:
        """The level's name in receipts and arguments."""
        return DURABILITIES[self]


_LEVELS: Final[dict[str, Level]] = {level.durability: level for level in Level}

KIB: Final = 1024
MIB: Final = 1024 * KIB


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits and sizes of one store handle; checked when made (`InvalidInputError`).

    record_bytes_max: largest payload of one record, bytes.
    frame_bytes_max: largest atomic commit of several records, with their headers, bytes.
    seal_bytes: WAL size at which it is sealed into a segment, bytes.
    seal_interval_s: seconds after which a WAL with records is sealed, from when this process opened
        or made it; None: never by age.
    flush_interval_ms: longest time "os" and "memory" records wait for a sync, milliseconds.
    block_bytes: size of a segment's blocks before compression, bytes.
    compression: "zstd" or "none"; a block that does not shrink is always stored as it is.
    compression_level: zstd level, 1 to 19.
    cache_bytes_max: decoded blocks kept in memory for reads, bytes.
    open_timeout_s: how long opening waits for another process that has the store open, seconds;
        this process's own handles are not waited for. In mode "shared" it is the longer of this and
        `lock_timeout_s`.
    lock_timeout_s: how long a shared writer waits for the others, seconds.
    publish_interval_s: seconds after which unpublished records are published in the background;
        None: never by age.
    publish_bytes: bytes of unpublished WAL and segments at which they are published in the
        background; None: never by size.
    replicated_remotes: how many of a store's remotes, the first always among them, must have a
        commit before it is "replicated"; None: all of them.
    remote_timeout_s: longest time one call to the remote may take, retries included, seconds.
    transfers_max: objects uploaded or downloaded at once.
    transfer_bytes_max: bytes of objects being uploaded or downloaded kept in memory; one object of
        any size always fits.
    disk_cache_bytes_max: blocks fetched from the remote kept in the store's cache folder, bytes.
    cache_files_bytes_max: files that a room above the engine keeps in a cache of its own, bytes;
        for each room.
    refresh_interval_s: how often a reader that waits on a remote looks for new commits, seconds.
    """

    record_bytes_max: int = 16 * MIB
    frame_bytes_max: int = 64 * MIB
    seal_bytes: int = 32 * MIB
    seal_interval_s: float | None = None
    flush_interval_ms: float = 50
    block_bytes: int = 256 * KIB
    compression: Compression = "zstd"
    compression_level: int = 3
    cache_bytes_max: int = 64 * MIB
    open_timeout_s: float = 1.0
    lock_timeout_s: float = 10.0
    publish_interval_s: float | None = None
    publish_bytes: int | None = None
    replicated_remotes: int | None = None
    remote_timeout_s: float = 60.0
    transfers_max: int = 8
    transfer_bytes_max: int = 256 * MIB
    disk_cache_bytes_max: int = 256 * MIB
    cache_files_bytes_max: int = 1024 * MIB
    refresh_interval_s: float = 1.0

    def __post_init__(self) -> None:
        for name, low, high in _BOUNDS:
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            whole = not name.endswith(("_s", "_ms"))
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                kind = "a whole number" if whole else "a number"
                raise InvalidInputError(f"settings: {name} must be {kind}, not {value!r}")
            if not low <= value <= high:
                raise InvalidInputError(f"settings: {name} must be {low} to {high}, not {value!r}")
        if self.compression not in ("zstd", "none"):
            raise InvalidInputError(
                f'settings: compression must be "zstd" or "none", not {self.compression!r}'
            )
        if self.frame_bytes_max < self.record_bytes_max:
            raise InvalidInputError("settings: frame_bytes_max must hold one record_bytes_max")


# A frame's lengths are 32 bits wide; half of that leaves room for its columns.
_BOUNDS: Final[tuple[tuple[str, float, float], ...]] = (
    ("record_bytes_max", 1, 512 * MIB),
    ("frame_bytes_max", 1, 1024 * MIB),
    ("seal_bytes", 4 * KIB, 1024 * MIB),
    ("seal_interval_s", 0.001, 366 * 86_400),
    ("flush_interval_ms", 1, 60_000),
    ("block_bytes", 4 * KIB, 4 * MIB),
    ("compression_level", 1, 19),
    ("cache_bytes_max", 0, 1 << 40),
    ("open_timeout_s", 0, 3_600),
    ("lock_timeout_s", 0.001, 3_600),
    ("publish_interval_s", 0.001, 366 * 86_400),
    ("publish_bytes", 1, 1 << 40),
    ("replicated_remotes", 2, 16),
    ("remote_timeout_s", 0.01, 3_600),
    ("transfers_max", 1, 256),
    ("transfer_bytes_max", 1 * MIB, 1 << 40),
    ("disk_cache_bytes_max", 0, 1 << 40),
    ("cache_files_bytes_max", 0, 1 << 40),
    ("refresh_interval_s", 0.001, 86_400),
)
_OPTIONAL: Final = (
    "seal_interval_s", "publish_interval_s", "publish_bytes", "replicated_remotes",
)  # fmt: skip


def durability_level(value: str) -> Level:
    """The strength of a durability mode."""
    try:
        return _LEVELS[value]
    except (KeyError, TypeError):
        raise InvalidInputError(
            f"durability must be one of {', '.join(DURABILITIES)}, not {value!r}"
        ) from None
