"""Draw a score between floor and ceiling as a small SVG element, for a row of a table."""

import math
from collections.abc import Sequence
from html import escape

from data_prep.pages.plot_style import INK, RULE
from mae_rad.evaluation.results.display_names import interval_text
from mae_rad.evaluation.results.rows import Row

WIDTH, HEIGHT = 220, 22
_MARGIN = 8
"""Empty pixels left and right of the scale."""


def scale_of(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the lowest and the highest number that the bars of these rows show, so that they share one scale.

    Args:
        rows: scores of one task, probe and metric, with floors and ceilings.
    """
    numbers = [number for row in rows for number in (*row.interval, row.floor, row.ceiling) if number is not None]
    finite = [number for number in numbers if math.isfinite(number)]
    low, high = min(finite), max(finite)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def score_bar(row: Row, scale: tuple[float, float], colour: str, *, lower_is_better: bool = False) -> str:
    """Draw one row: grey up to the floor, a stroke at the ceiling, the score with its interval.

    Args:
        row: score with floor and ceiling; one that is above all floors has a filled marker.
        scale: numbers at the left and at the right end, see :func:`scale_of`.
        colour: colour of the encoder.
        lower_is_better: metric of errors; the scale then falls from left to right.
    """
    first, last = reversed(scale) if lower_is_better else scale

    def x(number: float) -> str:
        return f"{_MARGIN + (WIDTH - 2 * _MARGIN) * (number - first) / (last - first):.1f}"

    middle = HEIGHT / 2
    parts = [f'<line x1="0" y1="{middle}" x2="{WIDTH}" y2="{middle}" stroke="{RULE}"/>']
    texts = [f"score {interval_text(row.interval)}"]
    if row.floor is not None:
        parts.append(f'<rect x="0" y="4" width="{x(row.floor)}" height="{HEIGHT - 8}" fill="{RULE}"/>')
        texts.insert(0, f"floor {row.floor:.3f}")
    if row.ceiling is not None:
        at = x(row.ceiling)
        parts.append(f'<line x1="{at}" y1="2" x2="{at}" y2="{HEIGHT - 2}" stroke="{INK}" stroke-width="2.5"/>')
        texts.append(f"ceiling {row.ceiling:.3f}")
    value, low, high = row.interval
    if math.isfinite(low):
        ends = f'x1="{x(low)}" y1="{middle}" x2="{x(high)}" y2="{middle}"'
        parts.append(f'<line {ends} stroke="{colour}" stroke-width="2.5"/>')
    face = colour if row.above_floors == "yes" else "#fff"
    parts.append(f'<circle cx="{x(value)}" cy="{middle}" r="5" fill="{face}" stroke="{colour}" stroke-width="2"/>')
    said = escape(", ".join(texts), quote=True)
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg class="bar" {size} role="img" aria-label="{said}">{"".join(parts)}</svg>'
