"""Times in microseconds, for formats and engines that have no finer ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow


def whole_microseconds(
    times: pyarrow.Array | pyarrow.ChunkedArray,
) -> pyarrow.Array | pyarrow.ChunkedArray:
    """The microsecond at or before each time, of timestamps in nanoseconds; UTC."""
    import pyarrow as pa  # It is an extra.
    import pyarrow.compute as pc  # It is not loaded with the rest.

    # A cast alone rounds times before 1970 up.
    exact = times.cast(pa.int64())
    rounded = pc.divide(exact, 1000)
    is_after = pc.greater(pc.multiply(rounded, 1000), exact).cast(pa.int64())
    return pc.subtract(rounded, is_after).cast(pa.timestamp("us", tz="UTC"))
