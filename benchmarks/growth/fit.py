"""How cost grows: the exponent of the power law nearest to some points."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the line of least squares through the logarithms.

    0: the cost does not grow; 1: it grows in proportion; 2: with the square. At least two points
    with different x, all above zero.
    """
    logs = [(math.log10(x), math.log10(y)) for x, y in points]
    slope, _ = statistics.linear_regression([x for x, _ in logs], [y for _, y in logs])
    return slope
