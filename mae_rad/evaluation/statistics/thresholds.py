"""Thresholds between scores, so that rounding does not change the side of a film."""

from mae_rad.evaluation.statistics.metrics import Floats

_RELATIVE_MARGIN = 1e-5
"""Relative to the score; larger than its variation with the other films of a batch and with the number format."""


def just_below(score: float, scores: Floats) -> float:
    """Return a threshold slightly below ``score`` and above all lower ``scores``; it divides them as ``score`` does.

    Args:
        score: score, not negative.
        scores: [N] all scores, not negative.
    """
    lower = float(scores[scores < score].max(initial=0.0))
    return score - min(_RELATIVE_MARGIN * score, (score - lower) / 2)
