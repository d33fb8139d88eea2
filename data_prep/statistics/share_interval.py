"""Interval of a share (Wilson, "Probable inference, the law of succession, and statistical inference", 1927)."""

import math

_Z = 1.959964
"""Quantile of the normal distribution for 95 %."""


def share_interval(count: int, of: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share of independent cases; it is never empty, not even for a share of 0 or 1.

    Args:
        count: cases that have the property.
        of: all cases.

    Returns:
        (low, high); NaN without cases.
    """
    if not of:
        return math.nan, math.nan
    share, z2 = count / of, _Z**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    reach = _Z * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2)) / (1 + z2 / of)
    return max(0.0, middle - reach), min(1.0, middle + reach)
